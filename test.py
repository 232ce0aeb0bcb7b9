"""Tests of the members of an ensemble: accuracy as counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ablate import Ablation, Key
from data import Episodes
from engine.ensemble import Batch, Ensemble

# Members × episodes × tokens of one forward pass, at most: it bounds memory, and is fixed so that results are too.
TOKENS_AT_ONCE = 2**16


def count_correct(ensemble: Ensemble, episodes: list[Episodes]) -> tuple[np.ndarray, np.ndarray]:
    """Each member's answers to all queries of episodes of its own, one `Episodes` of E episodes a member.

    Returns n_correct [N, E, S] and n_queries [N, E, S], by subset in the order of `Episodes.subsets`. An answer is
    right if every token of it is the most likely one of the whole vocabulary.
    """
    context, queries, answers, subset = (
        np.stack([getattr(e, part) for e in episodes]) for part in ("context", "queries", "answers", "subset")
    )
    n_members, n_episodes, n_context = context.shape
    tokens = n_members * (n_context + queries.shape[2] * queries.shape[3])
    size = max(1, TOKENS_AT_ONCE // tokens)
    correct = np.concatenate(
        [
            ensemble.correct(
                Batch.of_arrays(context[:, i : i + size], queries[:, i : i + size], answers[:, i : i + size], ensemble.device)
            ).cpu().numpy()
            for i in range(0, n_episodes, size)
        ],
        axis=1,
    )  # fmt: skip
    is_of_subset = subset[..., None] == np.arange(len(episodes[0].subsets))  # [N, E, Q, S]
    return (correct[..., None] & is_of_subset).sum(2), is_of_subset.sum(2)


def count_correct_ablated(
    ensemble: Ensemble, episodes: list[Episodes], ablation: Ablation, levels: Sequence[float], repeats: int, keys: list[Key]
) -> tuple[np.ndarray, np.ndarray]:
    """The same for contexts ablated at several levels, one episode a member.

    One draw serves all queries and, scaled or thresholded, all levels; `repeats` draws are counted together. Member m's
    draws are a function of `keys[m]`. Returns n_correct and n_queries [N, levels, S].
    """
    context, queries, answers, subset = (
        np.concatenate([getattr(e, part) for e in episodes]) for part in ("context", "queries", "answers", "subset")
    )  # [N, C], [N, Q, L], [N, Q, T], [N, Q]
    n_members, n_queries, length = queries.shape
    draws = ablation.draw_all(repeats, keys)
    level = np.repeat(np.array(levels), repeats)  # of each group
    draw = np.tile(np.arange(repeats), len(levels))
    tokens = n_members * (n_queries * (length + 1) + (context.shape[1] if ablation.kind == "mask" else 0))
    size = max(1, TOKENS_AT_ONCE // tokens)
    correct = []
    for start in range(0, len(level), size):
        chosen = slice(start, start + size)
        groups = len(level[chosen])
        repeated = np.broadcast_to(queries[:, None], (n_members, groups, *queries.shape[1:]))
        contexts, own, changed = ablation.batch(context, repeated, ablation.of_groups(draws, draw[chosen]), level[chosen])
        asked = np.broadcast_to(answers[:, None], (n_members, groups, *answers.shape[1:]))
        asked = asked.reshape(*own.shape[:3], answers.shape[2])
        right = ensemble.correct(Batch.of_arrays(contexts, own, asked, ensemble.device, **changed))
        correct.append(right.cpu().numpy().reshape(n_members, groups, n_queries))
    right = np.concatenate(correct, axis=1).reshape(n_members, len(levels), repeats, n_queries)
    is_of_subset = subset[:, :, None] == np.arange(len(episodes[0].subsets))  # [N, Q, S]
    n_correct = (right[..., None] & is_of_subset[:, None, None]).sum((2, 3))
    return n_correct, np.broadcast_to(repeats * is_of_subset.sum(1)[:, None], n_correct.shape)
