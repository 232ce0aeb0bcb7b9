"""The plain path, as one would write it first: the baseline of every ratio.

Every query is a flat sequence of its own. Hugging Face's model takes it as it comes, and gives logits of the whole sequence.
One model is trained at a time, by an Adam that is not fused. Ablations use Hugging Face's own attention
mask and cache, a draw for each sequence.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM


def flat_sequences(context: Tensor, queries: Tensor) -> Tensor:
    """Return flat sequences [B·K, C + L]."""
    return torch.cat([context[:, None].expand(-1, queries.shape[1], -1), queries], dim=2).flatten(0, 1)


class Plain:
    """One model. Tokens: context [B, C], queries [B, K, L], answers [B, K, T]; masked mode."""

    def __init__(self, architecture: dict, weights: dict[str, Tensor], learning_rate: float, device: torch.device):
        self.model = LlamaForCausalLM(LlamaConfig(**architecture, use_cache=False)).to(device)
        self.model.load_state_dict(weights)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=learning_rate, fused=False, foreach=False)

    def logits(self, context: Tensor, queries: Tensor, n_answer: int) -> Tensor:
        """Return logits [B·K, T, V] at the answers."""
        flat = flat_sequences(context, queries)
        return self.model(input_ids=flat).logits[:, -n_answer:]  # read at the masks

    def masked(self, context: Tensor, queries: Tensor, n_answer: int, examples: Tensor, p: float) -> Tensor:
        """Return logits with each example hidden, with probability p, from all that follows it. examples [C], -1 at separators."""
        flat = flat_sequences(context, queries)
        n, length, n_context = *flat.shape, len(examples)
        hidden = torch.rand(n, int(examples.max()) + 1, device=flat.device)[:, examples] < p  # [n, C]
        hidden &= examples >= 0
        of = torch.full((length,), -2, device=flat.device)
        of[:n_context] = examples
        sees = torch.ones(length, length, dtype=torch.bool, device=flat.device).tril().repeat(n, 1, 1)
        sees[:, :, :n_context] &= ~hidden[:, None] | (of[:, None] == examples)
        mask = torch.zeros(sees.shape, device=flat.device).masked_fill(~sees, torch.finfo(torch.float32).min)
        return self.model(input_ids=flat, attention_mask=mask[:, None]).logits[:, -n_answer:]

    def noisy(self, context: Tensor, queries: Tensor, n_answer: int, sigma: float) -> Tensor:
        """Return logits of queries run on the cache of a clean pass, with N(0, sigma²) added to its values."""
        flat = flat_sequences(context, queries)
        before, cache = context.shape[1] - 1, DynamicCache()
        self.model(input_ids=flat[:, :before], past_key_values=cache, use_cache=True)
        for layer in cache.layers:
            layer.values = layer.values + sigma * torch.randn_like(layer.values)
        return self.model(input_ids=flat[:, before:], past_key_values=cache, use_cache=True).logits[:, -n_answer:]

    def step(self, logits: Tensor, answers: Tensor) -> None:
        """One update on logits [B·K, T, V] of answers [B, K, T]."""
        self.optimizer.zero_grad()
        cross_entropy(logits.flatten(0, 1), answers.flatten()).backward()
        self.optimizer.step()

    @torch.no_grad()
    def correct(self, call, context: Tensor, queries: Tensor, answers: Tensor, *more) -> int:
        """Count right answers, 256 sequences at a time."""
        size, right = max(1, 256 // queries.shape[1]), 0
        for i in range(0, len(context), size):
            part = slice(i, i + size)
            predicted = call(context[part], queries[part], answers.shape[2], *more).argmax(-1)
            right += int((predicted == answers[part].flatten(0, 1)).all(-1).sum())
        return right
