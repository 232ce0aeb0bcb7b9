"""Bounds of flags' values: one rule for what people type and for what a job has recorded."""

from __future__ import annotations

import dataclasses
import difflib
import math
from typing import Any


def of_kind(value: Any, kind: Any) -> bool:
    """Return True if a value has the type of a flag (int, float | None, …). An int counts as a float, a bool as no number."""
    allowed = kind | int if isinstance(1.0, kind) else kind
    return isinstance(value, allowed) and (not isinstance(value, bool) or kind is bool)


def is_utf8(text: str) -> bool:
    """Return False for a text typed in bytes that are no UTF-8: tables and config.json cannot hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def fault(field: dataclasses.Field, value: Any) -> str | None:
    """Return what is wrong with a value of the right type, in the words of an error, or None.

    Bounds and choices are those of `config.flag`.
    """
    meta = field.metadata
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if meta["path"] and not value.strip():
        return "is an empty path; name a file or folder, or leave the flag out"
    if meta["choices"] and value not in meta["choices"]:
        why = meta["beyond"](value) if meta["beyond"] else ""
        if why is None or why:
            return why
        near = difflib.get_close_matches(str(value), map(str, meta["choices"]), n=1)
        return f"must be one of {', '.join(map(str, meta['choices']))}{f'; did you mean {near[0]}?' if near else ''}"
    if meta["low"] is not None and value < meta["low"]:
        return f"must be at least {meta['low']}"
    if meta["high"] is not None and value > meta["high"]:
        return f"must be at most {meta['high']}"
    if meta["above"] is not None and value <= meta["above"]:
        return f"must be above {meta['above']}"
    return None
