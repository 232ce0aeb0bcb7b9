"""The registry of tasks: a plain entry each, so that flags, tables and scripts know them without importing one."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tasks import category_entry, grid_entry
from tasks.entry import STEP_CURRICULA, Entry, Flags, shown

if TYPE_CHECKING:
    from flags.config import Config
    from tasks.task import Task

__all__ = ["ASKED", "DEFAULT", "STEP_CURRICULA", "TASKS", "chance", "check_task", "class_of", "curricula", "entry_of", "make_task"]

TASKS: dict[str, Entry] = {"grid": grid_entry.ENTRY, "category": category_entry.ENTRY}
DEFAULT = "grid"
ASKED = "grid"  # language models are asked about this one alone


def entry_of(name: str) -> Entry:
    """Return a task's entry. Raises KeyError if there is none."""
    return TASKS[name]


def curricula() -> tuple[str, ...]:
    """Return the context curricula of all tasks, in the order in which people are shown them."""
    return shown(tuple(name for entry in TASKS.values() for name in entry.curricula))


def chance(flags: Flags, rotation: str = "unrotated") -> float:
    """Return the accuracy of who knows the answers of a rotation, but not which belongs to what, in a job with these flags."""
    return entry_of(flags["task"]).chance(flags, rotation)


def class_of(name: str) -> type[Task]:
    """Return a task's class, imported."""
    module, _, made = entry_of(name).made_by.partition(":")
    return getattr(importlib.import_module(module), made)


def make_task(config: Config) -> Task:
    """Return the task that `--task` names, with the options of its own."""
    return class_of(config.task)(config)


def check_task(config: Config) -> None:
    """Raise BadInput for flags that the task cannot work with."""
    from flags.config import BadInput  # which reads this registry
    from tasks.task import check_queries

    known = entry_of(config.task).curricula
    if config.pt_cond is not None and config.pt_cond not in known:
        raise BadInput("pt_cond", config.pt_cond, f"the {config.task} task has {', '.join(known)}")
    class_of(config.task).check(config)
    if not config.load_data_from:
        check_queries(config, make_task(config).n_items)
