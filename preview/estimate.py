"""What a job will do and what it will cost: the answer to `--dry_run`."""

from __future__ import annotations

import dataclasses
import time
from datetime import timedelta

import numpy as np
import torch
from transformers import LlamaForCausalLM

import models
from data import Encoder, Episodes, groups_per_batch, n_batches
from engine.ensemble import Batch, Ensemble
from finetune import plan
from flags.config import Config

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Work:
    """A kind of forward pass, done `times` times: N members, B contexts each, K queries on each."""

    what: str
    times: int
    members: int
    contexts: int
    queries: int
    trains: bool


def estimate(config: Config, encoder: Encoder, model: LlamaForCausalLM, device: torch.device) -> str:
    """The resolved flags, sizes, and an estimate of time and memory, as text.

    Time is extrapolated from a few small steps of this model on this machine, so it takes some seconds to make.
    """
    episode = encoder.episodes(config.seed, "test", config.pt_rot_cond, config.pt_cond, 1)
    n_queries = episode.queries.shape[1]
    works = _metalearning(config, encoder, n_queries) + _finetuning(config, episode)
    lines = [f"  --{name} {value}" for name, value in config.defining_values().items()]
    lines = ["Flags as resolved", *lines, "", f"The job's folder: {config.out_dir}", ""]
    n_parameters = sum(p.numel() for p in model.parameters())
    lines += [
        f"Model: {n_parameters:,} parameters, vocabulary {encoder.vocab_size:,}",
        f"Sequence: {episode.context.shape[1]} tokens of context, {episode.queries.shape[2]} of a query",
        "",
        f"{'work':<14}{'times':>10}{'members':>9}{'contexts':>10}{'queries':>9}{'tokens':>10}{'time':>17}{'memory':>11}",
    ]
    total = 0.0
    for work in works:
        tokens = work.times * work.members * work.contexts * _tokens(episode, work.queries)
        seconds = work.times * _seconds(work, config, episode, encoder, model, device)
        total += seconds
        memory = _bytes(work, episode, encoder, model, n_parameters) / GIB
        lines.append(
            f"{work.what:<14}{work.times:>10,}{work.members:>9}{work.contexts:>10}{work.queries:>9}{_short(tokens):>10}"
            f"{timedelta(seconds=round(seconds))!s:>17}{memory:>7.2f} GiB"
        )
    notes = []
    if config.stop_early and config.n_epochs:
        notes.append("--stop_early may end it sooner")
    if config.restarts and config.n_epochs:
        notes.append(f"with one start a seed, of {1 + config.restarts} at most (--restarts)")
    ending = f"; {', '.join(notes)}" if notes else ""
    return "\n".join([*lines, "", f"About {timedelta(seconds=round(total))} in all on this machine ({device.type}){ending}."])


def _metalearning(config: Config, encoder: Encoder, n_queries: int) -> list[Work]:
    steps = config.n_epochs * n_batches(config, encoder.n_episodes("metalearning"), n_queries)
    seeds = min(config.n_runs, config.max_members)
    chunks = -(-config.n_runs // config.max_members)
    training = Work("metalearning", steps * chunks, seeds, groups_per_batch(config), config.queries_per_episode, True)
    validations = 1 + steps // config.test_every + config.n_epochs
    validation = Work("validation", validations * chunks, seeds, encoder.n_episodes("validation"), n_queries, False)
    return [training, validation] if steps else [validation]


def _finetuning(config: Config, episode: Episodes) -> list[Work]:
    works = []
    n_groups, n_queries = len(episode.subsets) - 1, episode.queries.shape[1]
    n_study = int((episode.subset[0] < n_groups).sum())
    for members in plan(config):
        curriculum, size = members[0].step_curriculum, len(members)
        batch = min(config.finetune_bs, n_study if curriculum == "interleaved" else -(-n_study // n_groups))
        hides = config.ablation == "mask" and bool(config.ablation_level)
        contexts, queries = (batch, 1) if hides else (1, batch)
        n_tests = 1 + config.n_finetuning_steps // config.finetune_test_every
        works += [
            Work(f"{curriculum[:5]}. steps", config.n_finetuning_steps, size, contexts, queries, True),
            Work(f"{curriculum[:5]}. tests", n_tests, size, 1, n_queries, False),
        ]
        n_ablated = (len(config.test_levels) - 1) * config.test_repeats
        if n_ablated and config.ablation == "mask":
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


def _seconds(
    work: Work, config: Config, episode: Episodes, encoder: Encoder, model: LlamaForCausalLM, device: torch.device
) -> float:
    """The time of one pass, extrapolated from one of at most 4 members and 8 contexts."""
    members, contexts = min(work.members, 4), min(work.contexts, 8)
    weights = [models.draw_weights(model, 0, config.init_scale, config.weight_init)] * members
    ensemble = Ensemble(model, weights, 1e-3, encoder.causal, device)

    def repeat(ids: np.ndarray) -> np.ndarray:
        return np.broadcast_to(ids, (members, contexts, *ids.shape[1:]))

    chosen = np.arange(work.queries) % episode.queries.shape[1]
    parts = (episode.context, episode.queries[:, chosen], episode.answers[:, chosen])
    batch = Batch.of_arrays(*map(repeat, parts), device=device)
    call = ensemble.step if work.trains else ensemble.correct
    call(batch)
    start = time.perf_counter()
    for _ in range(2):
        call(batch).sum().item()
    scale = work.members * work.contexts / (members * contexts)
    return (time.perf_counter() - start) / 2 * scale


def _bytes(work: Work, episode: Episodes, encoder: Encoder, model: LlamaForCausalLM, n_parameters: int) -> float:
    """Parameters with gradients and Adam's moments, and the activations that a backward pass needs, roughly."""
    c = model.config
    n_context, length, n_answer = episode.context.shape[1], episode.queries.shape[2], episode.answers.shape[2]
    own = work.queries * length
    scores = 2 * c.num_attention_heads * (n_context**2 + own * (n_context + length))
    numbers = (n_context + own) * (16 * c.hidden_size + 4 * c.intermediate_size) + scores
    numbers *= c.num_hidden_layers if work.trains else 2
    numbers += 3 * work.queries * n_answer * encoder.vocab_size
    state = n_parameters * (4 if work.trains else 1)
    return 4.0 * work.members * (state + work.contexts * numbers)


def _short(count: float) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}P"
