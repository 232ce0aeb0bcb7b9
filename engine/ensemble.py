"""Several models of one shape, trained together: the unit of training."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedModel

from engine.attention import Weights
from engine.batch import Batch, Part, each, parts_of
from engine.decoder import member_logits
from engine.llama import Layout, stacked_logits


class Ensemble:
    """N members with weights, data and Adam of their own: parameters are stacked on a leading member axis.

    Adam is elementwise and the summed loss has no term that mixes members, so each member's path is what it would be
    alone. weight_decay is decoupled (Loshchilov & Hutter 2019, AdamW): every update
    first shrinks all weights by that part of the learning rate.
    """

    def __init__(
        self,
        model: PreTrainedModel,
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
        return self._forward(batch)(self.parameters, batch)

    def step(self, batch: Batch, rate: float = 1.0) -> Tensor:
        """One update of every member on the mean loss of its queries; returns the losses before it, [N, B, K].

        `rate` is the learning-rate factor of this update.
        """
        losses = torch.empty(batch.queries.shape[:3], dtype=self._dtype, device=self.device)
        logits_of, n_losses = self._forward(batch), losses[0].numel()

        def learn(part: Part) -> tuple[Tensor, tuple[Tensor, ...]]:
            own = {
                name: stacked.detach()[part.members].requires_grad_(stacked.requires_grad)
                for name, stacked in self.parameters.items()
            }
            piece = part.of(batch)
            loss = _losses(logits_of(own, piece), piece.answers)
            return loss.detach(), torch.autograd.grad(loss.sum() / n_losses, [x for x in own.values() if x.requires_grad])

        for part, (loss, gradients) in each(learn, parts_of(batch), self._side_by_side):
            losses[part.members, part.contexts] = loss
            for parameter, gradient in zip(self._of_adam(), gradients, strict=True):
                if parameter.grad is None:
                    parameter.grad = torch.empty_like(parameter)
                of_part = parameter.grad[part.members]
                of_part.copy_(gradient) if part.is_first else of_part.add_(gradient)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * self.learning_rate
        self.optimizer.step()
        return losses

    def correct(self, batch: Batch) -> Tensor:
        """Return True for each query whose answer's tokens are all the most likely ones: [N, B, K]."""
        return self._asked(batch, lambda logits, answers: [_right(logits, answers)])[0]

    def correct_with_loss(self, batch: Batch) -> list[Tensor]:
        """Return `correct`, and the loss of each query: [N, B, K] both."""
        return self._asked(batch, lambda logits, answers: [_right(logits, answers), _losses(logits, answers)])

    def train_only(self, names: Collection[str] | None) -> None:
        """Train only the parameters of these names from now on, or all with None, with a new Adam."""
        self._trained = names
        self._set(self.parameters)

    def _asked(self, batch: Batch, measure: Callable[[Tensor, Tensor], list[Tensor]]) -> list[Tensor]:
        """Return what `measure` makes of logits and answers, [N, B, K] each."""
        logits_of = self._forward(batch)
        found: list[Tensor] = []

        @torch.no_grad()
        def answer(part: Part) -> list[Tensor]:
            piece = part.of(batch)
            own = {name: stacked[part.members] for name, stacked in self.parameters.items()}
            return measure(logits_of(own, piece), piece.answers)

        for part, of_part in each(answer, parts_of(batch), self._side_by_side):
            found = found or [torch.empty(batch.queries.shape[:3], dtype=x.dtype, device=self.device) for x in of_part]
            for whole, x in zip(found, of_part, strict=True):
                whole[part.members, part.contexts] = x
        return found

    def _of_adam(self) -> list[Tensor]:
        """Return the parameters that are trained."""
        return [parameter for parameter in self.parameters.values() if parameter.requires_grad]

    def _forward(self, batch: Batch) -> Callable[[Weights, Batch], Tensor]:
        """Return what makes logits [N, B, K, T, V] of the parameters and tokens of N members, for parts of this batch."""
        n_answer = batch.answers.shape[3]
        if not is_stacked(self.model):
            return lambda own, part: member_logits(
                self.model, own, part.context, part.queries, n_answer, self.causal, part.ablations
            )
        like = torch.empty((), dtype=self._dtype, device=self.device)
        layout = Layout.of(self.model, batch.context, batch.queries, n_answer, self.causal, like)

        def logits_of(own: Weights, part: Batch) -> Tensor:
            logits = stacked_logits(self.model, own, layout, part.context, part.queries, part.ablations)
            return logits.unflatten(2, (-1, n_answer))

        return logits_of

    @property
    def _side_by_side(self) -> bool:
        """Return False if parts share the model, which holds a member's weights while it computes."""
        return is_stacked(self.model)

    @property
    def _dtype(self) -> torch.dtype:
        return next(iter(self.parameters.values())).dtype

    def weights(self, member: int) -> Weights:
        """A copy of a member's weights, on the CPU."""
        return {name: stacked[member].detach().cpu().clone() for name, stacked in self.parameters.items()}

    def keep(self, members: list[int]) -> None:
        """Continue with some of the members, in the order given; each keeps its weights and its Adam's state."""
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
        """Resume exactly where `state` was taken."""
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
            self._of_adam(),
            lr=self.learning_rate,
            betas=self._betas,
            weight_decay=self._weight_decay,
            decoupled_weight_decay=True,
            fused=True,
        )


def is_stacked(model: PreTrainedModel) -> bool:
    """Return True for a Llama, which engine/llama.py computes; any other decoder runs as it is, under vmap."""
    return type(model) is LlamaForCausalLM


def _right(logits: Tensor, answers: Tensor) -> Tensor:
    return (logits.argmax(-1) == answers).all(-1)


def _losses(logits: Tensor, answers: Tensor) -> Tensor:
    """The cross-entropy of each query, [N, B, K], the mean over the tokens of its answer."""
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 3), answers.flatten(), reduction="none")
    return losses.view(answers.shape).mean(-1)


class DivergedError(Exception):
    """A loss that is not finite."""


def check_finite(loss: float, step: int, learning_rate: float, flag: str) -> None:
    """Raise DivergedError, which names the learning rate's flag, for a loss that is not finite."""
    if not np.isfinite(loss):
        raise DivergedError(f"the loss is {loss} at step {step}, with --{flag} {learning_rate}; try a smaller one")
