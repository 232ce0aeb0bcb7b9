"""Machine of a job: the device, and what is recorded of it."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from runs.folder import recorded_config
from runs.terminal import say

if TYPE_CHECKING:
    import torch

    from flags.config import Config


def device_of(config: Config) -> torch.device:
    """Return a GPU if one is asked for and present, else the CPU, with its threads set."""
    import torch

    if config.use_cuda and not torch.cuda.is_available():
        say("main.py: --use_cuda: this machine has no GPU; using the CPU")
    torch.set_num_threads(config.threads or usual_threads())
    return torch.device("cuda" if config.use_cuda and torch.cuda.is_available() else "cpu")


def usual_threads(root: Path = Path("/")) -> int:
    """Return a job's CPU threads without --threads: OMP_NUM_THREADS if it is a number.

    Else they are the cores that this process may use, within its cgroup's CPU quota. `root` holds proc and sys.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # a list has a number for each level of nesting
    if wanted.isdecimal() and int(wanted) > 0:
        return min(int(wanted), 1024)  # as many as --threads takes
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """The CPU quotas, in cores, of this process's cgroup and of those that it is in, of version 1 and 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    mounts = root / "sys/fs/cgroup"
    for line in lines:
        controllers, _, place = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        tops = [mounts, mounts / "unified"] if not controllers else [mounts / controllers, mounts / "cpu"]
        cgroup = PurePosixPath(place.strip("/"))  # within a container it may be the host's: then only its top is here
        for folder in (top / above for top in tops for above in (cgroup, *cgroup.parents)):
            with contextlib.suppress(OSError, ValueError):  # no such file, or `max`: no quota
                if controllers:
                    quota, period = (
                        int((folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8")) for name in ("quota", "period")
                    )
                else:
                    quota, period = map(int, (folder / "cpu.max").read_text(encoding="utf-8").split())
                if quota > 0 and period > 0:  # of version 1, -1: no quota
                    yield quota / period


def environment(device: torch.device) -> dict:
    """Return what is recorded beside the flags: commit, versions, device and threads."""
    import numpy
    import torch
    import transformers

    return {
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
    }


def commit() -> str | None:
    """The commit of the program, with -dirty if files were changed; None without git or outside a checkout of it."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=here,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError:
        return None
    return git.stdout.strip() or None


def note_other_environment(folder: Path, here: dict) -> None:
    """Warn if an unfinished job resumes where its numbers may differ in their last digits."""
    there = recorded_config(folder).get("environment", here)
    other = [
        f"{key} {here[key]} instead of {there.get(key)}" for key in ("device", "threads", "torch") if here[key] != there.get(key)
    ]
    if other:
        say(f"main.py: resuming with {', '.join(other)}: numbers may differ in their last digits")
