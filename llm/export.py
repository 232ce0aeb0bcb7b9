"""A model that was metalearned here, as a language model like any other: Hugging Face's files, and a tokenizer of its words.

python -m llm.export JOB FOLDER [--seed SEED]

JOB: the folder of a grid job with --lm_task causal. Then `main.py --llm FOLDER` asks it as it asks any language model, with the
answers that its own few-shot test has.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import prompts
from flags.base import NoBase, find_base
from flags.bounds import is_utf8
from flags.config import BadInput
from flags.parser import Parser, named_path
from llm.chat import first_line
from llm.prompt import BOS_LITERALS
from runs.terminal import command, say

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def export(job: Path, folder: Path, seed: int | None = None) -> None:
    """Write the kept weights of a seed (the best validated) to FOLDER: all of it, or nothing. Raises BadInput."""
    for name, given in (("JOB", job), ("FOLDER", folder)):
        if not is_utf8(str(given)):
            raise BadInput(name, ascii(str(given))[1:-1], "is not UTF-8; use another name")
    if folder.exists():
        raise BadInput("FOLDER", folder, "exists already; name another one")
    try:
        base = find_base(job, seed, 1)
    except NoBase as error:
        raise BadInput("JOB", job, str(error)) from None
    if base.flags.get("lm_task") != "causal":
        raise BadInput("JOB", job, "is not a causal model; metalearn it with --lm_task causal")
    path = base.weights[0]
    try:
        made = json.loads((path.parent / "model.json").read_text(encoding="utf-8"))
        vocabulary, architecture = made["vocabulary"], made["architecture"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput("JOB", job, f"its checkpoints/model.json cannot be read ({first_line(error)})") from None

    import safetensors.torch
    from transformers.utils import logging

    import models

    logging.disable_progress_bar()
    begin = prompts.PREFACES[0]
    name = base.flags.get("model_name", "llama2")
    model = models.with_attention("sdpa", name, **{**architecture, "bos_token_id": vocabulary.get(begin)})
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise BadInput("JOB", job, f"its {path.name} cannot be loaded ({first_line(error)})") from None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as temporary:
            whole = Path(temporary) / "model"  # it has the rights of any new folder; the temporary one is closed to others
            model.save_pretrained(whole)
            tokenizer_of(vocabulary, begin).save_pretrained(whole)
            whole.rename(folder)
    except Exception as error:  # on a full disk safetensors and tokenizers raise errors that are no OSError
        why = getattr(error, "strerror", None) or first_line(error)
        raise BadInput("FOLDER", folder, f"cannot be written to ({why})") from None


def tokenizer_of(vocabulary: dict[str, int], begin: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of our words: a text is split at single spaces, as `data.Encoder` writes it.

    `begin` is its BOS, if a preface of the job has it. Prefaces with a "<s>" of another form have it in their first word, which
    a question for a language model begins without.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(vocabulary, unk_token=prompts.PAD))
    words.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    for literal in BOS_LITERALS:
        joined = [word for word in vocabulary if word.startswith(literal) and word != literal]
        for word in joined:
            bare = word.removeprefix(literal)
            words.normalizer = normalizers.Replace(Regex(rf"^{re.escape(bare)}(?= )"), word)
    special = {"pad_token": prompts.PAD, "unk_token": prompts.PAD}
    if begin in vocabulary:
        words.post_processor = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, vocabulary[begin])])
        special["bos_token"] = begin
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


def main(argv: list[str]) -> int:
    """Export the job that the arguments name; returns the exit status."""
    parser = Parser(prog="python -m llm.export", description=__doc__.partition("\n")[0])
    parser.add_argument("job", type=named_path, metavar="JOB", help="the folder of a grid job with --lm_task causal")
    parser.add_argument("folder", type=named_path, metavar="FOLDER", help="a new folder for the model")
    parser.add_argument("--seed", type=int, help="a seed of the job; unset: the best validated")
    arguments = parser.parse_args(argv)
    try:
        export(arguments.job, arguments.folder, arguments.seed)
    except (BadInput, OSError) as error:
        say(f"llm.export: error: {str(error).removeprefix('--')}")  # arguments are no flags
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(command(main, "llm.export"))
