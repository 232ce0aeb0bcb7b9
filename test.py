"""Tests of the members of an ensemble: accuracy as counts."""

from __future__ import annotations

import numpy as np

from data import Episodes
from ensemble import Batch, Ensemble

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
