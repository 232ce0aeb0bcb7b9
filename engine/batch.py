"""Batches for the members of an ensemble, cut into parts that are computed one after the other, or side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

# Tokens of a part on a CPU, about: what a layer makes of them stays in the cache. It is fixed so that results are.
TOKENS = 2048
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Token ids that N members are trained on, or asked: each member has contexts and queries of its own.

    context [N, B, C], queries [N, B, K, L], answers [N, B, K, T]
    ablations: tensors for `attention.shared_context_attention`, each with a leading member axis
    """

    context: Tensor
    queries: Tensor
    answers: Tensor
    ablations: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_arrays(
        cls, context: np.ndarray, queries: np.ndarray, answers: np.ndarray, device: torch.device, **ablations: Tensor
    ) -> Batch:
        """Return a batch of numpy arrays of any integer type."""
        read, asked, right = (torch.from_numpy(x.astype(np.int64)).to(device) for x in (context, queries, answers))
        return cls(read, asked, right, {name: tensor.to(device) for name, tensor in ablations.items()})


@dataclass(frozen=True)
class Part:
    """Members and some of their contexts; `is_first` marks the first part of these members."""

    members: slice
    contexts: slice
    is_first: bool

    def of(self, batch: Batch) -> Batch:
        """Return this part of a batch."""
        context, queries, answers = (x[self.members, self.contexts] for x in (batch.context, batch.queries, batch.answers))
        ablations = {name: self._of(name, tensor[self.members]) for name, tensor in batch.ablations.items()}
        return Batch(context, queries, answers, ablations)

    def _of(self, name: str, ablation: Tensor) -> Tensor:
        return ablation[:, self.contexts] if name == "bias" else ablation[:, :, self.contexts]  # after the layers


def parts_of(batch: Batch) -> list[Part]:
    """The parts of a batch, a function of its shape and kind of device alone; on a GPU it is one."""
    n_members, n_contexts, n_queries, length = batch.queries.shape
    if batch.queries.device.type != "cpu":
        return [Part(slice(n_members), slice(n_contexts), True)]
    at_once = max(1, TOKENS // (batch.context.shape[2] + n_queries * length))  # contexts with their queries
    members, contexts = max(1, at_once // n_contexts), min(at_once, n_contexts)
    return [
        Part(slice(i, i + members), slice(j, j + contexts), j == 0)
        for i in range(0, n_members, members)
        for j in range(0, n_contexts, contexts)
    ]


def each(work: Callable[[Part], T], parts: list[Part], side_by_side: bool = True) -> Iterator[tuple[Part, T]]:
    """The parts and what `work` makes of each, in order.

    They are dealt to as many threads as torch has, each of which computes alone: its operations are too small to be shared
    well. So results do not depend on the number of threads. Without `side_by_side` they are worked on one after the other.
    """
    n_threads = torch.get_num_threads()
    if n_threads == 1 or len(parts) == 1 or not side_by_side:
        yield from ((part, work(part)) for part in parts)
        return
    torch.set_num_threads(1)  # new threads take the number over
    try:
        with ThreadPoolExecutor(n_threads) as executor:
            yield from zip(parts, executor.map(work, parts), strict=True)
    finally:
        torch.set_num_threads(n_threads)
