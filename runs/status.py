"""Status of a sweep's jobs: a line for each job that the scripts expect.

python -m runs.status [NAME ...] [FLAGS]

NAME: scripts to look at (all). FLAGS: those that the jobs were submitted with. The scripts' own variables say which sweep is
meant: PRESET, SEEDS, SEEDS_PER_JOB, BASE.

States:

done
running     step of steps, time left, age of the last heartbeat
unknown     held from another machine, or without locks: the heartbeat's age tells whether it runs
stopped     killed or waiting in a queue; the same job resumes
failed      its last error
missing     not begun
refused     main.py would not write to its folder: another job's flags, or files that are not of a job
unreadable  why
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from flags.command_line import parse
from flags.config import BadInput, Config
from flags.earlier import unrecorded
from runs import holding, lock
from runs.folder import FolderTaken, is_finished
from runs.sweep import ROOT, NoList, expected, names
from runs.terminal import command, say, tell


def main(arguments: list[str]) -> int:
    """Print a line for each expected job of the scripts named, of all if none is; returns the exit status."""
    n = next((n for n, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    asked, passed = arguments[:n], arguments[n:]
    if passed[:1] in (["--help"], ["-h"]):
        return tell(__doc__)
    known = names()
    for name in asked:
        if name not in known:
            say(f"runs.status: {name}: unknown script; the scripts are {', '.join(known)}")
            return 2
    states: Counter[str] = Counter()
    lines = []
    try:
        for name in asked or known:
            for element, flags in expected(name, passed):
                state, line = state_of(flags)
                states[state] += 1
                lines.append(f"{element:<24} {state:<8} {line}")
    except NoList:
        return 2
    except BadInput as error:
        say(f"runs.status: {error}")
        return 2
    return tell("\n".join([*lines, ", ".join(f"{n} {state}" for state, n in states.items())]))


def state_of(flags: list[str]) -> tuple[str, str]:
    """Return a job's state, and a word on it that begins with its folder. Raises BadInput for flags that no job can have."""
    try:
        config = parse(flags)
    except BadInput as error:
        if error.flag != "load_model_from":  # its base may come
            raise
        return "missing", str(error).partition(";")[0]
    folder = ROOT / config.folder
    shown = os.path.relpath(folder)
    try:
        return _state_in(folder, shown, config)
    except OSError as error:
        return "unreadable", f"{shown}: {os.path.basename(error.filename or '')}: {error.strerror or error}"
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return "unreadable", f"{shown}: progress.json or summary.json is damaged"


def _state_in(folder: Path, shown: str, config: Config) -> tuple[str, str]:
    """Return a state and a word on it, of the job in its folder. Raises OSError, and what a damaged JSON file leads to."""
    try:
        finished = is_finished(folder, config.defining_values(), defaults=unrecorded(config))
    except FolderTaken as error:
        return "refused", f"{shown}: {str(error).partition(';')[0]}"
    except RecursionError:
        return "refused", f"{shown}: holds a config.json that is not of a job"
    if finished:
        json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        return "done", shown
    try:
        progress = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        progress = {}
    where = f"{shown}: {progress.get('phase', 'beginning')}"
    if progress.get("n_steps"):
        where += f", step {progress['step']} of {progress['n_steps']}"
    held, holder = lock.look(folder)
    if held != "free":
        left, heartbeat = progress.get("seconds_left"), progress.get("heartbeat")
        where += f", {timedelta(seconds=left)} left" if left else ""
        where += f", last heartbeat {timedelta(seconds=max(0, round(time.time() - heartbeat)))} ago" if heartbeat else ""
        return ("running", where) if held == "held" else ("unknown", f"{where}; {holding.describe(holder)} may run it")
    if progress.get("last_error"):
        return "failed", f"{where}: {progress['last_error']}"
    return ("stopped", where) if progress else ("missing", shown)


if __name__ == "__main__":
    sys.exit(command(main, "runs.status"))
