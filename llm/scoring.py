"""Log-probabilities of answers: what queries share is run once, and its KV cache serves them all."""

from __future__ import annotations

import copy
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from llm.prompt import Answer, Location, common_length

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase


@dataclass
class Pace:
    """How many rows are run at once, how many tokens went through the model, and how many would have without sharing."""

    rows_at_once: int = 256
    tokens: int = 0
    flat_tokens: int = 0
    seconds: float = 0.0

    def halve(self, error: torch.OutOfMemoryError) -> None:
        """After an out-of-memory error, which is raised again if there is nothing left to halve."""
        if self.rows_at_once == 1:
            raise error
        self.rows_at_once //= 2
        print(f"main.py: out of memory; going on with {self.rows_at_once} sequences at once", file=sys.stderr)


@dataclass(frozen=True)
class Scores:
    """What the model says of one answer's tokens, in their order.

    log_p [T]: natural logarithms of their probabilities, each given all tokens before it; top [T]: whether each is the
    most likely one there.
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
def score(model: PreTrainedModel, episodes: list[list[Answer]], pace: Pace, shared: bool = True) -> list[list[Scores]]:
    """Score the answers of each episode. With `shared`, the tokens that all answers of an episode begin with are run once;
    otherwise every answer is a flat sequence of its own: the same numbers, for comparison."""
    started = time.perf_counter()
    parts = [_rows_of(answers, shared) for answers in episodes]
    pace.flat_tokens += sum(len(answer.ids) - 1 for answers in episodes for answer in answers)
    found: list[list[Scores]] = [[] for _ in episodes]
    # Prefixes of one length are run together, so that nothing is padded before what is looked at.
    for length in sorted({len(part.prefix) for part in parts}):
        members = [i for i, part in enumerate(parts) if len(part.prefix) == length]
        for i, scores in zip(members, _score_equal([parts[i] for i in members], model, pace), strict=True):
            found[i] = scores
    pace.seconds += time.perf_counter() - started
    return found


def _rows_of(answers: list[Answer], shared: bool) -> _Rows:
    inputs = [answer.ids[:-1] for answer in answers]
    cut = min(common_length(inputs), min(answer.start for answer in answers) - 1) if shared else 0
    part = _Rows(answers[0].ids[:cut])
    for answer, whole in zip(answers, inputs, strict=True):
        row = part.rows.setdefault(whole[cut:], len(part.rows))
        part.wanted.append([(row, t - 1 - cut, answer.ids[t]) for t in range(answer.start, len(answer.ids))])
    return part


def _score_equal(parts: list[_Rows], model: PreTrainedModel, pace: Pace) -> list[list[Scores]]:
    """The same for episodes whose shared prefixes have one length."""
    cache = _prefill(parts, model, pace)
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
        except torch.OutOfMemoryError as error:
            pace.halve(error)
            continue
        pace.tokens += sum(len(row) for _, row in chunk)
        first += len(chunk)
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
    return model(input_ids=prefixes, use_cache=True, logits_to_keep=1).past_key_values


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
    logits = model(input_ids=ids, past_key_values=cache, use_cache=cache is not None, logits_to_keep=keep).logits  # [R, keep, V]
    row, position, token = torch.tensor(wanted, device=logits.device).T
    at = logits[row, position - (length - keep)].float()  # [W, V]
    return at.log_softmax(-1).gather(1, token[:, None])[:, 0].cpu().numpy(), (at.argmax(-1) == token).cpu().numpy()


@torch.no_grad()
def generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], n_new: int, num_beams: int, pace: Pace
) -> list[str]:
    """What the model goes on with after each prompt, by beam search without sampling, at most `n_new` tokens."""
    started, texts = time.perf_counter(), []
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (tokenizer.eos_token_id or 0)
    while len(texts) < len(prompts):
        chunk = prompts[len(texts) : len(texts) + max(1, pace.rows_at_once // num_beams)]
        length = max(map(len, chunk))
        ids = torch.tensor([[*[pad] * (length - len(row)), *row] for row in chunk], device=model.device)
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in chunk], device=model.device)
        try:
            out = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=n_new, num_beams=num_beams, do_sample=False,
                temperature=None, top_p=None, top_k=None, pad_token_id=pad,
            )  # fmt: skip
        except torch.OutOfMemoryError as error:
            pace.halve(error)
            continue
        pace.tokens += int(mask.sum()) + n_new * len(chunk) * num_beams
        texts += tokenizer.batch_decode(out[:, length:], skip_special_tokens=True)
    pace.seconds += time.perf_counter() - started
    return texts


def first_location(text: str) -> tuple[int | None, int | None]:
    """The first two whole numbers of a text, if they stand on one line with other characters between them; for what is not
    there, None. What comes after them does not count."""
    numbers = re.search(r"(\d+)(?:[^\d\n]+(\d+))?", text)
    if numbers is None:
        return None, None
    return tuple(int(number) if number is not None else None for number in numbers.groups())


def likeliest(locations: Sequence[Location], scores: Sequence[Scores]) -> Location:
    """The location whose tokens have the highest total log-probability."""
    return locations[int(np.argmax([score.log_p.sum() for score in scores]))]
