"""The program's steps at paper size against the plain path (benchmarks/plain.py), in one run.

    python benchmarks/steps.py [--repeats 5] [--threads 2] [--device cuda] [--task category] [--rows finetuning]

The two take turns, so that a change of the machine's pace meets both; medians are printed. Tokens/s: the tokens of the
plain path's sequences over our time. At the levels of an ablation both make one draw; a job makes --test_repeats.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch

import models
from ablate import make_ablation, values_shape
from benchmarks.plain import Plain
from data import Encoder
from engine.ensemble import Batch, Ensemble
from flags.command_line import parse
from tasks import make_task
from test import count_correct, count_correct_ablated

QUERIES, VALIDATION, MEMBERS = 256, 100, 10
LEVELS = {"mask": tuple(i / 10 for i in range(1, 11)), "gaussian": tuple(float(i) for i in range(1, 11))}  # and 0: 11 levels
KS = {"category": (64, 4, 1), "grid": (25, 5, 1)}
BATCH = {"category": 16, "grid": 5}  # items of a finetuning step, as in a published block


@dataclass(frozen=True)
class Row:
    """A piece of work, done by ours and by the plain path; `tokens` of flat sequences, by `members` models."""

    name: str
    ours: Callable[[], object]
    plain: Callable[[], object]
    tokens: int
    members: int


class Bench:
    """Models and data of a task at paper size."""

    def __init__(self, task: str, device: torch.device):
        self.task, self.device = task, device
        config = parse(["--task", task, "--n_train", str(QUERIES)])
        self.encoder = Encoder(config, make_task(config))
        model = models.build(**models.architecture(config, self.encoder.vocab_size))
        self.architecture, self.rate = models.architecture(config, self.encoder.vocab_size), config.pretrain_lr
        self.weights = models.draw_weights(model, 0, config.init_scale)
        self.model, self.shape = model, values_shape(model.config)

    def episodes(self, split: str, n: int):
        return self.encoder.episodes(0, split, "unrotated", "blocked", n)

    def ensemble(self, n: int) -> Ensemble:
        return Ensemble(self.model, [self.weights] * n, self.rate, False, self.device)

    def plain(self) -> Plain:
        return Plain(self.architecture, self.weights, self.rate, self.device)

    def tensors(self, *arrays: np.ndarray) -> list[torch.Tensor]:
        return [torch.from_numpy(x.astype(np.int64)).to(self.device) for x in arrays]

    def metalearning(self) -> Iterator[Row]:
        for k in KS[self.task]:
            e = self.episodes("metalearning", QUERIES // k)
            parts = (e.context, e.queries[:, :k], e.answers[:, :k])
            ours, plain, flat = self.ensemble(1), self.plain(), self.tensors(*parts)
            batch = Batch.of_arrays(*(x[None] for x in parts), device=self.device)
            tokens = len(e) * k * (e.context.shape[1] + e.queries.shape[2])
            yield Row(
                f"metalearning step, K = {k}",
                partial(ours.step, batch),
                lambda plain=plain, flat=flat: plain.step(plain.logits(*flat[:2], flat[2].shape[2]), flat[2]),
                tokens,
                1,
            )
        e = self.episodes("validation", VALIDATION)
        ours, plain, flat = self.ensemble(1), self.plain(), self.tensors(e.context, e.queries, e.answers)
        tokens = e.answers.shape[0] * e.answers.shape[1] * (e.context.shape[1] + e.queries.shape[2])
        yield Row("validation", lambda: count_correct(ours, [e]), lambda: plain.correct(plain.logits, *flat), tokens, 1)

    def finetuning(self) -> Iterator[Row]:
        test = self.episodes("test", MEMBERS)
        episodes = [test.one(i) for i in range(MEMBERS)]
        ours, plains, n = self.ensemble(MEMBERS), [self.plain() for _ in range(MEMBERS)], BATCH[self.task]
        one = [self.tensors(e.context, e.queries, e.answers) for e in episodes]
        studied = [[context, queries[:, :n], answers[:, :n]] for context, queries, answers in one]
        length = test.context.shape[1] + test.queries.shape[2]
        of_step, of_test = MEMBERS * n * length, MEMBERS * test.queries.shape[1] * length
        n_answer = test.answers.shape[2]
        arrays = [x[:, None] for x in (test.context, test.queries[:, :n], test.answers[:, :n])]
        examples = self.encoder.examples(test)

        def plain_steps(call: str, *more) -> None:
            for plain, (context, queries, answers) in zip(plains, studied, strict=True):
                plain.step(getattr(plain, call)(context, queries, n_answer, *more), answers)

        def plain_tests(call: str, *more) -> None:
            for plain, tokens in zip(plains, one, strict=True):
                plain.correct(getattr(plain, call), *tokens, *more)

        batch = Batch.of_arrays(*arrays, device=self.device)
        yield Row("finetuning step", lambda: ours.step(batch), lambda: plain_steps("logits"), of_step, MEMBERS)
        yield Row("finetuning test", lambda: count_correct(ours, episodes), lambda: plain_tests("logits"), of_test, MEMBERS)
        keys = [(0, "benchmark", i) for i in range(MEMBERS)]
        for kind, call, before in (("mask", "masked", (self.tensors(examples)[0],)), ("gaussian", "noisy", ())):
            ablation = make_ablation(kind, examples, self.shape)

            def step(ablation=ablation) -> None:
                alone = arrays[1].swapaxes(1, 2)
                draws = ablation.draw_all(n, keys)
                context, queries, changed = ablation.batch(test.context, alone, draws, np.full(n, 0.5))
                answers = arrays[2].reshape(*queries.shape[:3], -1)
                ours.step(Batch.of_arrays(context, queries, answers, self.device, **changed))

            def levels(ablation=ablation, kind=kind) -> None:
                count_correct(ours, episodes)
                count_correct_ablated(ours, episodes, ablation, LEVELS[kind], 1, keys)

            def plain_levels(kind=kind, call=call, before=before) -> None:
                plain_tests("logits")
                for level in LEVELS[kind]:
                    plain_tests(call, *before, level)

            yield Row(f"finetuning step, {kind}", step, partial(plain_steps, call, *before, 0.5), of_step, MEMBERS)
            yield Row(f"test at 11 levels, {kind}", levels, plain_levels, 11 * of_test, MEMBERS)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def options(description: str) -> argparse.ArgumentParser:
    """The options of a benchmark of steps."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--task", choices=("category", "grid"), nargs="*", default=("category", "grid"))
    return parser


def begin(args: argparse.Namespace) -> torch.device:
    """Set the threads that were asked for, and print what is measured where; returns the device."""
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.device}, {args.threads} threads, medians of {args.repeats}")
    return torch.device(args.device)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rows", choices=("metalearning", "finetuning"), nargs="*", default=("metalearning", "finetuning"))
    args = parser.parse_args()
    device = begin(args)
    print(f"{'task':<9} {'work':<28}{'members':>8}{'plain s':>9}{'ours s':>9}{'ratio':>7}{'tokens/s':>10}{'members/s':>10}")
    for task in args.task:
        bench = Bench(task, device)
        for row in (row for rows in args.rows for row in getattr(bench, rows)()):
            pairs = [(seconds(row.ours, device), seconds(row.plain, device)) for _ in range(args.repeats + 1)][1:]
            ours, plain = (statistics.median(times) for times in zip(*pairs, strict=True))
            rates = f"{row.tokens / ours:>10,.0f}{row.members / ours:>10.1f}"
            print(f"{task:<9} {row.name:<28}{row.members:>8}{plain:>9.3f}{ours:>9.3f}{plain / ours:>7.1f}{rates}", flush=True)


if __name__ == "__main__":
    main()
