"""Keys to random generators: the only source of randomness in the program.

Whatever is drawn is a pure function of its key. No draw can change another one. So the numbers do not depend on the order of
work or on the ensemble's other members. Nor do they depend on how often a model is tested or a job interrupted.
"""

import hashlib

import numpy as np


def stream(*key: int | str) -> np.random.Generator:
    """A fresh generator for `key`, for instance `stream(seed, "metalearning", "unrotated", "blocked", index)`.

    Equal keys give equal draws in every process and on every machine; different keys give independent draws.
    Numbers and words are told apart: `stream(1)` is not `stream("1")`.
    """
    parts = (f"s{part}" if isinstance(part, str) else f"i{int(part)}" for part in key)
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
