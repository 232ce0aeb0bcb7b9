"""The registry of tasks: a plain entry each, so that flags, tables and scripts know them without importing one.

A task from outside is named by its module, PACKAGE.MODULE, which has its entry as ENTRY.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tasks import category_entry, grid_entry
from tasks.entry import ROTATIONS, STEP_CURRICULA, Entry, Flags, shown

if TYPE_CHECKING:
    from flags.config import Config
    from tasks.task import Task

__all__ = [
    "ASKED", "DEFAULT", "ROTATIONS", "STEP_CURRICULA", "TASKS", "NoTask", "chance", "check_task", "class_of", "curricula",
    "entry_of", "fault_of_curriculum", "fault_of_task", "make_task",
]  # fmt: skip

TASKS: dict[str, Entry] = {"grid": grid_entry.ENTRY, "category": category_entry.ENTRY}
DEFAULT = "grid"
ASKED = "grid"  # language models are asked about this one alone


_outside: dict[str, Entry] = {}  # by module: those that were asked for


class NoTask(ValueError):
    """Raised for a name that leads to no task; says why."""


def entry_of(name: str) -> Entry:
    """Return a task's entry; of an outside task from its module, which is imported. Raises NoTask."""
    if name in TASKS:
        return TASKS[name]
    if name not in _outside:
        _outside[name] = _imported(name)
    return _outside[name]


def _imported(name: str) -> Entry:
    if "." not in name:
        raise NoTask(f"must be one of {', '.join(TASKS)}, or a module, PACKAGE.MODULE")
    try:
        entry = getattr(importlib.import_module(name), "ENTRY", None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):  # the module lacks another one
            raise NoTask(f"cannot be imported: {_in_a_line(error)}") from None
        raise NoTask(f"module {error.name} does not exist; a task is one of {', '.join(TASKS)}, or PACKAGE.MODULE") from None
    except Exception as error:  # whatever its author left there
        raise NoTask(f"cannot be imported: {_in_a_line(error)}") from error
    if not isinstance(entry, Entry):
        raise NoTask("has no ENTRY that is a tasks.entry.Entry (see docs/extend.md)")
    if known := [task for task, of_task in TASKS.items() if of_task is entry]:
        raise NoTask(f"is the task {known[0]}; pass --task {known[0]}")
    return entry


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def fault_of_task(name: str) -> str | None:
    """Return why a name that is none of TASKS leads to no task; None if it does, and an empty text for a word that is no module."""
    if "." not in name:
        return ""
    try:
        entry_of(name)
    except NoTask as error:
        return str(error)
    return None


def fault_of_curriculum(name: str) -> str | None:
    """Return None for a context curriculum of a task that was asked for; else an empty text."""
    return None if name in curricula() else ""


def curricula() -> tuple[str, ...]:
    """Return the context curricula of all tasks, in the order in which people are shown them. Those of outside tasks that were
    asked for stand last."""
    return shown(tuple(name for entry in (*TASKS.values(), *_outside.values()) for name in entry.curricula))


def chance(flags: Flags, rotation: str = "unrotated") -> float:
    """Return the chance level: the accuracy of a uniform guess among the answers of a rotation, in a job with these flags."""
    return entry_of(flags["task"]).chance(flags, rotation)


def class_of(name: str) -> type[Task]:
    """Return a task's class, imported. Raises NoTask if it is not where the entry says."""
    made_by = entry_of(name).made_by
    module, _, made = made_by.partition(":")
    try:
        return getattr(importlib.import_module(module), made)
    except (ImportError, AttributeError) as error:
        raise NoTask(f"its ENTRY is made by {made_by}, which cannot be imported: {_in_a_line(error)}") from error


def make_task(config: Config) -> Task:
    """Return the task that `--task` names, with the options of its own."""
    return class_of(config.task)(config)


def check_task(config: Config) -> None:
    """Raise BadInput for flags that the task cannot work with."""
    from flags.config import BadInput  # which reads this registry
    from tasks.task import check_entry, check_queries

    known = entry_of(config.task).curricula
    if config.pt_cond is not None and config.pt_cond not in known:
        raise BadInput("pt_cond", config.pt_cond, f"the {config.task} task has {', '.join(known)}")
    try:
        made_by = class_of(config.task)
    except NoTask as error:
        raise BadInput("task", config.task, str(error)) from None
    made_by.check(config)
    task = made_by(config)
    check_entry(config, entry_of(config.task), task)
    if not config.load_data_from:
        check_queries(config, task.n_items)
