"""Metalearning: one loop over many episodes, for all seeds of a job together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch

import models
from ablate import attention_dropout
from data import Encoder, metalearning_packs, n_batches, packs_per_batch
from engine.attention import Weights
from engine.ensemble import Batch, Ensemble, check_finite
from engine.rounds import Rounds
from engine.seeds import SeedProgress, flat, nested
from flags.stages import Stage, stages_of
from tasks.task import CRITERION
from test import count_correct_with_loss

if TYPE_CHECKING:
    from flags.config import Config
    from runs.records import Recorder


class Metalearning:
    """Metalearns seeds as one ensemble, in one stage of one start; `kept` holds the best-validated weights of each.

    entered: the weights that each seed comes with, which may have fewer layers; none if they are to be drawn.
    start: how often these seeds have started before. Steps and epochs count on over the starts of a stage.
    before: what each seed has kept in earlier starts of the last stage, and how good it is; it stays until a model is better.
    """

    def __init__(
        self,
        stage: Stage,
        encoder: Encoder,
        entered: dict[int, Weights],
        seeds: list[int],
        device: torch.device,
        start: int = 0,
        before: tuple[dict[int, SeedProgress], dict[int, Weights]] = ({}, {}),
    ):
        self.stage, self.config, self.start = stage, stage.config, start
        config = self.config
        self._encoder = encoder = encoder.of(config)
        self.model = models.model_of(config, encoder)
        n_train, n_val = (encoder.n_episodes(split) for split in ("metalearning", "validation"))
        self.validation = {seed: encoder.episodes(seed, "validation", *config.condition, n_val) for seed in seeds}
        self.episodes = {
            seed: encoder.episodes(seed, "metalearning", *config.condition, n_train) for seed in seeds if config.n_epochs
        }
        self.subsets = self.validation[seeds[0]].subsets
        self.n_novel = n_val * int((self.validation[seeds[0]].subset[0] == self.subsets.index("novel")).sum())  # queries
        self.sizes = (n_train, self.validation[seeds[0]].queries.shape[1], config.queries_per_episode)
        self.per_epoch = max(1, n_batches(config, *self.sizes[:2]))
        self.n_steps = stage.n_steps(self.per_epoch)  # of one start
        progress, kept = before if stage.is_last else ({}, {})
        first = {seed: self._first_weights(seed, entered) for seed in seeds}
        self.kept = {seed: kept.get(seed, weights) for seed, weights in first.items()}
        self.active = [progress[seed].anew() if seed in progress else SeedProgress(seed) for seed in seeds]
        self.stopped: list[SeedProgress] = []  # early
        self.step = start * self.n_steps
        adam = {"beta2": config.adam_beta2, "weight_decay": config.weight_decay}
        self.ensemble = Ensemble(self.model, list(first.values()), config.pretrain_lr, causal=encoder.causal, device=device, **adam)
        if config.readout_steps and self.n_steps:
            self.ensemble.train_only({models.readout_of(self.model)})
        self._clear_losses(self.active)
        self._order: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._epoch = -1

    def run(self, recorder: Recorder, save: Callable[[Weights, dict], None]) -> None:
        """Train from the current step to the end, or until every seed has stopped early. `save` gets what `restore` needs."""
        end = (self.start + 1) * self.n_steps
        recorder.start(self._phase, self.n_steps, self.step - self.start * self.n_steps)
        if self.step == 0:
            self._validate(recorder)
            recorder.tick(0)
        while self.step < end and self.active:
            self._update()
            is_due = self.step % self.per_epoch == 0 or self.step == end
            if self.step % self.config.print_every == 0 or is_due:
                self._write_losses(recorder, self.active)
            if self.step % self.config.test_every == 0 or is_due:
                self._validate(recorder)
            recorder.tick()
            if recorder.save_due():
                save(*self.state())

    @property
    def _phase(self) -> str:
        words = ["metalearning"]
        if len(self.config.stages):
            words.append(f"stage {self.stage.number} of {len(self.config.stages) + 1}")
        if self.start:
            words.append(f"start {self.start + 1}")
        return ", ".join(words)

    def behind(self) -> list[int]:
        """Return the seeds that have not learned what they should have, when their updates are over.

        In the last stage, their kept model answers no more than CRITERION of the novel validation queries. Before it, they missed
        the bar."""
        if not self.n_steps:
            return []
        return [s.seed for s in self.all_seeds() if self._is_behind(s)]

    def words_of(self, seed: int) -> str:
        """Return what people are told of a seed that is behind."""
        stage, kept = self.stage, next(s.kept for s in self.all_seeds() if s.seed == seed)
        where = f"not more than {CRITERION}" if stage.is_last else f"less than the {stage.bar} of stage {stage.number}"
        return f"seed {seed} answers {kept / self.n_novel:.3f} of the novel items of validation, {where}"

    def all_seeds(self) -> list[SeedProgress]:
        """Return how each seed came on, in the order of seeds."""
        return sorted(self.active + self.stopped, key=lambda s: s.seed)

    def _is_behind(self, s: SeedProgress) -> bool:
        if self.stage.is_last:
            return s.kept <= CRITERION * self.n_novel
        return self.stage.bar is not None and not s.passed

    def _first_weights(self, seed: int, entered: dict[int, Weights]) -> Weights:
        """Return the weights that a seed begins with."""
        if seed in entered:
            return models.grown(entered[seed], self.model, seed, self.start)
        return models.initial_weights(self.model, self.config, self._encoder, seed, self.start)

    def _update(self) -> None:
        epoch, batch = divmod(self.step, self.per_epoch)
        if epoch != self._epoch:
            # The batches of the last stage are those of a job without stages.
            of_stage = () if self.stage.is_last else (self.stage.number,)
            self._order = {s.seed: metalearning_packs(s.seed, epoch, *self.sizes, *of_stage) for s in self.active}
            self._epoch = epoch
        in_start = self.step - self.start * self.n_steps
        if in_start == self.config.readout_steps > 0:
            self.ensemble.train_only(None)
        size = packs_per_batch(self.config)
        parts = []  # per member: context [B, C], queries [B, K, L], answers [B, K, T], subset [B, K]
        for s in self.active:
            episode, queries = (part[batch * size : (batch + 1) * size] for part in self._order[s.seed])
            data, row = self.episodes[s.seed], episode[:, None]
            parts.append((data.context[episode], data.queries[row, queries], data.answers[row, queries], data.subset[row, queries]))
        context, queries, answers, subset = map(np.stack, zip(*parts, strict=True))
        changed = {}
        if self.config.attention_dropout:
            purpose = ("attention dropout", "metalearning") if self.stage.is_last else ("attention dropout", self.stage.number)
            keys = [(s.seed, *purpose, self.step) for s in self.active]
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
        """Return the learning-rate factor of the next update, by which --pretrain_lr is multiplied."""
        alone = self.config.readout_steps
        step, n_steps = self.step - self.start * self.n_steps - alone, self.n_steps - alone
        if step < 0:
            return self.config.readout_lr / self.config.pretrain_lr
        warmup = max(1, self.config.warmup_steps)
        if step < warmup or self.config.lr_schedule == "constant":
            return min(1.0, (step + 1) / warmup)
        return (n_steps - step) / (n_steps - warmup + 1)

    @property
    def epoch(self) -> int:
        """The epoch that the last update was of, from 1; 0 before any."""
        return -(-self.step // self.per_epoch)

    def _clear_losses(self, of: list[SeedProgress]) -> None:
        for s in of:
            s.loss_sum, s.loss_count = [0.0] * len(self.subsets), [0] * len(self.subsets)

    def _write_losses(self, recorder: Recorder, of: list[SeedProgress]) -> None:
        """The mean training loss of each subset since the last row."""
        recorder.write(
            "pretrain_loss",
            (
                (s.seed, self.stage.number, self.step, self.epoch, subset, f"{s.loss_sum[i] / s.loss_count[i]:.6g}")
                for s in of
                for i, subset in enumerate(self.subsets)
                if s.loss_count[i]
            ),
        )
        count = sum(sum(s.loss_count) for s in of)
        if count:
            recorder.note(loss=sum(sum(s.loss_sum) for s in of) / count)
        self._clear_losses(of)

    def _validate(self, recorder: Recorder) -> None:
        """Test the active seeds, keep the weights of those with a new best, let go of those that need no more updates."""
        n_correct, n_queries, loss = count_correct_with_loss(self.ensemble, [self.validation[s.seed] for s in self.active])
        n_correct, n_queries, loss = n_correct.sum(1), n_queries.sum(1), loss.sum(1)  # [N, S]
        loss = loss / n_queries
        novel = self.subsets.index("novel")
        for member, s in enumerate(self.active):
            right = int(n_correct[member, novel])
            is_best = s.take(right, float(f"{loss[member, novel]:.6g}"), self.config.keep_by)
            s.passed = self.stage.bar is not None and right >= self.stage.bar * self.n_novel
            if is_best or s.passed:  # a model that reached the bar is kept, also if an earlier one had a lower loss
                self.kept[s.seed] = self.ensemble.weights(member)
            recorder.write(
                "pretrain_accuracy",
                (
                    (
                        *(s.seed, self.stage.number, self.step, self.epoch, subset),
                        *(n_correct[member, i], n_queries[member, i], f"{loss[member, i]:.6g}", int(is_best)),
                    )
                    for i, subset in enumerate(self.subsets)
                ),
            )
        self._stop_early(recorder)
        recorder.note(novel=float((n_correct / n_queries)[:, novel].mean()))

    def _stop_early(self, recorder: Recorder) -> None:
        """Stop seeds that reached the stage's bar; with --stop_early also those out of patience, and those that answer all queries
        rightly where no later model can be kept."""
        stops = [s.passed or (self.config.stop_early and self._is_through(s)) for s in self.active]
        going_on = [member for member, stop in enumerate(stops) if not stop]
        stopped = [s for s, stop in zip(self.active, stops, strict=True) if stop]
        self._write_losses(recorder, stopped)
        if stopped and going_on:
            self.ensemble.keep(going_on)
        self.active = [self.active[member] for member in going_on]
        self.stopped += stopped

    def _is_through(self, s: SeedProgress) -> bool:
        return s.stale >= self.config.patience or (self.config.keep_by == "accuracy" and s.best == self.n_novel)

    def state(self) -> tuple[Weights, dict]:
        """Return everything `restore` needs."""
        tensors = {f"ensemble/{name}": tensor for name, tensor in self.ensemble.state().items()} | flat("kept", self.kept)
        seeds = {"active": [asdict(s) for s in self.active], "stopped": [asdict(s) for s in self.stopped]}
        return tensors, {"phase": "metalearning", "step": self.step, **seeds}

    def restore(self, tensors: Weights, state: dict) -> None:
        """Resume exactly where `state` was taken."""
        state = {"stopped": [], **state}  # a job that began before restarts existed lacks it, and a seed's `kept`
        self.step = state["step"]
        self.active, self.stopped = (
            [SeedProgress(**{"kept": s["best"], **s}) for s in state[name]] for name in ("active", "stopped")
        )
        if self.step - self.start * self.n_steps > self.config.readout_steps:
            self.ensemble.train_only(None)
        of_ensemble = {n.removeprefix("ensemble/"): t for n, t in tensors.items() if n.startswith("ensemble/")}
        self.ensemble.load_state(of_ensemble)
        self.kept = nested("kept", tensors)


def metalearn(config: Config, encoder: Encoder, loaded: dict[int, Weights], recorder: Recorder, device: torch.device) -> None:
    """Metalearn all seeds, `--max_members` at a time, and leave `best_seedN.safetensors` for each.

    loaded: the weights that each seed starts from; none if they are to be drawn.
    """
    state, tensors = recorder.state, recorder.tensors
    first = state.get("chunk", 0)
    chunks = [config.seeds[i : i + config.max_members] for i in range(0, len(config.seeds), config.max_members)]
    stages = stages_of(config)
    for chunk, seeds in list(enumerate(chunks))[first:]:
        rounds = Rounds(len(stages), config.restarts, loaded, list(seeds))
        rounds.restore(tensors, state)
        while rounds.going:
            stage, before = stages[rounds.stage - 1], (rounds.progress, rounds.kept)
            run = Metalearning(stage, encoder, rounds.entered, rounds.going, device, rounds.start, before)
            if state.get("phase") == "metalearning":
                run.restore(tensors, state)
            state, tensors = {}, {}

            def save(tensors: Weights, state: dict) -> None:
                recorder.save(tensors | rounds.tensors(stage.is_last), {"chunk": chunk, **rounds.state(), **state})  # noqa: B023

            run.run(recorder, save)
            behind = run.behind()
            for seed in behind:
                if what := rounds.what_follows():
                    recorder.say(f"{run.words_of(seed)}: {what}")
            rounds.advance(run.all_seeds(), run.kept, behind)
            if rounds.going:
                recorder.save(rounds.tensors(False), {"chunk": chunk, **rounds.state(), "phase": "between stages"})
        for seed, weights in rounds.kept.items():
            recorder.write_weights(f"best_seed{seed}.safetensors", weights)
        recorder.save({}, {"phase": "between chunks", "chunk": chunk + 1})
        state, tensors = {}, {}
