"""Saved states: written atomically, in two generations, and verified when they are read."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from runs.files import write_atomically

State = dict[str, Any]  # JSON


class Damaged(Exception):
    """No saved state can be resumed."""


def write_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write a safetensors file; equal weights give equal bytes (with one metadata key: several have no fixed order)."""
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    write_atomically(path, safetensors.torch.save(contiguous, metadata={"format": "pt"}))


def _files(folder: Path) -> list[Path]:
    return [folder / f"resume_{slot}.safetensors" for slot in (0, 1)]


def save(folder: Path, generation: int, tensors: dict[str, Tensor], state: State) -> None:
    """Save a state as number `generation`, over the one before the last."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({"generation": generation, **state})
    data = safetensors.torch.save(tensors, metadata={"state": text, "sha256": _digest(tensors, text)})
    write_atomically(_files(folder)[generation % 2], data)


def load(folder: Path) -> tuple[int, dict[str, Tensor], State] | None:
    """Return the newest undamaged state: its generation, tensors and values; None if nothing was saved.

    A damaged file is passed over with a warning. Raises Damaged if all that was saved is.
    """
    found, damaged = [], []
    for path in filter(Path.exists, _files(folder)):
        try:
            found.append(_read(path))
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            damaged.append(f"{path} is damaged ({error})")
    if damaged and not found:
        raise Damaged(f"{'; '.join(damaged)}; pass --no_resume to start anew")
    for line in damaged:
        warnings.warn(f"{line}; resuming from the state saved before it", stacklevel=2)
    return max(found, key=lambda item: item[0]) if found else None


def discard(folder: Path) -> None:
    """Remove the saved states of a job that is done: nothing can resume from them, and they are large."""
    for path in _files(folder):
        path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[int, dict[str, Tensor], State]:
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if metadata["sha256"] != _digest(tensors, metadata["state"]):
        raise ValueError("its checksum does not match")
    state = json.loads(metadata["state"])
    return state.pop("generation"), tensors, state


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.reshape(-1).numpy().data.cast("B") if tensor.numel() else b"")
    return digest.hexdigest()
