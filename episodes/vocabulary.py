"""The vocabulary on disk: a JSON object, token → id, as the published code writes it too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from episodes.once import create
from episodes.record import BadFile

HIGHEST_ID = 10**6  # of a token: the model has a row of weights for each id


def write_vocabulary(path: Path, vocabulary: dict[str, int]) -> None:
    """Write token → id. Raises BadFile for an existing file with other content."""
    if not path.exists() and create(path, (json.dumps(vocabulary, ensure_ascii=False, indent=0) + "\n").encode()):
        return
    if read_vocabulary(path) != vocabulary:
        raise BadFile(path, "exists with another vocabulary; name another file")


def read_vocabulary(path: Path, key: str | None = None) -> dict[str, int]:
    """Return token → id, as written by us or by the published code; with `key`, that entry of a larger JSON object.

    Raises BadFile if it is not that.
    """
    try:
        vocabulary: Any = json.loads(path.read_text(encoding="utf-8"))
        vocabulary = vocabulary.get(key) if key and isinstance(vocabulary, dict) else vocabulary
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})") from None
    except ValueError:
        raise BadFile(path, "is not JSON") from None
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else []
    if not ids or any(type(i) is not int or not 0 <= i < HIGHEST_ID for i in ids) or len(set(ids)) < len(ids):
        raise BadFile(path, "is not a vocabulary: a JSON object of tokens, each with an id of its own")
    return vocabulary
