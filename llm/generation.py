"""The text that a model writes after a prompt, with settings of our own: those saved beside its weights do not act."""

from __future__ import annotations

import time
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from llm.scoring import Pace, not_finite

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class _Finite(LogitsProcessor):
    """Raises DivergedError where a model's logits are NaN: beam search would choose among them all the same."""

    def __init__(self, model: PreTrainedModel):
        self._model = model

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if scores.isnan().any():
            raise not_finite(self._model)
        return scores


def settings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, n_new: int, num_beams: int, use_cache: bool
) -> GenerationConfig:
    """Return beam search without sampling, which ends at the end-of-sequence tokens of the tokenizer and of config.json."""
    of_model = getattr(model.config.get_text_config(decoder=True), "eos_token_id", None)
    listed = of_model if isinstance(of_model, list | tuple) else [of_model]
    ends = [end for end in dict.fromkeys([tokenizer.eos_token_id, *listed]) if isinstance(end, int)]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ends or [0])[0]
    return GenerationConfig(
        max_new_tokens=n_new, num_beams=num_beams, do_sample=False, eos_token_id=ends or None, pad_token_id=pad, use_cache=use_cache
    )  # fmt: skip


@torch.no_grad()
def continued(model: PreTrainedModel, ids: torch.Tensor, chosen: GenerationConfig) -> torch.Tensor:
    """Return the tokens that the model goes on with after `ids` [R, L]: [R, at most max_new_tokens]. Raises DivergedError."""
    model.generation_config = chosen  # values unset in `chosen` would be taken from here
    finite = LogitsProcessorList([_Finite(model)])
    mask = torch.ones_like(ids)
    out = model.generate(input_ids=ids, attention_mask=mask, generation_config=chosen, logits_processor=finite)
    return out[:, ids.shape[1] :]


def generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], n_new: int, num_beams: int, pace: Pace
) -> list[str]:
    """Return what the model goes on with after each prompt, by beam search without sampling, at most `n_new` tokens.

    Prompts of one length are run together: nothing is padded, as not every model passes over what stands before a prompt.
    """
    started, texts = time.perf_counter(), [""] * len(prompts)
    chosen = settings(model, tokenizer, n_new, num_beams, use_cache=pace.shared)
    for _, alike in groupby(sorted(range(len(prompts)), key=lambda i: len(prompts[i])), key=lambda i: len(prompts[i])):
        left = list(alike)
        while left:
            chunk = left[: max(1, pace.rows_at_once // num_beams)]
            ids = torch.tensor([prompts[i] for i in chunk], device=model.device)  # [R, L]
            try:
                out = continued(model, ids, chosen)
            except (RuntimeError, MemoryError) as error:
                pace.halve(error)
                continue
            pace.tokens += ids.numel() + n_new * len(chunk) * num_beams
            said = tokenizer.batch_decode(out, skip_special_tokens=True)
            for i, text in zip(chunk, said, strict=True):
                texts[i] = text
            left = left[len(chunk) :]
    pace.seconds += time.perf_counter() - started
    return texts
