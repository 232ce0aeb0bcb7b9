"""Steps and tests of an ensemble at paper size against the path that engine/llama.py replaced (vmapped.py), in one run.

    python benchmarks/stacked.py [--repeats 5] [--threads 2] [--members 40] [--device cuda] [--task category]

The two take turns, so that a change of the machine's pace meets both; medians are printed, and the ratio old : new of these.
The step of metalearning has one member and contexts that fit its 128 queries.
"""

import statistics
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch

import models
from benchmarks.steps import begin, options, seconds
from benchmarks.vmapped import Vmapped
from data import Encoder
from engine.ensemble import Batch, Ensemble
from flags.command_line import parse
from tasks import make_task

QUERIES = 128
BATCHES = {"category": {"blocked": 16, "interleaved": 32}, "grid": {"blocked": 5}}  # items of a finetuning step, as published
K = {"category": 4, "grid": 5}  # queries of an episode in metalearning


def works(task: str, n_members: int, device: torch.device) -> dict[str, tuple]:
    """Return the calls to measure: name → (the old path's, the new path's)."""
    config = parse(["--task", task, "--n_train", str(QUERIES), "--n_test", str(n_members)])
    encoder = Encoder(config, make_task(config))
    model = models.build(**models.architecture(config, encoder.vocab_size))
    weights = [models.draw_weights(model, seed, config.init_scale) for seed in range(n_members)]

    def both(call: str, episodes, n_queries: int | None, together: bool) -> tuple:
        parts = (episodes.context, episodes.queries[:, :n_queries], episodes.answers[:, :n_queries])
        batch = Batch.of_arrays(*(x[None] if together else x[:, None] for x in parts), device=device)
        own = weights[:1] if together else weights
        paths = (kind(model, own, config.finetune_lr, encoder.causal, device) for kind in (Vmapped, Ensemble))
        return tuple(partial(getattr(path, call), batch) for path in paths)

    test = encoder.episodes(0, "test", "unrotated", "blocked", n_members)
    found = {f"finetuning step, {name}": both("step", test, n, False) for name, n in BATCHES[task].items()}
    found["finetuning test"] = both("correct", test, None, False)
    many = encoder.episodes(0, "metalearning", "unrotated", "blocked", QUERIES // K[task])
    return found | {f"metalearning step, K = {K[task]}": both("step", many, K[task], True)}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--members", type=int, default=40)
    args = parser.parse_args()
    device = begin(args)
    print(f"{'task':<9} {'work':<30}{'old s':>8}{'new s':>8}{'ratio':>7}")
    for task in args.task:
        for name, pair in works(task, args.members, device).items():
            times = [[seconds(work, device) for work in pair] for _ in range(args.repeats + 1)][1:]
            old, new = (statistics.median(column) for column in zip(*times, strict=True))
            print(f"{task:<9} {name:<30}{old:>8.3f}{new:>8.3f}{old / new:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
