"""The path that engine/llama.py replaced: transformers' own class under vmap, with all members at once. It is measured against."""

import torch
from torch import Tensor
from torch.func import functional_call

from engine.attention import Weights, answer_logits
from engine.ensemble import Batch, Ensemble


class Vmapped(Ensemble):
    """The same training, and the same answers to float error."""

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
        """Whether every token of an answer is the most likely one: [N, B, K]."""
        return (self.logits(batch).argmax(-1) == batch.answers).all(-1)
