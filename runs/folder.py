"""Whose folder it is: nothing that is in one is ever deleted. Imports nothing heavy, so that a finished job answers at once."""

from __future__ import annotations

import json
import os
from pathlib import Path

from runs import lock


class FolderTaken(Exception):
    """The folder holds another job, or something that is no job."""


def is_finished(folder: Path, flags: dict, overwrite: bool = False, defaults: dict | None = None) -> bool:
    """Whether a job with these flags is finished in the folder. Changes nothing. A flag that the job there did not know has
    its value in `defaults`.

    Raises FolderTaken if the folder holds another job, or anything else, and is not to be moved aside (`overwrite`).
    """
    here, program = Path.cwd(), Path(__file__).resolve().parent.parent
    if folder.resolve() in (here, program, *here.parents, *program.parents):
        raise FolderTaken("is not a folder of its own; name one below it")
    if overwrite or not folder.exists():
        return False
    if not folder.is_dir():
        raise FolderTaken("is a file, not a folder")
    recorded = recorded_config(folder).get("flags")
    if recorded is None and _content(folder):
        raise FolderTaken("holds files that are not of a job; name another folder, or pass --overwrite to move it aside")
    flags, defaults = json.loads(json.dumps([flags, defaults or {}]))
    recorded = None if recorded is None else {**defaults, **recorded}
    if recorded is not None and recorded != flags:
        names = [name for name in sorted({*flags, *recorded}) if flags.get(name) != recorded.get(name)]
        listed = ", ".join(f"--{name} {recorded.get(name)} there, {flags.get(name)} here" for name in names)
        raise FolderTaken(
            f"holds a job with other flags ({listed}); name another folder with --out_dir, or pass --overwrite to move it aside"
        )
    return (folder / "summary.json").exists()


def claim(folder: Path, overwrite: bool = False, resume: bool = True) -> list[Path]:
    """Make a folder to write to, after `is_finished` had no objection.

    An unfinished job in it is gone on with, or moved aside without `resume`; with `overwrite` whatever is there is
    moved aside, to NAME.old. Returns the folders that were made for it, the lowest first. Raises OSError if it cannot be
    made or written to.
    """
    if folder.exists() and _content(folder) and (overwrite or not resume):
        number = 1
        while (name := folder.with_name(f"{folder.name}.old{number if number > 1 else ''}")).exists():
            number += 1
        folder.rename(name)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} may not be written to")
    return made


def recorded_config(folder: Path) -> dict:
    """What the job in a folder recorded of itself: flags and environment; empty if there is none.

    Raises FolderTaken for a config.json that no job wrote.
    """
    try:
        recorded = json.loads((folder / "config.json").read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        recorded = None
    if not isinstance(recorded, dict) or not isinstance(recorded.get("flags"), dict):
        raise FolderTaken("holds a config.json that is not of a job; pass --overwrite to move it aside")
    return recorded


def _content(folder: Path) -> list[str]:
    """What a folder holds, beside what a job leaves that was killed while it began."""
    return [name for name in os.listdir(folder) if name not in ("checkpoints", lock.NAME) and not name.endswith(".new")]
