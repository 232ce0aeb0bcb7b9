"""Speed of asking a language model: the context run once per episode, against a flat sequence for every answer.

python benchmarks/llm.py [FOLDER]    a model in a folder; without one, a small random Llama with a small tokenizer
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from data import Encoder  # noqa: E402
from flags.command_line import parse  # noqa: E402
from flags.parser import Parser, named_path  # noqa: E402
from llm import evaluate, loading  # noqa: E402
from llm.prompt import Prompter  # noqa: E402
from llm.scoring import Pace, score  # noqa: E402
from tasks import make_task  # noqa: E402
from tests import llm_models  # noqa: E402

FLAGS = "--real_words --generate_all --p_flip_xy 0 --preface_id 7 --sep_id 1 --test_preface_id 4"


def small_model(folder: Path) -> None:
    """Return a model of 40 million parameters: large enough for arithmetic, not overhead, to take the time."""
    words = llm_models.tokenizer("pieces")
    shape = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 12, "num_attention_heads": 8}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(words), **shape)).save_pretrained(folder)
    words.save_pretrained(folder)


def main() -> None:
    parser = Parser(prog="python benchmarks/llm.py", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=named_path, metavar="FOLDER", help="a model; unset: a small random Llama")
    asked = parser.parse_args().folder
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked or Path(temporary)
        if not asked:
            small_model(folder)
        config = parse(["--llm", str(folder), *FLAGS.split()])
        encoder = Encoder(config, make_task(config))
        prompter = Prompter(config, encoder, loading.load_tokenizer(config))
        model = loading.load_model(config)
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread, {size:.0f} M parameters")
    print(f"{'scoring':<12}{'questions':>10}{'flat s':>9}{'ours s':>9}{'ratio':>7}{'tokens/s':>10}{'flat tokens / ours':>20}")
    questions = prompter.questions(encoder.episodes(0, "validation", "unrotated", "blocked", 1), 0)
    for name, places in (("argmax", None), ("candidates", evaluate.locations_of("unrotated"))):
        asked = questions if places is None else questions[:4]
        answers = [answer for q in asked for answer in prompter.answers(q, places or [q.location])]
        pace = Pace()
        score(model, [answers], Pace())
        score(model, [answers], pace)
        started = time.perf_counter()
        score(model, [answers], Pace(shared=False))
        flat = time.perf_counter() - started
        ratio, tokens = flat / pace.seconds, pace.flat_tokens / pace.tokens
        print(
            f"{name:<12}{len(asked):>10}{flat:>9.2f}{pace.seconds:>9.2f}{ratio:>7.1f}"
            f"{pace.tokens / pace.seconds:>10,.0f}{tokens:>20.1f}"
        )


if __name__ == "__main__":
    main()
