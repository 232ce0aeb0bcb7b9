"""What a job takes over from the job whose weights it starts from, so that it never tests on what they were trained on."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class NoBase(Exception):
    """The path leads to nothing that can be started from."""


@dataclass(frozen=True)
class Base:
    """Weights to start from, each of a seed, and the flags of the job that made them; weights without a job have
    neither seeds nor flags, and are one."""

    weights: tuple[Path, ...]
    seeds: tuple[int, ...]
    flags: dict[str, Any]


def find_base(path: Path, base_seed: int | None, n: int) -> Base:
    """What `--load_model_from` names: the folder of a job (its n best-validated seeds, or `base_seed`), a safetensors
    file, or a `.pt` file of the published code. Raises NoBase with a reason."""
    if path.is_file():
        if path.suffix not in (".safetensors", ".pt"):
            raise NoBase("is neither a job's folder nor a .safetensors or .pt file")
        if base_seed is not None:
            raise NoBase("is a file; --base_seed chooses among the seeds of a job's folder")
        return Base((path,), (), {})
    if not path.is_dir():
        raise NoBase("does not exist")
    try:
        flags = json.loads((path / "config.json").read_text())["flags"]
        flags = dict(flags)
        seeds = _validated_seeds(path / "pretrain_accuracy.csv")
    except (OSError, ValueError, KeyError, TypeError):
        raise NoBase("holds no job that can be read (config.json, pretrain_accuracy.csv)") from None
    ranked = sorted(seeds, key=lambda seed: (-seeds[seed], seed))
    if base_seed is not None and base_seed not in seeds:
        raise NoBase(f"has no seed {base_seed}; it has {', '.join(map(str, sorted(seeds)))}")
    if len(ranked) < n:
        raise NoBase(f"has {len(ranked)} metalearned seeds; --n_runs {n} asks for more")
    chosen = tuple(ranked[:n]) if base_seed is None else (base_seed,)
    weights = tuple(path / "checkpoints" / f"best_seed{seed}.safetensors" for seed in chosen)
    for file in weights:
        if not file.is_file():
            raise NoBase(f"has no {file.relative_to(path)}: its metalearning is not done")
    return Base(weights, chosen, {**flags, "seed": chosen[0]})


def _validated_seeds(path: Path) -> dict[int, int]:
    """Right novel answers of the kept model of each seed."""
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["subset"] == "novel" and row["is_best"] == "1"]
    return {int(row["seed"]): int(row["n_correct"]) for row in rows}  # the last new best is the kept one
