"""Finetuning: many small, independent problems of one shape, trained together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ablate import Key, attention_dropout, make_ablation, values_shape
from data import Encoder, Episodes, finetuning_batch, group_names
from engine.attention import Weights
from engine.ensemble import Batch, Ensemble, check_finite
from flags import conditions
from runs.checkpoint import Damaged
from test import count_correct, count_correct_ablated

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from flags.config import Config
    from runs.records import Recorder

LOSS_EVERY = 10  # updates that a row of the loss is the mean of


@dataclass(frozen=True)
class Member:
    """One finetuned model: the first columns of its rows."""

    seed: int
    init: str
    rotation: str
    context_curriculum: str
    step_curriculum: str
    episode: int


def plan(config: Config) -> list[list[Member]]:
    """Return the ensembles that finetuning consists of. All members of a step curriculum share their batch shapes.

    At most `--max_members` are trained at once. Where an ablation gives each item a context of its own, each item counts as one.
    """
    size = max(1, config.max_members // config.finetune_bs) if config.trains_on_own_contexts else config.max_members
    ensembles = []
    for step_curriculum in config.step_curricula:
        members = [
            Member(seed, init, rotation, context, step_curriculum, episode)
            for seed in config.seeds
            for init in conditions.inits(config)
            for rotation in conditions.rotations(config)
            for context in conditions.contexts(config, step_curriculum)
            for episode in range(config.n_test)
        ]
        ensembles += [members[i : i + size] for i in range(0, len(members), size)]
    return ensembles


class Finetuning:
    """Finetunes one ensemble; every member has one test episode, a fresh Adam, and batches of its own."""

    def __init__(self, config: Config, encoder: Encoder, members: list[Member], ensemble: Ensemble, index: int):
        self.config, self.members, self.ensemble, self.index = config, members, ensemble, index
        of_condition: dict[tuple, Episodes] = {}
        for m in members:
            condition = (m.seed, "test", m.rotation, m.context_curriculum)
            if condition not in of_condition:
                of_condition[condition] = encoder.episodes(*condition, config.n_test)
        self.episodes = [of_condition[m.seed, "test", m.rotation, m.context_curriculum].one(m.episode) for m in members]
        self.subsets = self.episodes[0].subsets
        self.groups = group_names(len(self.subsets) - 1)
        self.ablation = None
        if config.ablation:
            examples = encoder.examples(self.episodes[0])
            self.ablation = make_ablation(config.ablation, examples, values_shape(ensemble.model.config), ensemble.device)
        self.step = 0
        self.loss_sum = np.zeros(len(members))
        self.loss_count = 0

    @property
    def n_steps(self) -> int:
        """Return the updates of a member: blocks × updates of a block."""
        return self.config.n_finetuning_steps

    def run(self, recorder: Recorder) -> None:
        """Train and test from the current step to the end."""
        if self.step == 0:
            self._test(recorder, "", "")
            recorder.tick(0)
        while self.step < self.n_steps:
            block, step_in_block = divmod(self.step, self.config.n_steps_per_block)
            trained = self.trained_in(block)
            self.update(block, step_in_block, trained)
            at_block_end = step_in_block + 1 == self.config.n_steps_per_block
            if self.step % LOSS_EVERY == 0 or at_block_end:
                self._write_losses(recorder, block, trained)
            if self.step % self.config.finetune_test_every == 0 or at_block_end:
                self._test(recorder, block, trained)
            recorder.tick()
            if recorder.save_due():
                recorder.save(*self.state())

    def trained_in(self, block: int) -> str:
        """Return the group that a block trains, or "all"."""
        return self.groups[block % len(self.groups)] if self.members[0].step_curriculum == "blocked" else "all"

    def update(self, block: int, step_in_block: int, trained: str) -> None:
        """Make an update of every member, on items of the group `trained`, or of all groups."""
        chosen = []
        for m, episode in zip(self.members, self.episodes, strict=True):
            subset = episode.subset[0]
            is_trained = subset < len(self.groups) if trained == "all" else subset == self.groups.index(trained)
            key = (m.seed, "finetuning batches", m.rotation, m.context_curriculum, m.step_curriculum, m.episode, block)
            chosen.append(finetuning_batch(np.flatnonzero(is_trained), self.config.finetune_bs, step_in_block, *key))
        parts = ((e.context, e.queries[:, items], e.answers[:, items]) for e, items in zip(self.episodes, chosen, strict=True))
        losses = self.ensemble.step(self._batch(*map(np.stack, zip(*parts, strict=True))))
        self.loss_sum += losses.double().mean((1, 2)).cpu().numpy()
        self.loss_count += 1
        self.step += 1

    def _batch(self, context: np.ndarray, queries: np.ndarray, answers: np.ndarray) -> Batch:
        """The batch of an update, ablated if that is asked for, each query in a way of its own unless all ways are alike.

        context [N, 1, C], queries [N, 1, K, L], answers [N, 1, K, T]
        """
        changed = {}
        if self.ablation and self.config.ablation_level:
            if not self.config.ablates_items_alike:
                queries = queries.swapaxes(1, 2)  # [N, K, 1, L]: each query has a variant of its own
            draws = self.ablation.draw_all(queries.shape[1], self._keys("ablation"))
            levels = np.full(queries.shape[1], self.config.ablation_level)
            context, queries, changed = self.ablation.batch(context[:, 0], queries, draws, levels)
            answers = answers.reshape(*queries.shape[:3], -1)
        if self.config.attention_dropout:
            changed["factors"] = attention_dropout(
                self.config.attention_dropout, self._keys("attention dropout"), self.ensemble.model.config, context, queries
            )
        return Batch.of_arrays(context, queries, answers, self.ensemble.device, **changed)

    def _keys(self, purpose: str) -> list[Key]:
        """Return each member's random key for this step."""
        return [(m.seed, purpose, m.rotation, m.context_curriculum, m.step_curriculum, m.episode, self.step) for m in self.members]

    def _write_losses(self, recorder: Recorder, block: int, trained: str) -> None:
        means = self.loss_sum / self.loss_count
        check_finite(means.max(), self.step, self.config.finetune_lr, "finetune_lr")
        recorder.note(loss=float(means.mean()))
        recorder.write(
            "finetune_loss",
            ((*astuple(m), block, trained, self.step, f"{loss:.6g}") for m, loss in zip(self.members, means, strict=True)),
        )
        self.loss_sum, self.loss_count = np.zeros(len(self.members)), 0

    def _test(self, recorder: Recorder, block: int | str, trained: str) -> None:
        levels = self.config.test_levels
        counts = [count_correct(self.ensemble, self.episodes)]  # level 0; [N, 1, S] each
        if len(levels) > 1:
            keys, repeats = self._keys("test ablation"), self.config.test_repeats
            counts.append(count_correct_ablated(self.ensemble, self.episodes, self.ablation, levels[1:], repeats, keys))
        n_correct, n_queries = (np.concatenate(parts, axis=1) for parts in zip(*counts, strict=True))  # [N, levels, S]
        accuracy = n_correct[:, 0] / n_queries[:, 0]
        recorder.note(study=float(accuracy[:, :-1].mean()), novel=float(accuracy[:, -1].mean()))
        recorder.write(
            "finetune_accuracy",
            (
                (*astuple(m), block, trained, self.step, level, subset, n_correct[i, v, s], n_queries[i, v, s])
                for i, m in enumerate(self.members)
                for v, level in enumerate(levels)
                for s, subset in enumerate(self.subsets)
            ),
        )

    def state(self) -> tuple[Weights, dict]:
        """Return what `restore` needs: tensors, and JSON values."""
        losses = {"loss_sum": self.loss_sum.tolist(), "loss_count": self.loss_count}
        place = {"ensemble": self.index, "first_member": astuple(self.members[0]), "step": self.step}
        return self.ensemble.state(), {"phase": "finetuning", **place, **losses}

    def restore(self, tensors: Weights, state: dict) -> None:
        """Resume exactly where `state` was taken."""
        self.ensemble.load_state(tensors)
        self.step, self.loss_count = state["step"], state["loss_count"]
        self.loss_sum = np.array(state["loss_sum"])


