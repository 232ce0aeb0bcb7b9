"""Trials of a model when it is loaded: that it is causal, and how its answers can be scored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from engine.ensemble import DivergedError
from engine.memory import is_out_of_memory
from flags.config import BadInput
from llm.chat import first_line
from llm.checks import check_tokens
from llm.generation import continued, settings
from llm.loading import name_of
from llm.prompt import common_length
from llm.scoring import Pace, Scores, score
from runs.terminal import say

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from flags.config import Config
    from llm.prompt import Answer

# By how much log-probabilities of two ways to compute them may differ, in 32 and in 16 bits; `_slack`, where that is more.
_WAYS = {True: 1e-3, False: 0.05}
_LEAK = {True: 1e-4, False: 0.05}  # what one and the same way gives for the same tokens is closer


def probe(config: Config, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, samples: list[list[Answer]]) -> Pace:
    """Return how the model is to be run, after a try on some answers. samples: answers by episode.

    Raises BadInput for a model that cannot be run, is not causal, or gives log-probabilities that are not finite. Where a
    shared context does not give the numbers of flat sequences, says so and chooses flat ones.
    """
    flag, value, _ = name_of(config)
    answers = max((_longest(of_episode) for of_episode in samples), key=lambda some: len(some[0].ids))
    longest = answers[0].ids
    try:
        check_tokens(config, tokenizer, answers, model)
        check_causal(config, model, longest)
        flat = score(model, [answers, _reversed(answers)], Pace(shared=False))
        pace = Pace()
        if why := _difference(model, answers, flat, _slack(model, longest)):
            say(f"main.py: --{flag} {value}: {why}; every answer is run as a flat sequence, which takes longer")
            pace.shared = False
        if "generate" in config.scorings:
            check_generation(config, model, tokenizer, longest, pace.shared)
    except BadInput:
        raise
    except DivergedError as error:
        raise _bad_numbers(config, error) from None
    except Exception as error:  # whatever a model's code may stumble over
        if is_out_of_memory(error):
            raise
        raise BadInput(flag, value, f"cannot be asked: a prompt raises {type(error).__name__} ({first_line(error)})") from None
    return pace


def _longest(answers: list[Answer]) -> list[Answer]:
    """Return three of them, the longest first."""
    return sorted(answers, key=lambda answer: -len(answer.ids))[:3]


def check_causal(config: Config, model: PreTrainedModel, ids: tuple[int, ...]) -> None:
    """Raise BadInput if the model's logits at the first half of the tokens depend on the second half."""
    flag, value, _ = name_of(config)
    half = len(ids) // 2
    other = next((token for token in ids if token != ids[-1]), 0)  # the last token changes with the others
    logits = [_logits(model, sequence)[:half] for sequence in (ids, (*ids[:half], *[other] * (len(ids) - half)))]  # [L / 2, V]
    if not all(part.isfinite().any(-1).all() and not part.isnan().any() for part in logits):
        raise _bad_numbers(config, DivergedError("log-probabilities of the model are not finite"))
    # Where both are -inf, the model excludes a token.
    some, others = (part.log_softmax(-1).nan_to_num() for part in logits)
    if float((some - others).abs().max()) > max(_LEAK[_is_full(model)], _slack(model, ids)):
        raise BadInput(flag, value, "is not causal: later tokens change its logits, so it would see the answers")


def check_generation(
    config: Config, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...], use_cache: bool
) -> None:
    """Raise BadInput if the tokens that the model generates are not those that its logits make the most likely ones."""
    flag, value, _ = name_of(config)
    greedy = settings(model, tokenizer, 3, 1, use_cache)
    prompt = torch.tensor([ids], device=model.device)
    said = continued(model, prompt, greedy)[0].tolist()
    if config.num_beams > 1:
        continued(model, prompt, settings(model, tokenizer, 2, config.num_beams, use_cache))  # must not raise
    logits = _logits(model, (*ids, *said))[len(ids) - 1 : -1].log_softmax(-1)  # [T, V]
    behind = logits.max(-1).values - logits[range(len(said)), said]
    if not said or float(behind.max()) > max(_WAYS[_is_full(model)], _slack(model, ids)):
        raise BadInput(flag, value, "does not generate what its own log-probabilities say; leave generate out of --scoring")


@torch.no_grad()
def _logits(model: PreTrainedModel, ids: tuple[int, ...]) -> torch.Tensor:
    """Return the logits of one plain pass, [L, V], in 32 bits."""
    logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits
    if logits.shape[:2] != (1, len(ids)):
        raise ValueError(f"its logits for {len(ids)} tokens have the shape {tuple(logits.shape)}")
    return logits[0].float()


def _difference(model: PreTrainedModel, answers: list[Answer], flat: list[list[Scores]], slack: float) -> str | None:
    """Return why a shared context does not do: an error, or by how much log-probabilities differ; None if it does.

    They may differ by 0.001, in 16 bits by 0.05; or by two steps of the number format at the largest logit (2 · eps · |logit|,
    `slack`), where that is more.
    """
    try:
        # Two episodes, so that a cache which mixes them up is noticed; fewer rows at once than answers, so that it is used twice.
        shared = score(model, [answers, _reversed(answers)], Pace(rows_at_once=2 * len(answers) - 1))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return "the model has no KV cache, or one of another kind"
    pairs = [pair for some, others in zip(shared, flat, strict=True) for pair in zip(some, others, strict=True)]
    apart = max(float(np.abs(a.log_p - b.log_p).max()) for a, b in pairs)
    if apart > max(_WAYS[_is_full(model)], slack):
        return f"with its cache, log-probabilities differ by {apart:.2g}"
    if not all((a.top == b.top).all() for a, b in pairs):
        return "with its cache, other tokens are the most likely ones"
    return None


def _reversed(answers: list[Answer]) -> list[Answer]:
    """The answers behind their context written backwards: those of another episode, as long as theirs."""
    shared = min(common_length([answer.ids for answer in answers]), min(answer.scored for answer in answers) - 1)
    return [replace(answer, ids=(*answer.ids[:shared][::-1], *answer.ids[shared:])) for answer in answers]


def _is_full(model: PreTrainedModel) -> bool:
    return model.dtype in (torch.float32, torch.float64)


def _slack(model: PreTrainedModel, ids: tuple[int, ...]) -> float:
    """Return two steps of the number format at the largest logit: what rounding alone may bring."""
    return 2 * torch.finfo(model.dtype).eps * float(_logits(model, ids).nan_to_num(0, 0, 0).abs().max())


def _bad_numbers(config: Config, error: DivergedError) -> BadInput:
    if config.model_dtype == "fp32":
        flag, value, _ = name_of(config)
        return BadInput(flag, value, str(error))
    return BadInput("model_dtype", config.model_dtype, f"{str(error).partition(';')[0]}; pass fp32, or bf16")
