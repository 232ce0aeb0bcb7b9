"""Attention of a context and of queries that share it, feature-major, with its backward pass (see operations.py).

The scores are held, not fused away: a head of width 8 makes torch's fused kernels slow. Here ablations act; they come as
tensors (see ablate.py).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from engine.operations import softmax_back

ROWS = 64  # of the context's scores are made at once, at most: earlier rows need fewer columns
OWN = 64  # positions of queries that are asked together, at most; each sees its own alone, so more of them would be wasted


class _Noise:
    """Noise [M, A, C, D] that queries find in A variants of the context, of K / A queries each.

    It is read apart from the context's values, which all variants share, so that no variant needs a copy of keys and values.
    Weights of queries with R rows, in n bundles, are [M·n, K·R / n, S].
    """

    def __init__(self, noise: Tensor):
        self.noise = noise.flatten(0, 1)

    def read(self, weights: Tensor) -> Tensor:
        """Return what these weights find, [M·n, D, K·R / n]; their first C columns are those of the context."""
        return torch.bmm(self._of_variants(weights), self.noise).view(*weights.shape[:2], -1).mT

    def add_to_weights(self, of_weights: Tensor, gradient: Tensor) -> None:
        """Add to the gradient of the weights what comes from that of what was read, [M·n, D, K·R / n]."""
        rows = gradient.mT.reshape(len(self.noise), -1, gradient.shape[1])
        self._of_variants(of_weights).add_(torch.bmm(rows, self.noise.mT))

    def _of_variants(self, weights: Tensor) -> Tensor:
        """View [M·n, K·R / n, S] as [M·A, K·R / A, C]."""
        return weights.view(len(self.noise), -1, weights.shape[2])[:, :, : self.noise.shape[1]]


class Attended:
    """Attention softmax(queryᵀ key + bias) · factors, applied to value: query [M, D, R], key and value [M, D, S] → [M, D, R].

    bias is [R, S'], for the last S' columns, or [B, 1, R, S] for B sequences of M / B heads; factors are None or [M, R, S].
    noise, if given, is found beside the values.
    """

    def __init__(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, factors: Tensor | None, noise: _Noise | None = None
    ):
        self.query, self.key, self.value, self.factors, self.noise = query, key, value, factors, noise
        scores = torch.bmm(query.mT, key)
        if bias.dim() == 2:
            scores[:, :, -bias.shape[1] :].add_(bias)
        else:
            scores.unflatten(0, (len(bias), -1)).add_(bias)
        self.weights = scores.softmax(-1)
        self.used = self.weights if factors is None else self.weights * factors
        self.read = torch.bmm(value, self.used.mT)
        if noise is not None:
            self.read.add_(noise.read(self.used))

    def backward(self, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of query, key and value."""
        of_used = torch.bmm(gradient.mT, self.value)
        if self.noise is not None:
            self.noise.add_to_weights(of_used, gradient)
        of_used = of_used if self.factors is None else of_used.mul_(self.factors)
        of_scores = softmax_back(of_used, self.weights)
        return torch.bmm(self.key, of_scores.mT), torch.bmm(self.query, of_scores), torch.bmm(gradient, self.used)


class AmongContext:
    """Causal attention of the context: query, key and value [M, D, C].

    later [C, C] hides later positions; bias [B, 1, C, C], if given, does so and more. factors [M, C, C] or None.
    """

    def __init__(self, query: Tensor, key: Tensor, value: Tensor, later: Tensor, bias: Tensor | None, factors: Tensor | None):
        n = query.shape[2]
        n_parts = -(-n // ROWS)
        edges = [n * i // n_parts for i in range(n_parts + 1)]
        self.parts = []
        for start, end in pairwise(edges):
            hides = later[start:end, start:end] if bias is None else bias[..., start:end, :end]
            factor = None if factors is None else factors[:, start:end, :end]
            self.parts.append(Attended(query[:, :, start:end], key[:, :, :end], value[:, :, :end], hides, factor))
        self.read = self.parts[0].read if n_parts == 1 else torch.cat([part.read for part in self.parts], dim=2)

    def backward(self, gradient: Tensor, of_key: Tensor, of_value: Tensor) -> Tensor:
        """Gradient of query; those of key and value are added to what is passed."""
        of_query, start = [], 0
        for part in self.parts:
            end = part.key.shape[2]
            of_part, k, v = part.backward(gradient[:, :, start:end])
            of_key[:, :, :end].add_(k)
            of_value[:, :, :end].add_(v)
            of_query.append(of_part)
            start = end
        return of_query[0] if len(of_query) == 1 else torch.cat(of_query, dim=2)


class OfQueries:
    """Attention of K queries, each to the context and to itself: query [M, D, K·R] at R positions of each; key and value
    [M, D, C + K·L].

    Bundles of queries are asked together, of their positions each sees its own. future [R, L] is added to the scores
    there, bias [B, 1, 1, C] to those of the context. factors [M, K·R, C + L] multiply the weights. keep multiplies the
    values found in the context, and noise is added: [M, A, C, D] for A variants of the context,
    of K / A queries each.
    """

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        n_context: int,
        future: Tensor,
        bias: Tensor | None = None,
        factors: Tensor | None = None,
        keep: Tensor | None = None,
        noise: Tensor | None = None,
    ):
        n_rows, length = future.shape
        n_queries = query.shape[2] // n_rows
        self.n_context, self.keep = n_context, None if keep is None else keep.mT
        self.n_variants = 1 if keep is None else keep.shape[1]
        size = 1 if factors is not None else _bundle(n_queries // self.n_variants, length)
        self.n_bundles = n = n_queries // size
        hides = _hides(future, size)
        if bias is not None:
            to_context = bias.expand(-1, -1, len(hides), -1)
            hides = torch.cat([to_context, hides.expand(len(bias), 1, -1, -1)], dim=3)
            hides = hides if n == 1 else hides.repeat_interleave(n, 0)
        if n > 1 or keep is not None:
            key = self._of_bundles(key[:, None, :, :n_context], key)
            found = value[:, None, :, :n_context]
            value = self._of_bundles(found if self.keep is None else found * self.keep, value)
        factors = None if factors is None else factors.unflatten(1, (n, -1)).flatten(0, 1)
        beside = None if noise is None else _Noise(noise.to(value.dtype))
        self.attended = Attended(_apart(query, n), key, value, hides, factors, beside)
        self.read = _together(self.attended.read, n)

    def _of_bundles(self, of_context: Tensor, x: Tensor) -> Tensor:
        """Join what each bundle sees: of_context [M, 1 or A, D, C], and its own of x [M, D, C + K·L] → [M·n, D, C + own]."""
        n = self.n_bundles
        of_context = of_context.repeat_interleave(n // of_context.shape[1], 1)
        own = x[:, :, self.n_context :].unflatten(2, (n, -1)).transpose(1, 2)
        return torch.cat([of_context, own], dim=3).flatten(0, 1)

    def backward(self, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of query, key and value."""
        q, k, v = self.attended.backward(_apart(gradient, self.n_bundles))
        return _together(q, self.n_bundles), self._summed(k, None), self._summed(v, self.keep)

    def _summed(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """Sum over bundles: [M·n, D, C + own] → [M, D, C + K·L]."""
        if self.n_bundles == 1 and keep is None:
            return x
        x = x.unflatten(0, (-1, self.n_bundles))
        of_context = x[..., : self.n_context]
        if keep is not None:
            of_context = of_context.unflatten(1, (self.n_variants, -1)).sum(2) * keep
        return torch.cat([of_context.sum(1), x[..., self.n_context :].transpose(1, 2).flatten(2)], dim=2)


def _bundle(n_queries: int, length: int) -> int:
    """Return how many queries are asked together: a divisor of their number."""
    return next(size for size in range(max(1, min(n_queries, OWN // length)), 0, -1) if n_queries % size == 0)


def _hides(future: Tensor, size: int) -> Tensor:
    """Return [size·R, size·L]: future [R, L] where a query meets its own positions, the lowest number where it meets others'."""
    n_rows, length = future.shape
    own = future.new_full((size, n_rows, size, length), torch.finfo(future.dtype).min)
    own.diagonal(dim1=0, dim2=2).copy_(future[..., None].expand(-1, -1, size))
    return own.view(size * n_rows, size * length)


def _apart(x: Tensor, n: int) -> Tensor:
    """Split into n bundles: [M, D, n·R] → [M·n, D, R]."""
    return x if n == 1 else x.unflatten(2, (n, -1)).transpose(1, 2).flatten(0, 1)


def _together(x: Tensor, n: int) -> Tensor:
    """Join n bundles: [M·n, D, R] → [M, D, n·R]."""
    return x if n == 1 else x.unflatten(0, (-1, n)).transpose(1, 2).flatten(2)