def finetune(
    config: Config,
    encoder: Encoder,
    model: PreTrainedModel,
    weights_of: Callable[[int, str], Weights],
    recorder: Recorder,
    device: torch.device,
) -> None:
    """Few-shot test and finetuning of every condition. `weights_of(seed, init)` gives what a member starts from."""
    ensembles = plan(config)
    state = recorder.state if recorder.state.get("phase") == "finetuning" else {"ensemble": 0, "step": 0}
    first = state["ensemble"]
    if state["step"] and not _is_of_plan(state, recorder.tensors, ensembles):
        raise Damaged(
            f"{recorder.folder}: an earlier version began this job and grouped its models otherwise; pass --no_resume to start anew"
        )
    done = first * config.n_finetuning_steps + state["step"]
    recorder.start("finetuning", len(ensembles) * config.n_finetuning_steps, done)
    for index, members in list(enumerate(ensembles))[first:]:
        weights = [weights_of(m.seed, m.init) for m in members]
        ensemble = Ensemble(model, weights, config.finetune_lr, encoder.causal, device, beta2=config.finetune_beta2)
        run = Finetuning(config, encoder, members, ensemble, index)
        if index == first and state["step"]:
            run.restore(recorder.tensors, state)
        run.run(recorder)


def _is_of_plan(state: dict, tensors: Weights, ensembles: list[list[Member]]) -> bool:
    """Return whether a saved state is of the ensemble that it names. Resumed in another, a job would lack rows."""
    if state["ensemble"] >= len(ensembles):
        return False
    members = ensembles[state["ensemble"]]
    first = state.get("first_member", list(astuple(members[0])))  # states of earlier versions lack it
    sizes = {len(tensor) for name, tensor in tensors.items() if name.startswith("parameter/")}
    return first == list(astuple(members[0])) and sizes == {len(members)}
