"""One metalearning step of 256 queries at paper size, against the plain path, in one run.

    python benchmarks/steps.py [--repeats 5] [--threads 2]

The plain path is what one would write first: every query a flat sequence of its own through Hugging Face's model,
logits of the whole sequence, unfused Adam. The two take turns, so that a change of the machine's pace meets both.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from torch.nn.functional import cross_entropy

import models
from config import parse
from data import Encoder
from ensemble import Batch, Ensemble
from tasks import make_task

QUERIES = 256


def plain_step(model, optimizer, context, queries, answers) -> None:
    """context [B, C], queries [B, K, L], answers [B, K, T]"""
    flat = torch.cat([context[:, None].expand(-1, queries.shape[1], -1), queries], dim=2).flatten(0, 1)
    logits = model(input_ids=flat).logits[:, -answers.shape[2] :]  # masked mode: read at the masks
    optimizer.zero_grad()
    cross_entropy(logits.flatten(0, 1), answers.flatten()).backward()
    optimizer.step()


def seconds(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def measure(task: str, per_episode: int, repeats: int) -> tuple[float, float]:
    """Median seconds of a step, ours and plain."""
    config = parse(["--task", task, "--n_train", str(QUERIES)])
    encoder = Encoder(config, make_task(config))
    model, plain = (models.build(**models.architecture(config, encoder.vocab_size)) for _ in range(2))
    weights = models.draw_weights(model, 0, config.init_scale)
    plain.load_state_dict(weights)
    plain.set_attn_implementation("sdpa")
    ours = Ensemble(model, [weights], config.pretrain_lr, config.adam_beta2, causal=False, device=torch.device("cpu"))
    optimizer = torch.optim.Adam(plain.parameters(), lr=config.pretrain_lr)
    e = encoder.episodes(0, "metalearning", "unrotated", "blocked", QUERIES // per_episode)
    arrays = [part[None] for part in (e.context, e.queries[:, :per_episode], e.answers[:, :per_episode])]
    batch = Batch.of_arrays(*arrays, device=torch.device("cpu"))
    flat = (batch.context[0], batch.queries[0], batch.answers[0])
    pairs = [(seconds(ours.step, batch), seconds(plain_step, plain, optimizer, *flat)) for _ in range(repeats + 1)][1:]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} threads, median of {args.repeats}")
    print(f"{'task':<10}{'queries/episode':>16}{'episodes':>10}{'plain s':>9}{'ours s':>9}{'ratio':>7}")
    for task, ks in (("category", (64, 4, 1)), ("grid", (25, 5, 1))):
        for k in ks:
            ours, plain = measure(task, k, args.repeats)
            print(f"{task:<10}{k:>16}{QUERIES // k:>10}{plain:>9.3f}{ours:>9.3f}{plain / ours:>7.1f}", flush=True)


if __name__ == "__main__":
    main()
