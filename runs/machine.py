"""What a job runs on: the device, and what is recorded of it."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from runs.folder import recorded_config
from runs.terminal import say

if TYPE_CHECKING:
    import torch

    from flags.config import Config


def device_of(config: Config) -> torch.device:
    """A GPU if one is asked for and there, else the CPU, with its threads set."""
    import torch

    if config.use_cuda and not torch.cuda.is_available():
        say("main.py: --use_cuda: there is no GPU here; going on with the CPU")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(config.threads or cores)
    return torch.device("cuda" if config.use_cuda and torch.cuda.is_available() else "cpu")


def environment(device: torch.device) -> dict:
    """What is recorded beside the flags."""
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
    """Say so if an unfinished job goes on where the last bits of its numbers may come out otherwise."""
    there = recorded_config(folder).get("environment", here)
    other = [
        f"{key} {here[key]} instead of {there.get(key)}" for key in ("device", "threads", "torch") if here[key] != there.get(key)
    ]
    if other:
        say(f"main.py: going on with {', '.join(other)}: numbers may differ in their last digits")
