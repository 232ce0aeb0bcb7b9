"""The elements of a sweep, as its script lists them: bash scripts/NAME.sh --list

python -m runs.sweep NAME    check the flags of a list on standard input; a wrong one is one line on stderr, and status 2
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from flags.checks import check
from flags.command_line import parse
from flags.config import BadInput
from tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent


class NoList(Exception):
    """A script that could not list its elements, and has printed the reason."""


def names() -> list[str]:
    """Return the names of the sweeps that have a script."""
    of_tasks = sorted(entry.script for entry in TASKS.values() if entry.script)
    return [path.stem for task in of_tasks for path in sorted((ROOT / "scripts").glob(f"{task}_*.sh"))]


def expected(name: str, passed: list[str] | None = None) -> list[tuple[str, list[str]]]:
    """Return the jobs of a sweep with these flags `passed` on: their names, and their flags for main.py. Raises NoList."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}  # as outside a job
    environment.setdefault("PYTHON", sys.executable)
    command = ["bash", f"scripts/{name}.sh", "--list", *(passed or [])]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    if done.returncode:
        raise NoList
    return read(name, done.stdout)


def read(name: str, listed: bytes) -> list[tuple[str, list[str]]]:
    """Return the elements of a list, and the flags of each. Lines that list no element are left out: BASH_ENV may print some."""
    lines = listed.decode("utf-8", "surrogateescape").split("\n")
    found = [re.match(rf"({re.escape(name)} \d+): (.*)", line, re.DOTALL) for line in lines]
    return [(match[1], shlex.split(match[2])) for match in found if match]


def main(name: str) -> int:
    """Check the elements of the list on standard input; returns the exit status."""
    folders: dict[str | None, str] = {}  # by --out_dir
    try:
        for element, flags in read(name, sys.stdin.buffer.read()):
            config = parse(flags)
            check(config)
            if config.out_dir in folders:
                raise BadInput("out_dir", config.out_dir, f"{folders[config.out_dir]} and {element} would share this folder")
            folders[config.out_dir] = element
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
