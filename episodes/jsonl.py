"""Episode files of our own: one JSON line an episode, for people, for other programs, and for jobs on existing data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data import Encoder, Episodes
from episodes import published
from episodes.once import create
from episodes.record import BadFile, Record
from flags.conditions import of_episodes

if TYPE_CHECKING:
    from flags.config import Config


def file_names(config: Config) -> dict[str, tuple[str, str, str, int]]:
    """Return the files of a seed: name → split, rotation, context curriculum and number of episodes."""
    names = {
        "metalearning.jsonl": ("metalearning", *config.condition, config.n_train),
        "validation.jsonl": ("validation", *config.condition, config.n_val),
    }
    for rotation, curriculum in of_episodes(config.task):
        names[f"test_{rotation}_{curriculum}.jsonl"] = ("test", rotation, curriculum, config.n_test)
    return names


def seed_folder(folder: Path, config: Config, seed: int) -> Path:
    """Return where a seed's files lie: the folder itself for a single seed, if it has none for each."""
    of_seed = folder / f"seed_{seed}"
    return folder if config.n_runs == 1 and not of_seed.is_dir() else of_seed


def check_layout(folder: Path, config: Config) -> None:
    """Raise BadFile for a folder in which --load_data_from is ambiguous.

    It mixes our files with published ones, or episodes of its own with folders of single seeds.
    """
    for place in dict.fromkeys([folder, *(seed_folder(folder, config, seed) for seed in config.seeds)]):
        if has_files(place) and published.has_files(place):
            raise BadFile(place, "holds files of the published code and others; name a folder with one of them")
    of_seeds = sorted(path.name for path in folder.glob("seed_*") if has_files(path) or published.has_files(path))
    if of_seeds and (has_files(folder) or published.has_files(folder)):
        raise BadFile(folder, f"holds episodes of its own and of a single seed ({of_seeds[0]}); name a folder with one of them")


def has_files(folder: Path) -> bool:
    """Return True if the folder holds any of our files, of any task."""
    return any((folder / f"{name}.jsonl").exists() for name in ("metalearning", "validation")) or any(folder.glob("test_*.jsonl"))


def write(folder: Path, config: Config, encoder: Encoder) -> None:
    """Write all episodes of all seeds, each file whole or not at all. Existing files with the same content
    are kept.

    Raises BadFile, before anything is written, for an existing file with other content, and for files that would be read instead.
    Raises it also if another process has written such files in the meantime; its files stay.
    """
    _check_beside(folder, config)
    new: dict[Path, bytes] = {}
    for seed in config.seeds:
        for name, (split, rotation, curriculum, n) in file_names(config).items():
            path, n = seed_folder(folder, config, seed) / name, min(n, encoder.n_episodes(split))
            if n == 0:  # of episodes read from files, which lack metalearning's for a job without it
                continue
            condition = (split, rotation, curriculum)
            content = "".join(_lines(encoder, encoder.episodes(seed, *condition, n), condition)).encode()
            if not path.exists():
                new[path] = content
            else:
                _check_same(path, content)
    for path, content in new.items():
        if not create(path, content):
            _check_same(path, content)
    _check_beside(folder, config)


def _check_same(path: Path, content: bytes) -> None:
    if path.read_bytes() != content:
        raise BadFile(path, "exists with other episodes; name another folder")


def _check_beside(folder: Path, config: Config) -> None:
    """Raise BadFile if the folder holds files that would be read instead of the job's own."""
    check_layout(folder, config)
    places = {seed_folder(folder, config, seed) for seed in config.seeds}
    other = [path for path in (folder, *folder.glob("seed_*")) if path not in places and has_files(path)]
    if other and (folder in places or folder in other):
        raise BadFile(other[0], "holds episodes of other seeds, which could be read instead; name another folder")
    for place in (folder, *places):
        if published.has_files(place):
            raise BadFile(place, "holds files of the published code, which would be read instead; name another folder")


def _lines(encoder: Encoder, episodes: Episodes, condition: tuple[str, str, str]) -> Iterator[str]:
    tokens = np.full(encoder.vocab_size, "", dtype=object)
    tokens[list(encoder.vocabulary.values())] = list(encoder.vocabulary)
    n_answer = episodes.answers.shape[2]
    about = dict(zip(("split", "rotation", "curriculum"), condition, strict=True))
    for i in range(len(episodes)):
        items = [
            [" ".join(tokens[query[:-n_answer]]), " ".join(tokens[answer]), episodes.subsets[subset]]
            for query, answer, subset in zip(episodes.queries[i], episodes.answers[i], episodes.subset[i], strict=True)
        ]
        line = {**about, "episode": i, "context": " ".join(tokens[episodes.context[i]]), "items": items}
        yield json.dumps(line, ensure_ascii=False) + "\n"


def read_records(path: Path, about: dict[str, str]) -> list[Record]:
    """Return the episodes of one of our files; `about` is what each line must say of split, rotation and curriculum."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise BadFile(path, "is missing") from None
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadFile(path, "is not text") from None
    if not lines:
        raise BadFile(path, "is empty")
    return [_record(f"{path}:{i + 1}", line, about) for i, line in enumerate(lines)]


def _record(where: str, line: str, about: dict[str, str]) -> Record:
    try:
        content: dict[str, Any] = json.loads(line)
        items = [(cue.split(" "), answer.split(" "), subset) for cue, answer, subset in content["items"]]
        record = Record(where, content["context"].split(" "), items)
        found = {key: content[key] for key in about}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadFile(where, "is not an episode (a JSON object with context and items)") from None
    for key, value in found.items():
        if value != about[key]:
            raise BadFile(where, f"is of {key} {value}, not {about[key]}")
    return record
