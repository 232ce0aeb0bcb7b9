"""Plan and cost of a job: the answer to `--dry_run`."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import torch
from transformers import PreTrainedModel

import models
from data import Encoder, Episodes, n_batches, packs_per_batch
from engine.batch import TOKENS, Batch
from engine.ensemble import Ensemble
from finetune import Finetuning, plan
from flags.ablations import ABLATIONS
from flags.config import Config
from flags.stages import Stage, stages_of

GIB = 2**30
MARGIN = 0.9  # load that is more than the job's own start and another `--dry_run` make


@dataclasses.dataclass(frozen=True)
class Work:
    """A kind of forward pass, done `times` times: N members, B contexts each, K queries on each.

    finetunes: the step curriculum, of an update of finetuning; else nothing.
    """

    what: str
    times: int
    members: int
    contexts: int
    queries: int
    trains: bool
    finetunes: str = ""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Flags, episodes and model of finetuning, or of a stage of metalearning."""

    config: Config
    encoder: Encoder
    model: PreTrainedModel
    device: torch.device

    @classmethod
    def of_stage(cls, stage: Stage, encoder: Encoder, device: torch.device) -> Setting:
        """Return the setting of a stage of metalearning."""
        model = models.model_of(stage.config, encoder)
        return cls(stage.config, encoder.of(stage.config), model, device)

    @functools.cached_property
    def episode(self) -> Episodes:
        """Return an episode; all have its shape."""
        return self.encoder.episodes(self.config.seed, "test", self.config.pt_rot_cond, self.config.pt_cond, 1)

    @property
    def n_parameters(self) -> int:
        """Return the number of the model's parameters."""
        return sum(p.numel() for p in self.model.parameters())


def estimate(config: Config, encoder: Encoder, model: PreTrainedModel, device: torch.device) -> str:
    """The resolved flags, sizes, and an estimate of time and memory, as text.

    Time is extrapolated from a few small steps of this model on this machine, so it takes some seconds to make.
    """
    load = os.getloadavg()[0] if device.type == "cpu" else 0.0  # of the minute before, so hardly its own
    stages, last = stages_of(config), Setting(config, encoder, model, device)
    settings = [Setting.of_stage(stage, encoder, device) for stage in stages[:-1]] + [last]
    works = [(setting, work) for stage, setting in zip(stages, settings, strict=True) for work in _metalearning(stage, setting)]
    works += [(last, work) for work in _finetuning(config, last.episode)]
    lines = [f"  --{name} {value}" for name, value in config.defining_values().items() if name != "stages"]
    lines = ["Flags as resolved", *lines, "", *_told(config), f"The job's folder: {config.out_dir}", ""]
    lines += [
        f"Model: {last.n_parameters:,} parameters, vocabulary {encoder.vocab_size:,}",
        f"Sequence: {last.episode.context.shape[1]} tokens of context, {last.episode.queries.shape[2]} of a query",
        "",
        f"{'work':<20}{'times':>10}{'members':>9}{'contexts':>10}{'queries':>9}{'tokens':>10}{'time':>19}{'memory':>11}",
    ]
    total = 0.0
    for setting, work in works:
        tokens = work.times * work.members * work.contexts * _tokens(setting.episode, work.queries)
        seconds = work.times * _seconds(work, setting)
        total += seconds
        lines.append(
            f"{work.what:<20}{work.times:>10,}{work.members:>9}{work.contexts:>10}{work.queries:>9}{_short(tokens):>10}"
            f"{timedelta(seconds=round(seconds))!s:>19}{_bytes(work, setting) / GIB:>7.2f} GiB"
        )
    notes = []
    if config.stages:
        notes.append("a stage may reach its bar sooner")
    if config.stop_early and config.n_epochs:
        notes.append("--stop_early may end it sooner")
    if config.restarts and config.n_epochs:
        notes.append(f"with one start a seed, of {1 + config.restarts} at most (--restarts)")
    ending = f"; {', '.join(notes)}" if notes else ""
    threads = torch.get_num_threads()
    if load + threads > (os.cpu_count() or 1) + MARGIN:
        advice = " Beside other programs, try --threads 1." if threads > 1 else ""
        lines += ["", f"This machine was busy (load {load:.1f}). Alone the job would be faster.{advice}"]
    return "\n".join([*lines, "", f"About {timedelta(seconds=round(total))} in all on this machine ({device.type}){ending}."])


def _told(config: Config) -> list[str]:
    """The stages before the last, a line each."""
    if not config.stages:
        return []
    lines = ["Stages of metalearning before the last, which has the flags above"]
    for number, changed in enumerate(config.stages, start=1):
        flags = " ".join(f"--{name} {value}" for name, value in changed.items() if name != "bar")
        bar = f", until novel accuracy in validation is {changed['bar']}" if changed.get("bar") else ""
        lines.append(f"  {number}: {flags}{bar}")
    return [*lines, ""]


