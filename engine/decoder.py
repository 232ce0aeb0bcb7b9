"""Any decoder of transformers for N members at once: its own class under vmap, slower than engine/llama.py.

A decoder must call its attention by transformers' `AttentionInterface`, and hand on to it what its forward pass is called with. It
must take `position_ids` and `logits_to_keep`, and have as many key-value heads as heads.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call
from transformers import PreTrainedModel

from engine.attention import Output, Weights, answer_logits

TOLERANCE = 1e-3  # of logits that are equal to float error, as a part of the largest


def member_logits(
    model: PreTrainedModel, parameters: Weights, context: Tensor, queries: Tensor, n_answer: int, causal: bool, ablations: Weights
) -> Tensor:
    """Logits [N, B, K, T, V] at the answers of N members.

    context [N, B, C], queries [N, B, K, L]; `parameters` are those of `model` with a leading member axis, and what the
    model holds itself does not matter; `ablations` are those of `attention.shared_context_attention`, likewise.
    """
    alone = len(context) == 1

    def one(parameters: Weights, context: Tensor, queries: Tensor, ablations: Weights) -> Tensor:
        def forward(**inputs: object) -> Output:
            return functional_call(model, parameters, kwargs=inputs)

        return answer_logits(forward, context, queries, n_answer, causal, vmapped=not alone, **ablations)

    if not alone:
        return torch.vmap(one)(parameters, context, queries, ablations)
    first = ({name: tensor[0] for name, tensor in tensors.items()} for tensors in (parameters, ablations))
    return one(next(first), context[0], queries[0], next(first))[None]


def check_shares_context(model: PreTrainedModel) -> None:
    """Raise ValueError if two queries that share a context are not answered as each would be alone.

    A decoder that does not use our attention would let a query see those before it, and say nothing.
    """
    ids = torch.arange(10).remainder(model.config.vocab_size)
    context, queries = ids[None, :4], ids[None, 4:].reshape(1, 2, 3)
    with torch.no_grad():
        together = answer_logits(model, context, queries, 1, causal=False)[0]
        alone = torch.stack([answer_logits(model, context, queries[:, k : k + 1], 1, causal=False)[0, 0] for k in range(2)])
    if not (together - alone).abs().max() <= TOLERANCE * alone.abs().max():
        raise ValueError(f"{type(model).__name__} does not call engine/attention.py: its queries see each other")
