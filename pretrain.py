"""Metalearning: one loop over many episodes, for all seeds of a job together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from ablate import attention_dropout
from data import Encoder, groups_per_batch, metalearning_groups, n_batches
from engine.attention import Weights
from engine.ensemble import Batch, Ensemble, check_finite
from tasks.task import CRITERION
from test import count_correct

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from flags.config import Config
    from runs.records import Job


@dataclass
class SeedProgress:
    """What the loop remembers of a seed, beside its weights."""

    seed: int
    kept: int = -1  # novel validation queries answered rightly by the kept model
    best: int = -1  # the most since the last start
    stale: int = 0  # validations in a row, since then, without a new best
    loss_sum: list[float] = field(default_factory=list)  # by subset, since the last row
    loss_count: list[int] = field(default_factory=list)


class Metalearning:
    """Metalearns a chunk of seeds as one ensemble; `kept` holds the best-validated weights of each."""

    def __init__(
        self,
        config: Config,
        encoder: Encoder,
        model: LlamaForCausalLM,
        first_weights: Callable[[int, int], Weights],
        seeds: list[int],
        device: torch.device,
    ):
        self.config, self._first_weights = config, first_weights
        condition = (config.pt_rot_cond, config.pt_cond)
        n_train, n_val = (encoder.n_episodes(split) for split in ("metalearning", "validation"))
        self.validation = {seed: encoder.episodes(seed, "validation", *condition, n_val) for seed in seeds}
        self.episodes = {seed: encoder.episodes(seed, "metalearning", *condition, n_train) for seed in seeds if config.n_epochs}
        self._flipped = {}  # which episodes are, of each seed, if they are left out at first
        if config.unflipped_epochs:
            self._flipped = {seed: encoder.task.flipped(seed, "metalearning", *condition, n_train) for seed in seeds}
        self.subsets = self.validation[seeds[0]].subsets
        self.n_novel = n_val * int((self.validation[seeds[0]].subset[0] == self.subsets.index("novel")).sum())  # queries
        self.sizes = (n_train, self.validation[seeds[0]].queries.shape[1], config.queries_per_episode)
        self.per_epoch = max(1, n_batches(config, *self.sizes[:2]))
        self.n_steps = config.n_epochs * self.per_epoch  # of one start
        adam = {"beta2": config.adam_beta2, "weight_decay": config.weight_decay}
        self._ensemble_of = partial(Ensemble, model, learning_rate=config.pretrain_lr, causal=encoder.causal, device=device, **adam)
        self.kept = {seed: first_weights(seed, 0) for seed in seeds}
        self.ensemble = self._ensemble_of(list(self.kept.values()))
        self.step = self.start = 0
        self.active = [SeedProgress(seed) for seed in seeds]
        self.stopped: list[SeedProgress] = []  # early, since the last start
        self.notes: list[str] = []  # for people, told when the next start begins
        self.news: dict[str, float] = {}  # mean loss and accuracy if they were measured at this step, for people to watch
        self._clear_losses(self.active)
        self._order: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._epoch = -1

    def run(self, recorder: Job, chunk: int) -> None:
        """From the current step to the end of this start, or until every seed has stopped early."""
        for note in self.notes:
            recorder.say(note)
        self.notes = []
        end = (self.start + 1) * self.n_steps
        phase = f"metalearning, start {self.start + 1}" if self.start else "metalearning"
        recorder.start(phase, self.n_steps, self.step - self.start * self.n_steps)
        if self.step == 0:
            self._validate(recorder)
            self._tick(recorder, 0)
        while self.step < end and self.active:
            self._update()
            at_epoch_end = self.step % self.per_epoch == 0
            if self.step % self.config.print_every == 0 or at_epoch_end:
                self._write_losses(recorder, self.active)
            if self.step % self.config.test_every == 0 or at_epoch_end:
                self._validate(recorder)
            self._tick(recorder, 1)
            if recorder.save_due():
                recorder.save(*self.state(chunk))

    def start_again(self) -> bool:
        """Whether any seed does: those whose kept model answers no more than CRITERION of the novel validation queries, if
        there is a restart left. They have other initial weights and a new Adam; what they had kept stays until there is a
        better one. Steps and epochs count on."""
        behind = sorted((s for s in self.active + self.stopped if s.kept <= CRITERION * self.n_novel), key=lambda s: s.seed)
        if not behind or self.n_steps == 0 or self.start == self.config.restarts:
            return False
        self.start += 1
        self.step = self.start * self.n_steps
        for s in behind:
            line = f"seed {s.seed} answers {s.kept / self.n_novel:.3f} of the novel items of validation"
            times = f"restart {self.start} of at most {self.config.restarts}"
            self.notes.append(f"{line}, not more than {CRITERION}: other initial weights ({times})")
        self.active, self.stopped = [SeedProgress(s.seed, s.kept) for s in behind], []
        self.ensemble = self._ensemble_of([self._first_weights(s.seed, self.start) for s in behind])
        self._clear_losses(self.active)
        return True

    def _tick(self, recorder: Job, steps: int) -> None:
        recorder.tick(self.news, steps)
        self.news = {}

    def _update(self) -> None:
        epoch, batch = divmod(self.step, self.per_epoch)
        if epoch != self._epoch:
            first = epoch - self.start * self.config.n_epochs < self.config.unflipped_epochs
            left_out = self._flipped if first else {}
            self._order = {s.seed: metalearning_groups(s.seed, epoch, *self.sizes, left_out.get(s.seed)) for s in self.active}
            self._epoch = epoch
        size = groups_per_batch(self.config)
        parts = []  # per member: context [B, C], queries [B, K, L], answers [B, K, T], subset [B, K]
        for s in self.active:
            episode, queries = (part[batch * size : (batch + 1) * size] for part in self._order[s.seed])
            data, row = self.episodes[s.seed], episode[:, None]
            parts.append((data.context[episode], data.queries[row, queries], data.answers[row, queries], data.subset[row, queries]))
        context, queries, answers, subset = map(np.stack, zip(*parts, strict=True))
        changed = {}
        if self.config.attention_dropout:
            keys = [(s.seed, "attention dropout", "metalearning", self.step) for s in self.active]
            p, model = self.config.attention_dropout, self.ensemble.model.config
            changed["factors"] = attention_dropout(p, keys, model, context, queries)
        batch = Batch.of_arrays(context, queries, answers, self.ensemble.device, **changed)
        losses = self.ensemble.step(batch, self.rate()).double().cpu().numpy()
        self.step += 1
        for s, loss, of in zip(self.active, losses, subset, strict=True):
            check_finite(loss.mean(), self.step, self.config.pretrain_lr, "pretrain_lr")
            s.loss_sum = (np.array(s.loss_sum) + np.bincount(of.ravel(), loss.ravel(), len(self.subsets))).tolist()
            s.loss_count = (np.array(s.loss_count) + np.bincount(of.ravel(), minlength=len(self.subsets))).tolist()

    def rate(self) -> float:
        """The part of --pretrain_lr that the next update has."""
        warmup, step = max(1, self.config.warmup_steps), self.step - self.start * self.n_steps
        if step < warmup or self.config.lr_schedule == "constant":
            return min(1.0, (step + 1) / warmup)
        return (self.n_steps - step) / (self.n_steps - warmup + 1)

    @property
    def epoch(self) -> int:
        """The epoch that the last update was of, from 1; 0 before any."""
        return -(-self.step // self.per_epoch)

    def _clear_losses(self, of: list[SeedProgress]) -> None:
        for s in of:
            s.loss_sum, s.loss_count = [0.0] * len(self.subsets), [0] * len(self.subsets)

    def _write_losses(self, recorder: Job, of: list[SeedProgress]) -> None:
        """The mean training loss of each subset since the last row."""
        recorder.write(
            "pretrain_loss",
            (
                (s.seed, self.step, self.epoch, subset, f"{s.loss_sum[i] / s.loss_count[i]:.6g}")
                for s in of
                for i, subset in enumerate(self.subsets)
                if s.loss_count[i]
            ),
        )
        count = sum(sum(s.loss_count) for s in of)
        if count:
            self.news["loss"] = sum(sum(s.loss_sum) for s in of) / count
        self._clear_losses(of)

    def _validate(self, recorder: Job) -> None:
        """Test the active seeds, keep the weights of those with a new best, let go of those out of patience."""
        n_correct, n_queries = count_correct(self.ensemble, [self.validation[s.seed] for s in self.active])
        n_correct, n_queries = n_correct.sum(1), n_queries.sum(1)  # [N, S]
        novel = self.subsets.index("novel")
        for member, s in enumerate(self.active):
            right = int(n_correct[member, novel])
            is_best = right > s.kept
            s.stale = 0 if right > s.best else s.stale + 1
            s.kept, s.best = max(s.kept, right), max(s.best, right)
            if is_best:
                self.kept[s.seed] = self.ensemble.weights(member)
            recorder.write(
                "pretrain_accuracy",
                (
                    (s.seed, self.step, self.epoch, subset, n_correct[member, i], n_queries[member, i], int(is_best))
                    for i, subset in enumerate(self.subsets)
                ),
            )
        self._stop_early(recorder)
        self.news["novel"] = float((n_correct / n_queries)[:, novel].mean())

    def _stop_early(self, recorder: Job) -> None:
        """Stop seeds that ran out of patience, and those that answer all queries rightly: no later model can be kept."""
        if not self.config.stop_early:
            return
        stops = [s.stale >= self.config.patience or s.best == self.n_novel for s in self.active]
        going_on = [member for member, stop in enumerate(stops) if not stop]
        stopped = [s for s, stop in zip(self.active, stops, strict=True) if stop]
        self._write_losses(recorder, stopped)
        if stopped and going_on:
            self.ensemble.keep(going_on)
        self.active = [self.active[member] for member in going_on]
        self.stopped += stopped

    def state(self, chunk: int) -> tuple[Weights, dict]:
        """Everything `restore` needs."""
        tensors = {f"ensemble/{name}": tensor for name, tensor in self.ensemble.state().items()}
        for seed, weights in self.kept.items():
            tensors.update({f"kept/{seed}/{name}": tensor for name, tensor in weights.items()})
        seeds = {"active": [asdict(s) for s in self.active], "stopped": [asdict(s) for s in self.stopped]}
        return tensors, {"phase": "metalearning", "chunk": chunk, "start": self.start, "step": self.step, **seeds}

    def restore(self, tensors: Weights, state: dict) -> None:
        """Go on exactly where `state` was taken."""
        state = {"start": 0, "stopped": [], **state}  # a job that was begun before there were restarts lacks these, and `kept`
        self.start, self.step = state["start"], state["step"]
        self.active, self.stopped = (
            [SeedProgress(**{"kept": s["best"], **s}) for s in state[name]] for name in ("active", "stopped")
        )
        of_ensemble = {n.removeprefix("ensemble/"): t for n, t in tensors.items() if n.startswith("ensemble/")}
        self.ensemble.load_state(of_ensemble)
        for seed, weights in self.kept.items():
            self.kept[seed] = {name: tensors[f"kept/{seed}/{name}"] for name in weights}


def metalearn(
    config: Config,
    encoder: Encoder,
    model: LlamaForCausalLM,
    first_weights: Callable[[int, int], Weights],
    recorder: Job,
    device: torch.device,
) -> None:
    """Metalearn all seeds, `--max_members` at a time, and leave `best_seedN.safetensors` for each.

    `first_weights(seed, start)` gives the weights that a seed starts from, 0 for the first time, then 1 …
    """
    seeds = list(config.seeds)
    state = recorder.state
    first = state.get("chunk", 0)
    for chunk, start in list(enumerate(range(0, len(seeds), config.max_members)))[first:]:
        run = Metalearning(config, encoder, model, first_weights, seeds[start : start + config.max_members], device)
        if state.get("phase") == "metalearning":
            run.restore(recorder.tensors, state)
            state = {}
        run.run(recorder, chunk)
        while run.start_again():
            run.run(recorder, chunk)
        for seed, weights in run.kept.items():
            recorder.write_weights(f"best_seed{seed}.safetensors", weights)
        recorder.save({}, {"phase": "between chunks", "chunk": chunk + 1})
