"""Log-probabilities of answers: what queries share is run once, and its KV cache serves them all."""

from __future__ import annotations

import copy
import inspect
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from engine.ensemble import DivergedError
from engine.memory import is_out_of_memory
from llm.prompt import Answer, Location, common_length
from runs.terminal import say

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


@dataclass
class Pace:
    """Settings of a model's passes, and a count of the tokens that went through it.

    rows_at_once: sequences in a pass, at most. shared: what answers share is run once, and its KV cache serves them all;
    else every answer is a flat sequence. Then tokens that went through the model, and those that would have without sharing.
    """

    rows_at_once: int = 256
    shared: bool = True
    tokens: int = 0
    flat_tokens: int = 0
    seconds: float = 0.0

    def halve(self, error: Exception) -> None:
        """Halve the rows of a pass after an out-of-memory error. Raises it again if a single row is left, and any other error."""
        if self.rows_at_once == 1 or not is_out_of_memory(error):
            raise error
        self.rows_at_once //= 2
        say(f"main.py: out of memory; continuing with {self.rows_at_once} sequences at once")


@dataclass(frozen=True)
class Scores:
    """The model's judgement of one answer's tokens, in their order.

    log_p [T]: natural logarithms of the probabilities of the tokens from `Answer.scored` on, each given all tokens before it;
    top [T]: whether each is the most likely one there.
    """

    log_p: np.ndarray
    top: np.ndarray


@dataclass
class _Rows:
    """The distinct inputs that the answers of one episode need, without what all of them share, and the wanted tokens."""

    prefix: tuple[int, ...]
    rows: dict[tuple[int, ...], int] = field(default_factory=dict)
    wanted: list[list[tuple[int, int, int]]] = field(default_factory=list)  # per answer: row, position in it, token


@torch.no_grad()
def score(model: PreTrainedModel, episodes: list[list[Answer]], pace: Pace) -> list[list[Scores]]:
    """Score the answers of each episode. With a `shared` pace, the tokens that all answers of an episode begin with
    are run once; else every answer is a flat sequence. The numbers are the same. Raises DivergedError if one is not finite."""
    started = time.perf_counter()
    parts = [_rows_of(answers, pace.shared) for answers in episodes]
    pace.flat_tokens += sum(len(answer.ids) - 1 for answers in episodes for answer in answers)
    found: list[list[Scores]] = [[] for _ in episodes]
    # Prefixes of one length are run together, so that nothing is padded before the tokens that are scored.
    for length in sorted({len(part.prefix) for part in parts}):
        members = [i for i, part in enumerate(parts) if len(part.prefix) == length]
        for i, scores in zip(members, _score_equal([parts[i] for i in members], model, pace), strict=True):
            found[i] = scores
    pace.seconds += time.perf_counter() - started
    return found


def _rows_of(answers: list[Answer], shared: bool) -> _Rows:
    inputs = [answer.ids[:-1] for answer in answers]
    cut = min(common_length(inputs), min(answer.scored for answer in answers) - 1) if shared else 0
    part = _Rows(answers[0].ids[:cut])
    for answer, whole in zip(answers, inputs, strict=True):
        row = part.rows.setdefault(whole[cut:], len(part.rows))
        part.wanted.append([(row, t - 1 - cut, answer.ids[t]) for t in range(answer.scored, len(answer.ids))])
    return part


