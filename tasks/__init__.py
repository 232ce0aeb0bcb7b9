"""The tasks by name, each with a room of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flags.config import BadInput
from tasks.category import CategoryTask
from tasks.grid import GridTask
from tasks.task import Task, check_queries

if TYPE_CHECKING:
    from flags.config import Config

TASKS: dict[str, type[GridTask] | type[CategoryTask]] = {"grid": GridTask, "category": CategoryTask}


def make_task(config: Config) -> Task:
    """The task that `--task` names, with the options of its own."""
    return TASKS[config.task](config)


def check_task(config: Config) -> None:
    """Raise BadInput for flags that the task cannot work with."""
    task = TASKS[config.task]
    if config.pt_cond is not None and config.pt_cond not in task.curricula:
        raise BadInput("pt_cond", config.pt_cond, f"the {config.task} task has {', '.join(task.curricula)}")
    task.check(config)
    if not config.load_data_from:
        check_queries(config, make_task(config).n_items)
