"""Attention of a context and of queries that share it: what makes an episode cost one pass; and where ablations act.

Registered with transformers under the name `ATTENTION`. The ablations come as tensors (see ablate.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from transformers import AttentionInterface

Weights = dict[str, Tensor]


class Sizes(Protocol):
    """A configuration, as the attention of a decoder asks it."""

    num_hidden_layers: int


class Layer(Protocol):
    """A layer's module, as transformers hands it to an attention."""

    layer_idx: int
    config: Sizes


class Output(Protocol):
    """Output of a decoder."""

    logits: Tensor


def shared_context_attention(
    module: Layer,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    n_context: int,
    n_queries: int,
    vmapped: bool,
    answers: Tensor,
    bias: Tensor | None = None,
    noise: Tensor | None = None,
    keep: Tensor | None = None,
    factors: Tensor | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention of a context and of K queries that see it but not each other, without the (K·L)² scores between queries.

    query, key, value: [B, H, C + K·L, D] in the layout of `answer_logits`. Returns [B, C + K·L, H, D]. Of the last
    layer only the positions `answers` [K·T] are wanted, and the others are 0 there.
    bias [B, 1, C + 1, C] is added to the scores of context positions and (last row) of queries.
    noise is added to, and keep multiplied with, the values that queries find in the context: [layers, B, H, A, C, D]
    for A variants of the context, of K / A queries each. factors multiply the attention weights (dropout):
    [layers, B, H, C + K·L, C + L].
    """
    total = query.shape[2]
    query = query * scaling
    if n_queries == 1 and bias is None and noise is None and keep is None and factors is None:  # one flat sequence
        return fused(query, key, value, None, vmapped).transpose(1, 2), None

    def split(x: Tensor) -> tuple[Tensor, Tensor]:
        return x.split([n_context, total - n_context], dim=2)  # its gradient is one concatenation

    (q_context, q_own), (k_context, k_own), (v_context, v_own) = split(query), split(key), split(value)
    noise, keep, factors = (x if x is None else x[module.layer_idx] for x in (noise, keep, factors))
    factors_context, factors_own = (None, None) if factors is None else split(factors)
    bias = None if bias is None else bias.to(query.dtype)
    to_context, among_context = (None, None) if bias is None else (bias[:, :, -1:], bias[:, :, :-1])

    future = _future((total - n_context) // n_queries, query)
    is_last = module.layer_idx == module.config.num_hidden_layers - 1
    if is_last:
        rows = answers - n_context  # [K·T]
        q_own, future = q_own[:, :, rows], future[rows[: len(rows) // n_queries]]
        factors_own = factors_own if factors_own is None else factors_own[:, :, rows]
    in_context, own = _query_weights(q_own, k_context, k_own, n_queries, future, to_context, factors_own)
    per_query = (*v_own.shape[:2], n_queries, -1, v_own.shape[3])
    out_own = (own.unflatten(2, (n_queries, -1)) @ v_own.reshape(per_query)).flatten(2, 3)
    out_own = out_own + _found(in_context, v_context, noise, keep)
    if is_last:
        return torch.zeros_like(query).index_copy(2, answers, out_own).transpose(1, 2), None
    if factors_context is None:
        out_context = fused(q_context, k_context, v_context, among_context, vmapped)
    else:
        out_context = _dropped(q_context, k_context, v_context, among_context, factors_context[..., :n_context])
    return torch.cat([out_context, out_own], dim=2).transpose(1, 2), None


def _query_weights(
    query: Tensor,
    k_context: Tensor,
    k_own: Tensor,
    n_queries: int,
    future: Tensor,
    bias: Tensor | None,
    factors: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Attention weights of scaled queries, [B, H, K·R, D] at R positions of each: to the context [B, H, K·R, C], and to their own
    positions [B, H, K·R, L]. future [R, L] is added to the scores there, bias [B, 1, 1, C] to those of the context."""
    per_query = (*query.shape[:2], n_queries, -1, query.shape[3])
    own = query.reshape(per_query) @ k_own.reshape(per_query).transpose(3, 4) + future  # [B, H, K, R, L]
    to_context = query @ k_context.transpose(2, 3)  # [B, H, K·R, C]
    if bias is not None:
        to_context = to_context + bias
    weights = torch.cat([to_context, own.flatten(2, 3)], dim=3).softmax(-1)
    if factors is not None:
        weights = weights * factors
    in_context, own = weights.split([k_context.shape[2], future.shape[1]], dim=3)
    return in_context, own


def _found(weights: Tensor, values: Tensor, noise: Tensor | None, keep: Tensor | None) -> Tensor:
    """Return the values that queries find in the context, [B, H, K·R, D].

    weights [B, H, K·R, C] are of values [B, H, C, D], or of those of A variants if there is noise or keep [B, H, A, C, D].
    """
    if noise is None and keep is None:
        return weights @ values
    values = values[:, :, None]
    values = values * keep if keep is not None else values
    values = values + noise if noise is not None else values
    return (weights.unflatten(2, (values.shape[2], -1)) @ values).flatten(2, 3)


def _dropped(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, factors: Tensor) -> Tensor:
    """Return attention as `fused` does, its weights multiplied by factors [B, H, S, S]."""
    scores = query @ key.transpose(2, 3) + (_future(query.shape[2], query) if bias is None else bias)
    return (scores.softmax(-1) * factors) @ value


def _future(n: int, like: Tensor) -> Tensor:
    """Return [n, n]: the lowest number where the column is later than the row, else 0; of the type and device of `like`."""
    return torch.full((n, n), torch.finfo(like.dtype).min, dtype=like.dtype, device=like.device).triu(1)


def fused(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, vmapped: bool) -> Tensor:
    """Attention of scaled queries, [B, H, S, D] each, by torch's fused kernel, which never holds the S² scores: causal,
    or with a bias [B, 1, S, S] instead."""
    return _FusedUnderVmap.apply(query, key, value, bias) if vmapped else _fused(query, key, value, bias)


def _fused(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, is_causal=bias is None, scale=1.0)


class _FusedUnderVmap(torch.autograd.Function):
    """Fused attention of members under vmap, for which the kernel has no rule: they become part of the batch.

    Only the rule is ever run, and autograd records its operations.
    """

    @staticmethod
    def forward(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        return _fused(query, key, value, bias)

    @staticmethod
    def setup_context(ctx: object, inputs: tuple, output: Tensor) -> None:
        pass

    @staticmethod
    def vmap(
        info: object, in_dims: tuple[int | None, ...], query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, int]:
        query, key, value = (_members_first(x, dim) for x, dim in zip((query, key, value), in_dims[:3], strict=True))
        bias = None if bias is None else _members_first(bias, in_dims[3]).flatten(0, 1)
        attended = _fused(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), bias)
        return attended.unflatten(0, (len(query), -1)), 0


def _members_first(x: Tensor, dim: int | None) -> Tensor:
    """Return [N, B, …] of N members that lie along a dimension. Raises ValueError if they lie along none."""
    if dim is None:
        raise ValueError("members have no operand in common")
    return x.movedim(dim, 0)


ATTENTION = "shared_context"
AttentionInterface.register(ATTENTION, shared_context_attention)


def answer_logits(
    forward: Callable[..., Output],
    context: Tensor,
    queries: Tensor,
    n_answer: int,
    causal: bool,
    vmapped: bool = False,
    **ablations: Tensor,
) -> Tensor:
    """Logits [B, K, T, V] at the answers of K queries that share a context.

    context [B, C] and queries [B, K, L] are token ids; the answer is the last T = `n_answer` tokens of a query. In
    masked mode its tokens are predicted where they stand, in causal mode one position earlier. `forward` is a
    LlamaForCausalLM, or a function that calls one; under vmap pass `vmapped=True`. `ablations` are those of
    `shared_context_attention`.
    Each query attends causally to the context and to itself, at positions from C on: the same function as K flat
    sequences, each of the context and one query.
    """
    n_context, (batch, n_queries, length) = context.shape[-1], queries.shape
    sequence = torch.cat([context, queries.reshape(batch, n_queries * length)], dim=1)  # [B, C + K·L]
    positions, answers = layout(n_context, n_queries, length, n_answer, causal, context.device)
    output = forward(
        input_ids=sequence,
        position_ids=positions,
        # The model would build a causal mask of its own; a 4-D one is handed on as it is, and our attention needs none.
        attention_mask=torch.zeros((1, 1, 1, 1), device=context.device),
        logits_to_keep=answers,
        answers=answers,
        n_context=n_context,
        n_queries=n_queries,
        vmapped=vmapped,
        **ablations,
    )
    return output.logits.reshape(batch, n_queries, n_answer, -1)


def layout(n_context: int, n_queries: int, length: int, n_answer: int, causal: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """Positions [1, C + K·L] of the tokens, and where in the sequence answers are predicted [K·T]."""
    own = torch.arange(n_context, n_context + length, device=device)
    positions = torch.cat([torch.arange(n_context, device=device), own.repeat(n_queries)])[None]
    starts = n_context + length * torch.arange(n_queries, device=device)
    offsets = torch.arange(length - n_answer, length, device=device) - int(causal)
    return positions, (starts[:, None] + offsets).flatten()
