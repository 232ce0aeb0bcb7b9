"""Weights to start from, found on the disk, with the flags of the job that made them."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flags.earlier import in_todays_words


class NoBase(Exception):
    """The path leads to nothing that can be started from."""


@dataclass(frozen=True)
class Base:
    """Weights to start from, one a seed, and the flags of the job that made them.

    Weights without a job are a single file, with neither seeds nor flags.
    """

    weights: tuple[Path, ...]
    seeds: tuple[int, ...]
    flags: dict[str, Any]


def find_base(path: Path, base_seed: int | None, n: int) -> Base:
    """Find the weights that `--load_model_from` names. Raises NoBase with a reason.

    The path is a job's folder, or a folder of jobs that differ in their seeds alone: the n best-validated seeds, or
    `base_seed`. It may also be a safetensors file, or a `.pt` file of the published code.
    """
    if path.is_file():
        if path.suffix not in (".safetensors", ".pt"):
            raise NoBase("is neither a job's folder nor a .safetensors or .pt file")
        if base_seed is not None:
            raise NoBase("is a file; --base_seed chooses among the seeds of a job's folder")
        return Base((path,), (), {})
    if not path.is_dir():
        raise NoBase("does not exist")
    jobs = (
        [path]
        if (path / "config.json").exists()
        else sorted(file.parent for file in path.glob("*/config.json") if ".old" not in file.parent.name)
    )
    found: dict[int, _Seed] = {}
    for job in jobs:
        for seed in _seeds_of(job):
            if seed.number in found:
                raise NoBase(f"has seed {seed.number} twice, in {found[seed.number].job} and {job}; name one of them")
            found[seed.number] = seed
    if not found:
        raise NoBase("holds no job that can be read (config.json, pretrain_accuracy.csv)")
    if base_seed is not None and base_seed not in found:
        raise NoBase(f"has no seed {base_seed}; it has {', '.join(map(str, sorted(found)))}")
    if len(found) < n:
        raise NoBase(f"has {len(found)} metalearned seeds; --n_runs {n} asks for more")
    ranked = sorted(found.values(), key=lambda seed: (-seed.measure, seed.number))
    chosen = ranked[:n] if base_seed is None else [found[base_seed]]
    for seed in chosen:
        if not seed.weights.is_file():
            raise NoBase(f"has no {seed.weights.relative_to(path)}: its metalearning is not done")
        if _differ(_without_seeds(seed.flags), _without_seeds(chosen[0].flags)):
            raise NoBase(f"holds jobs with different flags, {chosen[0].job} and {seed.job}; name one of them")
    numbers = tuple(seed.number for seed in chosen)
    return Base(tuple(seed.weights for seed in chosen), numbers, {**chosen[0].flags, "seed": numbers[0]})


@dataclass(frozen=True)
class _Seed:
    """A metalearned seed of a job: what its kept model was kept by, the higher the better."""

    number: int
    measure: float
    job: Path
    flags: dict[str, Any]

    @property
    def weights(self) -> Path:
        return self.job / "checkpoints" / f"best_seed{self.number}.safetensors"


def _seeds_of(job: Path) -> list[_Seed]:
    """The seeds of the job in a folder; none if it cannot be read."""
    try:
        flags = in_todays_words(dict(json.loads((job / "config.json").read_text(encoding="utf-8"))["flags"]))
        by = flags.get("keep_by", "accuracy")
        return [_Seed(seed, n, job, flags) for seed, n in _validated_seeds(job / "pretrain_accuracy.csv", by).items()]
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        return []


def _differ(flags: dict[str, Any], others: dict[str, Any]) -> bool:
    """Return True if any flag recorded by both jobs differs. Flags that only one of them knows are ignored."""
    return any(flags[name] != others[name] for name in flags.keys() & others.keys())


def _without_seeds(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if name not in ("seed", "n_runs", "base_seeds")}


def _validated_seeds(path: Path, by: str) -> dict[int, float]:
    """Return the measure that each seed's model was kept by: its right novel answers, or minus its loss on them."""
    packed = path.with_suffix(".csv.gz")  # as results that are handed on have it
    text = (path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())).decode()
    rows = [row for row in csv.DictReader(text.splitlines()) if row["subset"] == "novel" and row["is_best"] == "1"]
    last = max((int(row.get("stage") or 1) for row in rows), default=1)
    rows = [row for row in rows if int(row.get("stage") or 1) == last]
    # The last new best is the kept one.
    return {int(row["seed"]): -float(row["loss"]) if by == "loss" else int(row["n_correct"]) for row in rows}
