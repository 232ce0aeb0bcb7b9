"""Initial weights of Llamas that are more than independent draws: they change, in place, what was drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import LlamaConfig

    from engine.attention import Weights

SHARED = 0.5  # the scale of the component that all embeddings share, as a part of theirs
SHARP = 4.0  # how far a score at the place that a head looks back to stands above the mean, per plane of rotation
CONTENT = 0.3  # what a head that looks back keeps of its drawn queries and keys
MATCHING = 2.0  # the scale of queries and keys above the first layer, as a multiple of theirs


def match(weights: Weights, model: LlamaConfig) -> None:
    """Make keys as queries are, each head's output the transpose of its values, and read a token out as it is embedded.

    So at first a position attends to those that hold what it holds, and passes on what it finds there. After Trockman & Kolter
    (2023), "Mimetic initialization of self-attention layers".
    """
    for layer in range(model.num_hidden_layers):
        _match(weights, layer)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()


def look_back(
    weights: Weights, model: LlamaConfig, scale: float, component: np.ndarray, places: Sequence[int], share: bool
) -> None:
    """Make the first layer's heads look back by as many tokens as `places` has, in turn, and match in the layers above.

    These are the two steps of an induction head (Olsson et al. 2022, "In-context learning and induction heads"): a token takes up
    what stands before it, and is then found by that. All embeddings get a `component` [d] in common: N(0, 1), times SHARED · scale.
    In the first layer a key is the component, and a query is the component rotated by as many places as its head looks back. So by
    the rotary positions their score is highest there. Only the two fastest planes of rotation tell near places apart; the others
    keep a part (CONTENT) of what was drawn. With `share`, heads that look back by different places pass on alike what they
    find. So a token is found by what stands before it, at whatever distance.
    """
    width = model.hidden_size // model.num_attention_heads
    half, theta = width // 2, model.rope_parameters["rope_theta"]
    shared = torch.from_numpy(component.astype(np.float32))
    weights["model.embed_tokens.weight"] += SHARED * scale * shared
    direction = shared / shared.norm()
    along = math.sqrt(model.hidden_size) * SHARED / math.sqrt(1 + SHARED**2)  # of a normed embedding, its part along the component
    size = math.sqrt(SHARP * math.sqrt(width)) / along
    query, key = _projections(weights, 0, "qk")
    for head in range(model.num_attention_heads):
        for plane in range(half):
            rows = (head * width + plane, head * width + plane + half)  # the two that a plane rotates
            if plane < 2:
                angle = theta ** (-2 * plane / width) * places[head % len(places)]
                key[rows[0]], key[rows[1]] = size * direction, 0
                query[rows[0]], query[rows[1]] = size * math.cos(angle) * direction, -size * math.sin(angle) * direction
            else:
                for row in rows:
                    query[row] *= CONTENT
                    key[row] *= CONTENT
    if share:
        value, output = _projections(weights, 0, "vo")
        first = torch.arange(model.num_attention_heads) // len(places) * len(places)
        rows = (first[:, None] * width + torch.arange(width)).flatten()  # of the first head of each round of places
        value.copy_(value[rows])
        output.copy_(output[:, rows])
    for layer in range(1, model.num_hidden_layers):
        _projections(weights, layer, "q")[0].mul_(MATCHING)
        _match(weights, layer)


def _match(weights: Weights, layer: int) -> None:
    query, key, value, output = _projections(weights, layer, "qkvo")
    key.copy_(query)
    output.copy_(value.T)


def _projections(weights: Weights, layer: int, which: str) -> list[Tensor]:
    return [weights[f"model.layers.{layer}.self_attn.{part}_proj.weight"] for part in which]
