"""Operations of a stacked Llama, each with its backward pass, which takes what the forward pass saved.

Activations are feature-major, [N, features, positions]. So projections give the heads' queries, keys and values without a copy
in the layout of the next product. Elementwise operations run along the positions, as a head may be only 8 wide. All of it is
plain torch, on any device and of any floating type.
"""

from __future__ import annotations

import torch
from torch import Tensor


def norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, tuple[Tensor, ...]]:
    """RMSNorm over the features: x [N, d, P] / √(mean x² + eps) · weight [N, d]."""
    shrink = x.square().mean(1, keepdim=True).add_(eps).rsqrt_()  # [N, 1, P]
    unit = x * shrink
    return unit * weight[..., None], (unit, shrink, weight)


def norm_back(gradient: Tensor, saved: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Gradients of x and of the weight."""
    unit, shrink, weight = saved
    product = gradient * unit
    along = torch.bmm(weight[:, None], product).div_(-unit.shape[1])  # [N, 1, P]: minus the mean over the features
    return (gradient * weight[..., None]).addcmul_(unit, along).mul_(shrink), product.sum(2)


def project_back(gradients: list[Tensor], weights: list[Tensor], x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Gradients of x and of the weights, for one or several W @ x: weights [N, out, in], one x [N, in, P]."""
    of_x = torch.bmm(weights[0].mT, gradients[0])
    for weight, gradient in zip(weights[1:], gradients[1:], strict=True):
        of_x.baddbmm_(weight.mT, gradient)
    return of_x, [torch.bmm(gradient, x.mT) for gradient in gradients]


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: x [M, D, P] whose features i and i + D / 2 are turned together. cos [D, P] holds the angles' cosines
    twice, sin [D / 2, P] their sines. The backward pass is `rotated` with -sin."""
    half = len(sin)
    turned = x * cos
    turned[:, :half].addcmul_(x[:, half:], sin, value=-1)
    turned[:, half:].addcmul_(x[:, :half], sin)
    return turned


def gated(gate: Tensor, up: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return silu(gate) · up, and what its backward pass needs."""
    opened = torch.nn.functional.silu(gate)
    return opened * up, (gate, up, opened)


def gated_back(gradient: Tensor, saved: tuple[Tensor, ...]) -> list[Tensor]:
    """Gradients of gate and up."""
    gate, up, opened = saved
    return [torch.ops.aten.silu_backward(gradient * up, gate), gradient * opened]


def softmax_back(gradient: Tensor, weights: Tensor) -> Tensor:
    """Gradient of the scores whose softmax over the last dimension is `weights`."""
    return torch._softmax_backward_data(gradient, weights, -1, weights.dtype)


def embedded(table: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings [N, d, P] of tokens [N, P] by tables [N, V, d]; and the tokens' rows in all tables together."""
    rows = tokens + torch.arange(len(table), device=table.device)[:, None] * table.shape[1]
    return torch.embedding(table.flatten(0, 1), rows).mT.contiguous(), rows


def embedded_back(gradient: Tensor, rows: Tensor, table: Tensor, pad: int | None) -> Tensor:
    """Gradient of the tables; 0 for `<pad>`, which is never trained."""
    n_rows = table.shape[0] * table.shape[1]
    of_table = torch.ops.aten.embedding_dense_backward(gradient.mT.contiguous(), rows, n_rows, -1, False).view_as(table)
    if pad is not None:
        of_table[:, pad] = 0
    return of_table
