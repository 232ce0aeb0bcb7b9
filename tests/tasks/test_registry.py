"""The registry of tasks: plain entries that say the same as the classes."""

import subprocess
import sys

import pytest

import tasks
from tasks.entry import Entry
from tests.conftest import TINY, configured
from tests.program import ROOT


def test_reading_the_registry_imports_neither_numpy_nor_torch():
    code = "import sys, tasks, flags.command_line; print({'numpy', 'torch', 'tasks.grid', 'tasks.category'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize("flags", [*TINY.values(), f"{TINY['category']} --n_rel_dims 2 --n_labels 4 --n_labels_per_task 4"])
def test_an_entry_says_what_its_class_is(flags):
    config = configured(flags)
    entry, task = tasks.entry_of(config.task), tasks.make_task(config)
    assert isinstance(task, tasks.class_of(config.task))
    assert (entry.curricula, entry.n_groups(vars(config)), entry.n_items(vars(config))) == (
        task.curricula,
        task.n_groups,
        task.n_items,
    )


def test_chance_on_the_grid_is_one_of_its_places():
    assert tasks.chance({"task": "grid"}) == 1 / 25
    assert tasks.chance({"task": "grid"}, "rotated") == 1 / 81  # 9 × 9 coordinates


def test_the_step_curricula_are_shown_first():
    assert tasks.TASKS["grid"].shown_curricula == ("blocked", "interleaved", "aligned", "misaligned")
    assert tasks.curricula() == ("blocked", "interleaved", "aligned", "misaligned")


@pytest.mark.parametrize("curricula", [("blocked",), ("blocked", "interleaved", "blocked")])
def test_an_entry_has_both_step_curricula_once(curricula):
    grid = tasks.TASKS["grid"]
    with pytest.raises(ValueError, match="curricul"):
        Entry(grid.made_by, curricula, grid.n_groups, grid.n_items, grid.chance)
