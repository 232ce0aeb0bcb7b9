"""Ablations of the context: their draws, and the ablated batch.

mask: examples of the context are hidden from all that follows. gaussian, bernoulli: the attention values that a query
finds in the context are disturbed. Both weaken in-context learning and leave the weights alone.

Attention dropout draws its masks in the same way. Every draw is a function of its key; a level only scales or
thresholds it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from engine.streams import stream

if TYPE_CHECKING:
    from transformers import LlamaConfig

Key = tuple[int | str, ...]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ablation(ABC):
    """An ablation of one model, on contexts of one layout. Each kind has a class: it draws, and applies a level to the draws.

    examples   [C] the example that each position of the context belongs to, -1 at separators
    values     (layers, heads, width of a head) of the model
    device     where `batch` makes what it adds: what is drawn is far smaller than the scores that it changes
    """

    kind: ClassVar[str]  # its name in KINDS, and in flags/ablations.py
    variant_axis: ClassVar[int]  # which axis of the draws of several members counts the variants

    examples: np.ndarray
    values: tuple[int, int, int]
    device: torch.device = CPU

    @abstractmethod
    def draw(self, n: int, *key: int | str) -> np.ndarray:
        """Draw for n variants of a context, before any level: a function of the key."""

    @abstractmethod
    def batch(
        self, context: np.ndarray, queries: np.ndarray, draws: np.ndarray, levels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Tensor]]:
        """Return what N members are given so that queries meet A variants of the context, each ablated in a way of its own.

        context [N, C], queries [N, A, Q, L], draws as from `draw_all` for A variants, levels [A]. Returns contexts, queries
        and ablations as `ensemble.Batch` takes them, with the variants in order: contexts [N, A, ·] and queries [N, A, Q, ·]
        if each variant is a context of its own, else contexts [N, 1, ·] and queries [N, 1, A·Q, ·].
        """

    def draw_all(self, n: int, keys: Iterable[Key]) -> np.ndarray:
        """The draws of several members, [N, …], made side by side."""
        with ThreadPoolExecutor(torch.get_num_threads()) as executor:  # numpy's generators let go of the interpreter's lock
            return np.stack(list(executor.map(lambda key: self.draw(n, *key), keys)))

    def of_variants(self, draws: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Draws of `draw_all` for variants that take the draw `which` [A] says."""
        return np.take(draws, which, axis=self.variant_axis)


class Mask(Ablation):
    """Hides an example of the context from all that follows it, if its draw is below the level."""

    kind = "mask"
    variant_axis = 1

    def draw(self, n: int, *key: int | str) -> np.ndarray:
        """Draw uniforms [n, examples]."""
        return stream(*key).random((n, self.n_examples), dtype=np.float32)

    def batch(
        self, context: np.ndarray, queries: np.ndarray, draws: np.ndarray, levels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Tensor]]:
        """Return contexts [N, A, C], queries [N, A, Q, L], and as `bias` which positions are hidden."""
        n, n_variants = queries.shape[:2]
        hides = draws < levels[:, None].astype(np.float32)  # [N, A, examples]
        hidden = hides[:, :, self.examples] & (self.examples >= 0)  # [N, A, C]
        contexts = np.broadcast_to(context[:, None], (n, n_variants, context.shape[1]))
        return contexts, queries, {"bias": self._bias(torch.from_numpy(hidden).to(self.device))}

    @property
    def n_examples(self) -> int:
        """Return the number of study examples of the context."""
        return int(self.examples.max()) + 1

    def _bias(self, hidden: Tensor) -> Tensor:
        """Turn hidden [N, A, C] into what is added to the scores, [N, A, 1, C + 1, C]; the last row is that of the queries.

        A position sees itself, and what is before it: separators, its own example, and the examples not hidden.
        """
        n = len(self.examples)
        example = torch.from_numpy(self.examples).to(hidden.device)
        own = (example[:, None] == example) & (example >= 0)  # [C, C]
        sees = torch.cat([own, own.new_zeros(1, n)]) | ~hidden[:, :, None, :]
        sees &= own.new_ones(n + 1, n).tril()
        return torch.zeros(sees.shape, device=hidden.device).masked_fill_(~sees, torch.finfo(torch.float32).min)[:, :, None]


