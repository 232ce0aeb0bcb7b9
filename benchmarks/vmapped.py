"""The path that engine/llama.py replaced: transformers' own class under vmap, with all members at once. It is measured against."""

import torch
from torch import Tensor

from engine.decoder import member_logits
from engine.ensemble import Batch, Ensemble


class Vmapped(Ensemble):
    """An ensemble under vmap: trains and answers as `Ensemble` does, to float error."""

    def logits(self, batch: Batch) -> Tensor:
        """Logits at the answers: [N, B, K, T, V]."""
        tokens = (batch.context, batch.queries, batch.answers.shape[-1])
        return member_logits(self.model, self.parameters, *tokens, self.causal, batch.ablations)

    def step(self, batch: Batch, rate: float = 1.0) -> Tensor:
        """One update; returns the losses before it, [N, B, K]."""
        loss = torch.nn.functional.cross_entropy(self.logits(batch).flatten(0, 3), batch.answers.flatten(), reduction="none")
        loss = loss.view(batch.answers.shape).mean(-1)
        self.optimizer.zero_grad()
        loss.mean((1, 2)).sum().backward()
        for group in self.optimizer.param_groups:
            group["lr"] = rate * self.learning_rate
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def correct(self, batch: Batch) -> Tensor:
        """Return True for each query whose answer's tokens are all the most likely ones: [N, B, K]."""
        return (self.logits(batch).argmax(-1) == batch.answers).all(-1)
