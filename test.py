"""Tests of the members of an ensemble: accuracy as counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from ablate import Ablation, Key
from data import Episodes
from engine.ensemble import Batch, Ensemble
from flags.ablations import ABLATIONS

# Members × episodes × tokens of one forward pass, at most: it bounds memory, and is fixed so that results are too.
TOKENS_AT_ONCE = 2**16


def count_correct(ensemble: Ensemble, episodes: list[Episodes]) -> tuple[np.ndarray, np.ndarray]:
    """Count each member's right answers to all queries of episodes of its own, one `Episodes` of E episodes a member.

    Returns n_correct [N, E, S] and n_queries [N, E, S], by subset in the order of `Episodes.subsets`. An answer is
    right if every token of it is the most likely one of the whole vocabulary.
    """
    right = _ask(ensemble, episodes, lambda batch: [ensemble.correct(batch)])[0]
    is_of_subset = _is_of_subset(episodes)
    return (right[..., None] & is_of_subset).sum(2), is_of_subset.sum(2)


def count_correct_with_loss(ensemble: Ensemble, episodes: list[Episodes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `count_correct`, and the sum of the queries' losses, [N, E, S]."""
    right, loss = _ask(ensemble, episodes, ensemble.correct_with_loss)
    is_of_subset = _is_of_subset(episodes)
    summed = np.einsum("neq,neqs->nes", loss.astype(np.float64), is_of_subset)
    return (right[..., None] & is_of_subset).sum(2), is_of_subset.sum(2), summed


def _ask(ensemble: Ensemble, episodes: list[Episodes], ask: Callable[[Batch], Sequence[Tensor]]) -> list[np.ndarray]:
    """Return what `ask` makes of all queries, [N, E, Q] each, a part of the episodes at a time."""
    context, queries, answers = (np.stack([getattr(e, part) for e in episodes]) for part in ("context", "queries", "answers"))
    n_members, n_episodes, n_context = context.shape
    tokens = n_members * (n_context + queries.shape[2] * queries.shape[3])
    size = max(1, TOKENS_AT_ONCE // tokens)
    found = []
    for i in range(0, n_episodes, size):
        part = (x[:, i : i + size] for x in (context, queries, answers))
        found.append([x.cpu().numpy() for x in ask(Batch.of_arrays(*part, ensemble.device))])
    return [np.concatenate(parts, axis=1) for parts in zip(*found, strict=True)]


def _is_of_subset(episodes: list[Episodes]) -> np.ndarray:
    """Return True where a query is of a subset, [N, E, Q, S]."""
    subset = np.stack([e.subset for e in episodes])
    return subset[..., None] == np.arange(len(episodes[0].subsets))


def count_correct_ablated(
    ensemble: Ensemble, episodes: list[Episodes], ablation: Ablation, levels: Sequence[float], repeats: int, keys: list[Key]
) -> tuple[np.ndarray, np.ndarray]:
    """Count right answers under contexts ablated at several levels, one episode a member.

    One draw serves all queries and, scaled or thresholded, all levels; `repeats` draws are counted together. Member m's
    draws are a function of `keys[m]`. Returns n_correct and n_queries [N, levels, S].
    """
    context, queries, answers, subset = (
        np.concatenate([getattr(e, part) for e in episodes]) for part in ("context", "queries", "answers", "subset")
    )  # [N, C], [N, Q, L], [N, Q, T], [N, Q]
    n_members, n_queries, length = queries.shape
    draws = ablation.draw_all(repeats, keys)
    level = np.repeat(np.array(levels), repeats)  # of each variant
    draw = np.tile(np.arange(repeats), len(levels))
    tokens = n_members * (n_queries * (length + 1) + (context.shape[1] if ABLATIONS[ablation.kind].own_contexts else 0))
    size = max(1, TOKENS_AT_ONCE // tokens)
    correct = []
    for start in range(0, len(level), size):
        chosen = slice(start, start + size)
        n_variants = len(level[chosen])
        repeated = np.broadcast_to(queries[:, None], (n_members, n_variants, *queries.shape[1:]))
        contexts, own, changed = ablation.batch(context, repeated, ablation.of_variants(draws, draw[chosen]), level[chosen])
        asked = np.broadcast_to(answers[:, None], (n_members, n_variants, *answers.shape[1:]))
        asked = asked.reshape(*own.shape[:3], answers.shape[2])
        right = ensemble.correct(Batch.of_arrays(contexts, own, asked, ensemble.device, **changed))
        correct.append(right.cpu().numpy().reshape(n_members, n_variants, n_queries))
    right = np.concatenate(correct, axis=1).reshape(n_members, len(levels), repeats, n_queries)
    is_of_subset = subset[:, :, None] == np.arange(len(episodes[0].subsets))  # [N, Q, S]
    n_correct = (right[..., None] & is_of_subset[:, None, None]).sum((2, 3))
    return n_correct, np.broadcast_to(repeats * is_of_subset.sum(1)[:, None], n_correct.shape)
