"""Tell a lack of memory from other errors, whatever the device."""

from __future__ import annotations

import re

import torch

# On a CPU, torch raises a plain RuntimeError.
_SAYS_SO = re.compile(r"out of memory|allocate memory|bad_alloc|ALLOC_FAILED|DefaultCPUAllocator", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if the error says that memory was lacking, on a GPU or a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and _SAYS_SO.search(str(error)) is not None
