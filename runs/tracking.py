"""Trackers that people watch runs with, through accelerate. Optional: nothing depends on what they are sent."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def is_installed(name: str) -> bool:
    return find_spec(name) is not None


class Tracker:
    """Sends what a job measures to tensorboard (files in the job's folder) or wandb."""

    def __init__(self, name: str, folder: Path, flags: dict):
        from accelerate import Accelerator

        self._accelerator = Accelerator(log_with=name, project_dir=folder, cpu=True)
        simple = {flag: value if isinstance(value, int | float | str | bool) else str(value) for flag, value in flags.items()}
        self._accelerator.init_trackers("tracking", config=simple)

    def log(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Values measured at a step of a phase."""
        self._accelerator.log({f"{phase}/{what}": value for what, value in values.items()}, step=step)

    def close(self) -> None:
        self._accelerator.end_training()
