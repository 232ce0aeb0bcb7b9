"""Several models of one shape, trained together: the unit of training."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from transformers import LlamaForCausalLM

from engine.attention import Weights, answer_logits


@dataclass(frozen=True)
class Batch:
    """What N members are trained on, or asked: token ids, each member with a context and queries of its own.

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
        """The same from numpy arrays of any whole-number type."""
        tokens = (torch.from_numpy(x.astype(np.int64)).to(device) for x in (context, queries, answers))
        return cls(*tokens, {name: tensor.to(device) for name, tensor in ablations.items()})


class Ensemble:
    """N members with weights, data and Adam of their own: parameters are stacked on a leading member axis.

    Adam is elementwise and the summed loss has no term that mixes members, so each member's path is what it would be
    alone. A single member runs without vmap. weight_decay is decoupled (Loshchilov & Hutter 2019, AdamW): every update
    first shrinks all weights by that part of the learning rate.
    """

    def __init__(
        self,
        model: LlamaForCausalLM,
        weights: list[Weights],
        learning_rate: float,
        causal: bool,
        device: torch.device,
        beta2: float = 0.999,
        weight_decay: float = 0.0,
    ):
        self.model, self.causal, self.device = model.to(device), causal, device
        self.learning_rate, self._betas, self._weight_decay = learning_rate, (0.9, beta2), weight_decay
        self._trained: Collection[str] | None = None
        self._set({name: torch.stack([w[name] for w in weights]) for name in weights[0]})

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def logits(self, batch: Batch) -> Tensor:
        """Logits at the answers: [N, B, K, T, V]."""
        n_answer, alone = batch.answers.shape[-1], len(self) == 1

        def one(parameters: Weights, context: Tensor, queries: Tensor, ablations: dict[str, Tensor]) -> Tensor:
            def forward(**inputs: object) -> object:
                return functional_call(self.model, parameters, kwargs=inputs)

            return answer_logits(forward, context, queries, n_answer, self.causal, vmapped=not alone, **ablations)

        if alone:
            parameters = {name: stacked[0] for name, stacked in self.parameters.items()}
            ablations = {name: tensor[0] for name, tensor in batch.ablations.items()}
            return one(parameters, batch.context[0], batch.queries[0], ablations)[None]
        return torch.vmap(one)(self.parameters, batch.context, batch.queries, batch.ablations)

    def step(self, batch: Batch, rate: float = 1.0) -> Tensor:
        """One update of every member on the mean loss of its queries; returns the losses before it, [N, B, K].

        `rate` is the part of the learning rate that this update has.
        """
        self.model.train()
        loss = _losses(self.logits(batch), batch.answers)
        self.optimizer.zero_grad()
        loss.mean((1, 2)).sum().backward()
        for group in self.optimizer.param_groups:
            group["lr"] = rate * self.learning_rate
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def correct(self, batch: Batch) -> Tensor:
        """Whether every token of an answer is the most likely one: [N, B, K]."""
        self.model.eval()
        return (self.logits(batch).argmax(-1) == batch.answers).all(-1)

    @torch.no_grad()
    def correct_with_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The same, and the loss of each query: [N, B, K] both."""
        self.model.eval()
        logits = self.logits(batch)
        return (logits.argmax(-1) == batch.answers).all(-1), _losses(logits, batch.answers)

    def train_only(self, names: Collection[str] | None) -> None:
        """From now on train only the parameters of these names, or with None all, with a new Adam."""
        self._trained = names
        self._set(self.parameters)

    def weights(self, member: int) -> Weights:
        """A copy of a member's weights, on the CPU."""
        return {name: stacked[member].detach().cpu().clone() for name, stacked in self.parameters.items()}

    def keep(self, members: list[int]) -> None:
        """Go on with some of the members, in the order given; each keeps its weights and its Adam's state."""
        state = self.state()
        self.load_state({name: tensor if name == "step" else tensor[members] for name, tensor in state.items()})

    def state(self) -> Weights:
        """All that training has changed, as named tensors: parameters, Adam's moments, and its count of updates."""
        state = {"step": torch.zeros(())}
        for name, parameter in self.parameters.items():
            state[f"parameter/{name}"] = parameter.detach()
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if key == "step":
                    state["step"] = value  # one number: all parameters are updated together
                else:
                    state[f"{key}/{name}"] = value
        return state

    def load_state(self, state: Weights) -> None:
        """Continue exactly where `state` was taken."""
        state = {name: tensor.to(self.device) for name, tensor in state.items()}
        self._set({name: state[f"parameter/{name}"] for name in self.parameters})
        if state["step"] == 0:
            return
        for name, parameter in self.parameters.items():
            if not parameter.requires_grad:
                continue
            moments = {key: state[f"{key}/{name}"].clone() for key in ("exp_avg", "exp_avg_sq")}
            self.optimizer.state[parameter] = {"step": state["step"].clone(), **moments}

    def _set(self, parameters: Weights) -> None:
        self.parameters = {
            name: tensor.detach().to(self.device).clone().requires_grad_(self._trained is None or name in self._trained)
            for name, tensor in parameters.items()
        }
        self.optimizer = torch.optim.Adam(
            [parameter for parameter in self.parameters.values() if parameter.requires_grad],
            lr=self.learning_rate,
            betas=self._betas,
            weight_decay=self._weight_decay,
            decoupled_weight_decay=True,
            fused=True,
        )


def _losses(logits: Tensor, answers: Tensor) -> Tensor:
    """The cross-entropy of each query, [N, B, K], the mean over the tokens of its answer."""
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 3), answers.flatten(), reduction="none")
    return loss.view(answers.shape).mean(-1)


class DivergedError(Exception):
    """A loss that is not finite."""


def check_finite(loss: float, step: int, learning_rate: float, flag: str) -> None:
    if not np.isfinite(loss):
        raise DivergedError(f"the loss is {loss} at step {step}, with --{flag} {learning_rate}; try a smaller one")
