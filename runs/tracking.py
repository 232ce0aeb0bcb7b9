"""Trackers that people watch runs with, through accelerate. Optional: nothing depends on what they are sent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from runs.terminal import say

if TYPE_CHECKING:
    from accelerate import Accelerator


def is_installed(name: str) -> bool:
    """Return True if a module of this name can be imported."""
    return find_spec(name) is not None


class Tracker:
    """Sends what a job measures to tensorboard (files in the job's folder) or wandb. One that fails is left alone from then on,
    after a warning: the job continues without it."""

    def __init__(self, name: str, folder: Path, flags: dict):
        self._name = name
        self._accelerator: Accelerator | None = None  # none any more once it has failed
        with self._may_fail():
            from accelerate import Accelerator

            self._accelerator = Accelerator(log_with=name, project_dir=folder, cpu=True)
            simple = {flag: value if isinstance(value, int | float | str | bool) else str(value) for flag, value in flags.items()}
            self._accelerator.init_trackers("tracking", config=simple)

    def log(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Send values measured at a step of a phase."""
        with self._may_fail():
            if self._accelerator is not None:
                self._accelerator.log({f"{phase}/{what}": value for what, value in values.items()}, step=step)

    def close(self) -> None:
        """End the run; a failure is a warning."""
        with self._may_fail():
            if self._accelerator is not None:
                self._accelerator.end_training()

    @contextlib.contextmanager
    def _may_fail(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a tracker's library raises
            self._accelerator = None
            why = str(error).strip().partition("\n")[0] or type(error).__name__
            say(f"main.py: --log_with {self._name} failed ({why}); the job continues without it")
