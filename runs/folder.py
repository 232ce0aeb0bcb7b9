"""Ownership of a job's folder, in which nothing is ever deleted. Imports nothing heavy, so that a finished job answers at once."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flags.earlier import in_todays_words
from runs import lock
from runs.lock import Lock, check_none_below


class FolderTaken(Exception):
    """The folder holds another job, or something that is no job."""


def is_finished(folder: Path, flags: dict, overwrite: bool = False, defaults: dict | None = None) -> bool:
    """Return True if a job with these flags is finished in the folder. Changes nothing. A flag that the job there did not know has
    its value in `defaults`.

    Raises FolderTaken if the folder holds another job, or anything else, and is not to be moved aside (`overwrite`).
    """
    here, program = Path.cwd(), Path(__file__).resolve().parent.parent
    if Path(os.path.realpath(folder)) in (here, program, *here.parents, *program.parents):
        raise FolderTaken("is not a folder of its own; name one below it")
    if overwrite or not folder.exists():
        return False
    if not folder.is_dir():
        raise FolderTaken("is a file, not a folder")
    recorded = recorded_config(folder).get("flags")
    recorded = None if recorded is None else in_todays_words(recorded)
    if recorded is None and _content(folder):
        raise FolderTaken("holds files that are not of a job; name another folder, or pass --overwrite to move it aside")
    flags, defaults = json.loads(json.dumps([flags, defaults or {}]))
    recorded = None if recorded is None else {**defaults, **recorded}
    if recorded is not None and recorded != flags:
        names = [name for name in sorted({*flags, *recorded}) if flags.get(name) != recorded.get(name)]
        listed = ", ".join(f"--{name} {recorded.get(name)} instead of {flags.get(name)}" for name in names)
        raise FolderTaken(
            f"holds a job with other flags ({listed}); name another folder with --out_dir, or pass --overwrite to move it aside"
        )
    return (folder / "summary.json").exists()


@dataclass(frozen=True)
class Claim:
    """A folder that is held: its lock, the folders made for it (the lowest first), and the place of its old content."""

    lock: Lock
    made: list[Path]
    aside: Path | None = None

    def undo(self, folder: Path) -> None:
        """Let go of the folder, and leave everything as it was; a folder that is not empty stays."""
        self.lock.release()
        with contextlib.suppress(OSError):
            for path in self.made:
                path.rmdir()
            if self.aside:
                self.aside.rename(folder)


def claim(folder: Path, overwrite: bool = False, resume: bool = True, should_stop: Callable[[], bool] = lambda: False) -> Claim:
    """Make a folder to write to, and hold it, after `is_finished` had no objection.

    An unfinished job in the folder is resumed, or moved aside without `resume`. With `overwrite` the folder is moved aside, to
    NAME.old, whatever it holds. All of that is done while the folder is held. Raises OSError if the folder cannot be made or
    written to. Raises Held if a job holds it, or one below it that would be moved aside, StoppedWaiting as `Lock` does.
    """
    made = _make(folder)
    lock = Lock(folder, should_stop)
    try:
        if not ((overwrite or not resume) and _content(folder, everything=True)):
            return Claim(lock, made)
        check_none_below(folder)
        aside = _move_aside(folder)
    except BaseException:
        lock.release()
        raise
    lock.release(aside)
    made = _make(folder)
    return Claim(Lock(folder, should_stop), made, aside)


def _make(folder: Path) -> list[Path]:
    """Make a folder with its parents; returns those that did not exist, the lowest first."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} may not be written to")
    return made


def _move_aside(folder: Path) -> Path:
    """Rename a folder to the first of NAME.old, NAME.old2, … that nothing has; returns the new name."""
    for number in itertools.count(1):
        aside = folder.with_name(f"{folder.name}.old{number if number > 1 else ''}")
        if not os.path.lexists(aside):
            folder.rename(aside)
            break
    return aside


def recorded_config(folder: Path) -> dict:
    """Return the flags and environment that the job in a folder recorded; empty without a config.json.

    Raises FolderTaken for a config.json that no job wrote.
    """
    try:
        recorded = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        recorded = None
    if not isinstance(recorded, dict) or not isinstance(recorded.get("flags"), dict):
        raise FolderTaken("holds a config.json that is not of a job; pass --overwrite to move it aside")
    return recorded


def _content(folder: Path, everything: bool = False) -> list[str]:
    """Return the names in a folder, without the lock. Without `everything`, files of a job that was killed while it began do not
    count either."""
    found = [name for name in os.listdir(folder) if name != lock.NAME]
    if everything:
        return found
    return [name for name in found if not name.endswith(".new") and not (name == "checkpoints" and _is_empty(folder / name))]


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(not name.endswith(".new") for name in os.listdir(folder))
