"""A model that was metalearned here, as a language model like any other: Hugging Face's files, and a tokenizer of its words.

python -m llm.export JOB FOLDER [--seed SEED]

JOB: the folder of a grid job with --lm_task causal. Then `main.py --llm FOLDER` asks it as it asks any language model, with the
answers that its own few-shot test has.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from flags.base import NoBase, find_base
from flags.config import BadInput
from prompts import PREFACES


def export(job: Path, folder: Path, seed: int | None = None) -> None:
    """Write the kept weights of a seed (the best validated) to FOLDER. Raises BadInput."""
    if folder.exists():
        raise BadInput("FOLDER", folder, "exists already; name another one")
    try:
        base = find_base(job, seed, 1)
    except NoBase as error:
        raise BadInput("JOB", job, str(error)) from None
    if base.flags.get("lm_task") != "causal":
        raise BadInput("JOB", job, "is not a causal model; metalearn it with --lm_task causal")
    path = base.weights[0]
    made = json.loads((path.parent / "model.json").read_text(encoding="utf-8"))

    import safetensors.torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary, begin = made["vocabulary"], PREFACES[0].strip()
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, vocabulary[begin])])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token=begin, pad_token="<pad>")
    model = LlamaForCausalLM(LlamaConfig(**{**made["architecture"], "bos_token_id": vocabulary[begin]}))
    model.load_state_dict(safetensors.torch.load_file(path))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m llm.export", description=__doc__.partition("\n")[0])
    parser.add_argument("job", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args(argv)
    try:
        export(arguments.job, arguments.folder, arguments.seed)
    except BadInput as error:
        print(f"llm.export: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
