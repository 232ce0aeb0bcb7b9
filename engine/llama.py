"""The Llama of N members at once: transformers' function of the same weights, in fewer and larger operations.

Its backward pass is written out as well: of steps this small, autograd's record of them is a large part. What transformers'
own class computes is the oracle of the tests (`attention.answer_logits`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from engine.attention import Weights, layout
from engine.operations import embedded, embedded_back, gated, gated_back, norm, norm_back, project_back, rotated
from engine.shared_context import AmongContext, OfQueries


@dataclass(frozen=True)
class Layout:
    """Positions of C context tokens and K queries, and the tables that depend on them alone.

    answers [K·T] where answers are predicted; rows [T] the same within a query
    cos [D, C + K·L], sin [D / 2, C + K·L] of the rotary angles, as `operations.rotated` takes them
    later [C, C], future [L, L]: the lowest number where the column is later than the row, else 0
    """

    n_context: int
    answers: Tensor
    rows: Tensor
    cos: Tensor
    sin: Tensor
    later: Tensor
    future: Tensor

    @classmethod
    def of(cls, model: LlamaForCausalLM, context: Tensor, queries: Tensor, n_answer: int, causal: bool, like: Tensor) -> Layout:
        """The layout of context [N, B, C] and queries [N, B, K, L], with tables of the type and device of `like`."""
        n_context, (n_queries, length) = context.shape[2], queries.shape[2:]
        positions, answers = layout(n_context, n_queries, length, n_answer, causal, like.device)
        rotary = model.model.rotary_emb
        angles = rotary.inv_freq.to(like.device, torch.float32)[:, None] * positions  # [D / 2, C + K·L]
        cos, sin = ((x * rotary.attention_scaling).to(like.dtype) for x in (torch.cat([angles, angles]).cos(), angles.sin()))
        later = torch.full((n_context, n_context), torch.finfo(like.dtype).min, dtype=like.dtype, device=like.device).triu(1)
        future = later.new_full((length, length), torch.finfo(like.dtype).min).triu(1)
        return cls(n_context, answers, answers[:n_answer] - n_context, cos, sin, later, future)


class Saved(Protocol):
    """Tensors that autograd hands on from the forward pass to the backward pass."""

    saved: tuple[LlamaConfig, list[str], Tensor, Weights, list[_Layer], Tensor, tuple[Tensor, ...]]


class StackedLlama(torch.autograd.Function):
    """Logits at the answers, of all members: see `stacked_logits`."""

    @staticmethod
    def forward(
        ctx: Saved, config: LlamaConfig, at: Layout, tokens: Tensor, ablations: Weights, names: list[str], *tensors: Tensor
    ) -> Tensor:
        """Return logits [N, B, K·T, V] for tokens [N, B, C + K·L]; `tensors` are the parameters called `names`."""
        parameters = dict(zip(names, tensors, strict=True))
        n_batch, n_layers, eps = tokens.shape[1], config.num_hidden_layers, config.rms_norm_eps
        x, rows = embedded(parameters["model.embed_tokens.weight"], tokens.flatten(1))
        layers = []
        for index in range(n_layers):
            weights = {name: parameters[f"model.layers.{index}.{name}.weight"] for name in _OF_LAYER}
            of_layer = {name: ablation[:, index].flatten(0, 1) for name, ablation in ablations.items() if name != "bias"}
            if "bias" in ablations:
                of_layer["bias"] = ablations["bias"].flatten(0, 1).to(x.dtype)  # [N·B, 1, C + 1, C]
            layer = _Layer(config, at, n_batch, index == n_layers - 1, weights, of_layer)
            x = layer.forward(x)
            layers.append(layer)
        x, of_norm = norm(x, parameters["model.norm.weight"], eps)
        head = parameters["lm_head.weight"]
        ctx.saved = config, names, rows, parameters, layers, x, of_norm
        return torch.bmm(head, x).mT.unflatten(1, (n_batch, -1))

    @staticmethod
    def backward(ctx: Saved, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients of the parameters from that of the logits; None for the other inputs."""
        config, names, rows, parameters, layers, x, of_norm = ctx.saved
        gradients = {}
        g, (gradients["lm_head.weight"],) = project_back([gradient.flatten(1, 2).mT], [parameters["lm_head.weight"]], x)
        g, gradients["model.norm.weight"] = norm_back(g, of_norm)
        for index in range(len(layers) - 1, -1, -1):
            g, of_layer = layers.pop().backward(g)
            gradients.update({f"model.layers.{index}.{name}.weight": of for name, of in of_layer.items()})
        table = "model.embed_tokens.weight"
        gradients[table] = embedded_back(g, rows, parameters[table], config.pad_token_id)
        return None, None, None, None, None, *(gradients[name] for name in names)


def stacked_logits(
    model: LlamaForCausalLM, parameters: Weights, at: Layout, context: Tensor, queries: Tensor, ablations: Weights
) -> Tensor:
    """Logits [N, B, K·T, V] at the answers of N members.

    context [N, B, C], queries [N, B, K, L]; `parameters` are those of `model` with a leading member axis, and what the
    model holds itself does not matter; `ablations` are those of `attention.shared_context_attention`, likewise.
    """
    tokens = torch.cat([context, queries.flatten(2)], dim=2)  # [N, B, C + K·L]
    return StackedLlama.apply(model.config, at, tokens, ablations, list(parameters), *parameters.values())