def _metalearning(stage: Stage, setting: Setting) -> list[Work]:
    config, encoder = stage.config, setting.encoder
    n_queries = setting.episode.queries.shape[1]
    per_epoch = max(1, n_batches(config, encoder.n_episodes("metalearning"), n_queries))
    steps = stage.n_steps(per_epoch)
    seeds = min(config.n_runs, config.max_members)
    chunks = -(-config.n_runs // config.max_members)
    which = f"stage {stage.number}, " if config.stages else ""
    training = Work(f"{which}training", steps * chunks, seeds, packs_per_batch(config), config.queries_per_episode, True)
    due = {*range(0, steps + 1, config.test_every), *range(per_epoch, steps + 1, per_epoch), steps}
    validation = Work(f"{which}validation", len(due) * chunks, seeds, encoder.n_episodes("validation"), n_queries, False)
    return [training, validation] if steps else [validation]


def _finetuning(config: Config, episode: Episodes) -> list[Work]:
    works = []
    n_groups, n_queries = len(episode.subsets) - 1, episode.queries.shape[1]
    n_study = int((episode.subset[0] < n_groups).sum())
    for members in plan(config):
        curriculum, size = members[0].step_curriculum, len(members)
        batch = min(config.finetune_bs, n_study if curriculum == "interleaved" else -(-n_study // n_groups))
        contexts, queries = (batch, 1) if config.trains_on_own_contexts else (1, batch)
        n_tests = 1 + config.n_finetuning_steps // config.finetune_test_every
        works += [
            Work(f"{curriculum[:5]}. steps", config.n_finetuning_steps, size, contexts, queries, True, curriculum),
            Work(f"{curriculum[:5]}. tests", n_tests, size, 1, n_queries, False),
        ]
        n_ablated = (len(config.test_levels) - 1) * config.test_repeats
        if n_ablated and ABLATIONS[config.ablation].own_contexts:
            works.append(Work(f"{curriculum[:5]}. levels", n_tests, size, n_ablated, n_queries, False))
        elif n_ablated:
            works.append(Work(f"{curriculum[:5]}. levels", n_tests, size, 1, n_ablated * n_queries, False))
    merged: dict[Work, int] = {}  # equal ensembles as one line
    for work in works:
        key = dataclasses.replace(work, times=0)
        merged[key] = merged.get(key, 0) + work.times
    return [dataclasses.replace(work, times=times) for work, times in merged.items() if times]


def _tokens(episode: Episodes, queries: int) -> int:
    return episode.context.shape[1] + queries * episode.queries.shape[2]


def _seconds(work: Work, setting: Setting) -> float:
    """The time of one pass, extrapolated from one of at most 4 members and, unless it finetunes, 8 contexts."""
    call, share = _update(work, setting) if work.finetunes else _pass(work, setting)
    call()
    start = time.perf_counter()
    for _ in range(2):
        call()
    return (time.perf_counter() - start) / 2 / share


def _pass(work: Work, setting: Setting) -> tuple[Callable[[], object], float]:
    """Return a smaller pass, and its share of the work's."""
    members, contexts, episode = min(work.members, 4), min(work.contexts, 8), setting.episode
    ensemble = _ensemble(setting, members)

    def repeat(ids: np.ndarray) -> np.ndarray:
        return np.broadcast_to(ids, (members, contexts, *ids.shape[1:]))

    chosen = np.arange(work.queries) % episode.queries.shape[1]
    parts = (episode.context, episode.queries[:, chosen], episode.answers[:, chosen])
    batch = Batch.of_arrays(*map(repeat, parts), device=setting.device)
    call = ensemble.step if work.trains else ensemble.correct
    return lambda: call(batch).sum().item(), members * contexts / (work.members * work.contexts)


def _update(work: Work, setting: Setting) -> tuple[Callable[[], object], float]:
    """Return an update of fewer members, with all that is drawn for it, and its share of the work's."""
    config = setting.config
    members = next(of for of in plan(config) if of[0].step_curriculum == work.finetunes)[: min(work.members, 4)]
    run = Finetuning(config, setting.encoder, members, _ensemble(setting, len(members)), 0)
    return lambda: run.update(0, 0, run.trained_in(0)), len(members) / work.members


def _ensemble(setting: Setting, members: int) -> Ensemble:
    weights = [models.draw_weights(setting.model, 0, 0.02)] * members
    return Ensemble(setting.model, weights, 1e-3, setting.encoder.causal, setting.device)


def _bytes(work: Work, setting: Setting) -> float:
    """Parameters with gradients and Adam's moments, and the activations of the parts that are worked on at once, roughly."""
    c, vocab_size, episode = setting.config, setting.encoder.vocab_size, setting.episode
    n_context, length, n_answer = episode.context.shape[1], episode.queries.shape[2], episode.answers.shape[2]
    own = work.queries * length
    scores = 2 * c.n_heads * (n_context**2 + own * (n_context + length))
    numbers = (n_context + own) * (16 * c.d_model + 4 * c.d_ff) + scores
    numbers *= c.n_layers if work.trains else 2
    numbers += 3 * work.queries * n_answer * vocab_size
    state = setting.n_parameters * (4 if work.trains else 1)
    at_once = work.members * work.contexts
    if setting.device.type == "cpu":  # see engine/batch.py
        at_once = min(at_once, torch.get_num_threads() * max(1, TOKENS // _tokens(episode, work.queries)))
    return 4.0 * (work.members * state + at_once * numbers)


def _short(count: float) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}P"