class Values(Ablation):
    """Disturbs the attention values that queries find in the context: the parent of kinds that say how."""

    variant_axis = 3

    def draw(self, n: int, *key: int | str) -> np.ndarray:
        """Draw numbers [layers, heads, n, C - 1, width], C - 1 being the positions before the last separator."""
        layers, heads, width = self.values
        return self.drawn(stream(*key), (layers, heads, n, len(self.examples) - 1, width))

    @abstractmethod
    def drawn(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Draw a number for each value, in float32."""

    @abstractmethod
    def changed(self, draws: Tensor, level: Tensor) -> dict[str, Tensor]:
        """Return `noise` that is added, or `keep` that the values are multiplied with: [N, layers, 1, heads, A, C - 1, width].

        draws [N, layers, 1, heads, A, C - 1, width], level [A, 1, 1]
        """

    def batch(
        self, context: np.ndarray, queries: np.ndarray, draws: np.ndarray, levels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Tensor]]:
        """Return contexts [N, 1, C - 1] and queries [N, 1, A·Q, 1 + L].

        A query begins with the last separator, which is run again on the disturbed context.
        """
        n, n_variants, n_queries, length = queries.shape
        last = np.broadcast_to(context[:, None, None, -1:], (n, n_variants, n_queries, 1))
        own = np.concatenate([last, queries], axis=3).reshape(n, 1, n_variants * n_queries, length + 1)
        level = torch.from_numpy(levels.astype(np.float32)).to(self.device)[:, None, None]
        return context[:, None, :-1], own, self.changed(torch.from_numpy(draws).to(self.device)[:, :, None], level)


class Bernoulli(Values):
    """Zeroes the values whose uniform is below the level."""

    kind = "bernoulli"

    def drawn(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Draw uniforms in [0, 1)."""
        return rng.random(shape, dtype=np.float32)

    def changed(self, draws: Tensor, level: Tensor) -> dict[str, Tensor]:
        """Return `keep`: True where the uniform is at least the level."""
        return {"keep": draws >= level}


class Gaussian(Values):
    """Adds normal noise, whose standard deviation is the level."""

    kind = "gaussian"

    def drawn(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Draw standard normals."""
        return rng.standard_normal(shape, dtype=np.float32)

    def changed(self, draws: Tensor, level: Tensor) -> dict[str, Tensor]:
        """Return `noise`: the draws, scaled to a standard deviation of `level`."""
        return {"noise": draws * level}


KINDS: dict[str, type[Ablation]] = {kind.kind: kind for kind in (Mask, Bernoulli, Gaussian)}


def make_ablation(kind: str, examples: np.ndarray, values: tuple[int, int, int], device: torch.device = CPU) -> Ablation:
    """Return the ablation that `--ablation` names, for contexts whose positions belong to `examples` [C]. See `Ablation`."""
    return KINDS[kind](examples, values, device)


def values_shape(model: LlamaConfig) -> tuple[int, int, int]:
    """Layers, heads and the width of a head: what `Ablation.values` takes."""
    return model.num_hidden_layers, model.num_attention_heads, model.hidden_size // model.num_attention_heads


def attention_dropout(p: float, keys: Sequence[Key], model: LlamaConfig, context: np.ndarray, queries: np.ndarray) -> Tensor:
    """Factors of the attention weights of a batch: 0 with probability p, else 1 / (1 - p).

    context [N, B, C] and queries [N, B, K, L], a key a member. The factors are
    [N, layers, B, heads, C + K·L, C + L], in the layout of `attention.shared_context_attention`.
    """
    n_context, (batch, n_queries, length) = context.shape[2], queries.shape[1:]
    n_layers, n_heads, _ = values_shape(model)
    shape = (n_layers, batch, n_heads, n_context + n_queries * length, n_context + length)
    kept = np.stack([stream(*key).random(shape, dtype=np.float32) >= p for key in keys])
    return torch.from_numpy(kept) / (1 - p)