_OF_LAYER = (
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "post_attention_layernorm",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


class _Layer:
    """A layer on activations [N, d, P], P = B·(C + K·L) positions; the last one gives [N, d, B·K·T]: the answers alone."""

    def __init__(self, config: LlamaConfig, at: Layout, n_batch: int, is_last: bool, weights: Weights, ablations: Weights):
        self.at, self.n_batch, self.is_last, self.weights, self.ablations = at, n_batch, is_last, weights, ablations
        self.n_heads, self.eps = config.num_attention_heads, config.rms_norm_eps
        self.scaling = (config.hidden_size // self.n_heads) ** -0.5
        self.queries_at = (at.cos[:, at.answers], at.sin[:, at.answers]) if is_last else (at.cos, at.sin)

    def forward(self, x: Tensor) -> Tensor:
        w = self.weights
        self.h, self.of_norm = norm(x, w["input_layernorm"], self.eps)
        self.h_asking = self._answers(self.h) if self.is_last else self.h
        self.read = self._attention()
        x = torch.bmm(w["self_attn.o_proj"], self.read).add_(self._answers(x) if self.is_last else x)
        self.h_mlp, self.of_norm_mlp = norm(x, w["post_attention_layernorm"], self.eps)
        gate, up = torch.bmm(w["mlp.gate_proj"], self.h_mlp), torch.bmm(w["mlp.up_proj"], self.h_mlp)
        self.hidden, self.of_gate = gated(gate, up)
        return torch.bmm(w["mlp.down_proj"], self.hidden).add_(x)

    def backward(self, gradient: Tensor) -> tuple[Tensor, Weights]:
        """Gradients of x, and of the weights by name."""
        w, of = self.weights, {}
        g, (of["mlp.down_proj"],) = project_back([gradient], [w["mlp.down_proj"]], self.hidden)
        names = ("mlp.gate_proj", "mlp.up_proj")
        g, of_weights = project_back(gated_back(g, self.of_gate), [w[name] for name in names], self.h_mlp)
        of.update(zip(names, of_weights, strict=True))
        g, of["post_attention_layernorm"] = norm_back(g, self.of_norm_mlp)
        gradient = g.add_(gradient)
        g, (of["self_attn.o_proj"],) = project_back([gradient], [w["self_attn.o_proj"]], self.read)
        of_query, *of_rest = self._attention_back(g)
        names = ("self_attn.k_proj", "self_attn.v_proj")
        g, of_weights = project_back(of_rest, [w[name] for name in names], self.h)
        of.update(zip(names, of_weights, strict=True))
        of_asking, (of["self_attn.q_proj"],) = project_back([of_query], [w["self_attn.q_proj"]], self.h_asking)
        g = self._add_at_answers(g, of_asking) if self.is_last else g.add_(of_asking)
        g, of["input_layernorm"] = norm_back(g, self.of_norm)
        return (self._add_at_answers(g, gradient) if self.is_last else g.add_(gradient)), of

    def _attention(self) -> Tensor:
        """Return what the heads read, before the output projection: [N, d, P], of the last layer at the answers alone."""
        at, w, n = self.at, self.weights, self.at.n_context
        q, k, v = (
            self._heads(torch.bmm(w[f"self_attn.{name}_proj"], h))
            for name, h in (("q", self.h_asking), ("k", self.h), ("v", self.h))
        )
        q, k = rotated(q, *self.queries_at).mul_(self.scaling), rotated(k, at.cos, at.sin)
        factors, keep, noise = (
            self.ablations[name].flatten(0, 1) if name in self.ablations else None for name in ("factors", "keep", "noise")
        )
        bias = self.ablations.get("bias")
        to_context, among = (None, None) if bias is None else (bias[:, :, -1:], bias[:, :, :-1])
        if self.is_last:
            factors = None if factors is None else factors[:, at.answers]
            self.of_queries = OfQueries(q, k, v, n, at.future[at.rows], to_context, factors, keep, noise)
            return self._from_heads(self.of_queries.read)
        own, within = (None, None) if factors is None else (factors[:, n:], factors[:, :n, :n])
        self.of_queries = OfQueries(q[:, :, n:], k, v, n, at.future, to_context, own, keep, noise)
        self.of_context = AmongContext(q[:, :, :n], k[:, :, :n], v[:, :, :n], at.later, among, within)
        return self._from_heads(torch.cat([self.of_context.read, self.of_queries.read], dim=2))

    def _attention_back(self, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of queries, keys and values as projected."""
        at, n = self.at, self.at.n_context
        gradient = self._heads(gradient)
        q, k, v = self.of_queries.backward(gradient if self.is_last else gradient[:, :, n:])
        if not self.is_last:
            of_context = self.of_context.backward(gradient[:, :, :n], k, v)
            q = torch.cat([of_context, q], dim=2)
        cos, sin = self.queries_at
        q, k = rotated(q, cos, -sin).mul_(self.scaling), rotated(k, at.cos, -at.sin)
        return self._from_heads(q), self._from_heads(k), self._from_heads(v)

    def _heads(self, x: Tensor) -> Tensor:
        """Reshape [N, d, B·S] → [M, D, S], M = N·B·H."""
        x = x.unflatten(2, (self.n_batch, -1)).unflatten(1, (self.n_heads, -1))
        return x.permute(0, 3, 1, 2, 4).flatten(0, 2)

    def _from_heads(self, x: Tensor) -> Tensor:
        """Reshape [M, D, S] → [N, d, B·S]."""
        x = x.unflatten(0, (-1, self.n_batch, self.n_heads))
        return x.permute(0, 2, 3, 1, 4).flatten(1, 2).flatten(2)

    def _answers(self, x: Tensor) -> Tensor:
        """Select the answers: [N, d, B·(C + K·L)] → [N, d, B·K·T]."""
        return x.unflatten(2, (self.n_batch, -1))[..., self.at.answers].flatten(2)

    def _add_at_answers(self, x: Tensor, of_answers: Tensor) -> Tensor:
        x.unflatten(2, (self.n_batch, -1)).index_add_(3, self.at.answers, of_answers.unflatten(2, (self.n_batch, -1)))
        return x
