"""An episode as tokens, as it is read from any file, and what a file is that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass


class BadFile(Exception):
    """A file that cannot be used: which, at which line, and why."""

    def __init__(self, where: object, why: str):
        super().__init__(f"{where} {why}")


@dataclass(frozen=True)
class Record:
    """An episode as tokens: its context, and (cue, answer, subset) of each query. `where` names it in messages."""

    where: str
    context: list[str]
    items: list[tuple[list[str], list[str], str]]