def _score_equal(parts: list[_Rows], model: PreTrainedModel, pace: Pace) -> list[list[Scores]]:
    """Score the answers of episodes whose shared prefixes have one length."""
    try:
        cache = _prefill(parts, model, pace)
    except (RuntimeError, MemoryError) as error:
        if len(parts) == 1 or not is_out_of_memory(error):
            raise
        return [scores for part in parts for scores in _score_equal([part], model, pace)]
    rows = [(episode, row) for episode, part in enumerate(parts) for row in part.rows]
    offsets = np.cumsum([0, *(len(part.rows) for part in parts)])
    wanted = np.array(
        [(offsets[e] + r, position, token) for e, part in enumerate(parts) for one in part.wanted for r, position, token in one]
    )
    log_p, top = np.empty(len(wanted)), np.empty(len(wanted), dtype=bool)
    first = 0
    while first < len(rows):
        chunk = rows[first : first + pace.rows_at_once]
        here = (wanted[:, 0] >= first) & (wanted[:, 0] < first + len(chunk))
        try:
            log_p[here], top[here] = _run(chunk, wanted[here] - [first, 0, 0], cache, model)
        except (RuntimeError, MemoryError) as error:
            pace.halve(error)
            continue
        pace.tokens += sum(len(row) for _, row in chunk)
        first += len(chunk)
    if not np.isfinite(log_p).all():
        raise not_finite(model)
    lengths = [len(one) for part in parts for one in part.wanted]
    ends = np.cumsum(lengths)
    scores = iter([Scores(log_p[end - n : end], top[end - n : end]) for n, end in zip(lengths, ends, strict=True)])
    return [[next(scores) for _ in part.wanted] for part in parts]


def _prefill(parts: list[_Rows], model: PreTrainedModel, pace: Pace) -> Cache | None:
    """The KV cache of the prefixes, a row an episode; None if they are empty."""
    prefixes = torch.tensor([part.prefix for part in parts], device=model.device)  # [E, C]
    if prefixes.shape[1] == 0:
        return None
    pace.tokens += prefixes.numel()
    return model(input_ids=prefixes, use_cache=True, **_keep(model, 1)).past_key_values


def _run(
    chunk: list[tuple[int, tuple[int, ...]]], wanted: np.ndarray, cache: Cache | None, model: PreTrainedModel
) -> tuple[np.ndarray, np.ndarray]:
    """One pass over rows, each behind the prefix of its episode: log-probability and being the most likely, of each wanted
    (row, position, token)."""
    length = max(len(row) for _, row in chunk)
    # Padding stands after all that is looked at, and attention is causal: which token it is makes no difference.
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for _, row in chunk], device=model.device)  # [R, L]
    if cache is not None:
        cache = copy.deepcopy(cache)  # a pass changes the cache it is given
        cache.batch_select_indices(torch.tensor([episode for episode, _ in chunk], device=model.device))
    keep = length - int(wanted[:, 1].min())
    cached = {} if cache is None else {"past_key_values": cache}  # a model without a cache of this kind knows no such argument
    logits = model(input_ids=ids, use_cache=cache is not None, **cached, **_keep(model, keep)).logits  # [R, keep or L, V]
    row, position, token = torch.tensor(wanted, device=logits.device).T
    at = logits[row, position - (length - logits.shape[1])].float()  # [W, V]
    return at.log_softmax(-1).gather(1, token[:, None])[:, 0].cpu().numpy(), (at.argmax(-1) == token).cpu().numpy()


def _keep(model: PreTrainedModel, n: int) -> dict[str, int]:
    """The argument that asks for the last n logits alone, of a model that takes it."""
    return {"logits_to_keep": n} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}


def not_finite(model: PreTrainedModel) -> DivergedError:
    """Return the error for log-probabilities that are NaN or infinite."""
    remedy = "" if model.dtype == torch.float32 else "; pass --model_dtype fp32, or bf16"
    name = str(model.dtype).removeprefix("torch.")
    return DivergedError(f"log-probabilities of the model are not finite in {name}{remedy}")


def first_location(text: str) -> tuple[int | None, int | None]:
    """Return the first two whole numbers of a text, if one line has both, with other characters between them; None for a missing
    one. The text after them does not count."""
    numbers = re.search(r"(\d+)(?:[^\d\n]+(\d+))?", text)
    if numbers is None:
        return None, None
    # Python reads no number of thousands of digits; one of more than ten is no coordinate anyway.
    return tuple(number and int(number.lstrip("0")[:11] or 0) for number in numbers.groups())


def likeliest(locations: Sequence[Location], scores: Sequence[Scores]) -> Location:
    """The location whose tokens have the highest total log-probability."""
    return locations[int(np.argmax([score.log_p.sum() for score in scores]))]
