"""Where the jobs of a sweep are: a line for each job that the scripts expect.

python -m runs.status [NAME ...]

NAME: scripts to look at (all). The scripts' own variables say which sweep is meant: PRESET, SEEDS, SEEDS_PER_JOB, BASE.
States: done; running (step of steps, time left, age of the last heartbeat); unknown (held from another machine, or without locks:
the heartbeat's age tells whether it runs); stopped (killed or waiting in a queue; the same job goes on); failed (its last error);
missing (not begun).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from flags.command_line import parse
from flags.config import BadInput
from runs import lock

ROOT = Path(__file__).resolve().parent.parent
SHARED = ("common", "submit", "site", "site.example")  # no sweeps


def main(names: list[str]) -> int:
    """Print a line for each expected job of the scripts named, of all if none is; returns the exit status."""
    known = [path.stem for path in sorted((ROOT / "scripts").glob("*.sh")) if path.stem not in SHARED]
    for name in names:
        if name not in known:
            print(f"runs.status: {name}: there is no such script; there are {', '.join(known)}", file=sys.stderr)
            return 2
    states: Counter[str] = Counter()
    lines = []
    for name in names or known:
        for element, flags in expected(name):
            state, line = state_of(flags)
            states[state] += 1
            lines.append(f"{element:<24} {state:<8} {line}")
    print("\n".join([*lines, ", ".join(f"{n} {state}" for state, n in states.items())]))
    return 0


def expected(name: str) -> list[tuple[str, list[str]]]:
    """The jobs that a script expects: their names, and their flags for main.py."""
    command = ["bash", f"scripts/{name}.sh", "--list"]
    printed = subprocess.run(command, cwd=ROOT, env=_without_slurm(), stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout
    return [(element, flags.split()) for element, _, flags in (line.partition(": ") for line in printed.splitlines())]


def state_of(flags: list[str]) -> tuple[str, str]:
    """A job's state, and a word on it that begins with its folder."""
    try:
        folder = ROOT / parse(flags).out_dir
    except BadInput as error:
        return "missing", str(error).partition(";")[0]
    shown = os.path.relpath(folder)
    try:
        progress = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        progress = {}
    if (folder / "summary.json").exists():
        return "done", shown
    where = f"{shown}: {progress.get('phase', 'beginning')}"
    if progress.get("n_steps"):
        where += f", step {progress['step']} of {progress['n_steps']}"
    held, holder = lock.look(folder)
    if held != "free":
        left, heartbeat = progress.get("seconds_left"), progress.get("heartbeat")
        where += f", {timedelta(seconds=left)} left" if left else ""
        where += f", last heartbeat {timedelta(seconds=max(0, round(time.time() - heartbeat)))} ago" if heartbeat else ""
        return ("running", where) if held == "held" else ("unknown", f"{where}; {lock.describe(holder)} may run it")
    if progress.get("last_error"):
        return "failed", f"{where}: {progress['last_error']}"
    return ("stopped", where) if progress else ("missing", shown)


def _without_slurm() -> dict[str, str]:
    """The environment, as a script has it outside a job."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
