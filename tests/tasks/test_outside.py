"""A task from outside, by its module: what is wrong with it is one line."""

import json
import sys
from pathlib import Path

import pytest

import tasks
from analysis.jobs.load import load
from flags.config import BadInput
from tests.conftest import TINY, configured
from tests.program import run_main

# A module whose task is the category task in other words, with a context curriculum of its own.
WHOLE = """
import dataclasses
from tasks import TASKS
from tasks.category import CategoryTask

class Task(CategoryTask):
    curricula = ("blocked", "interleaved", "{curriculum}")

ENTRY = dataclasses.replace(TASKS["category"], made_by=__name__ + ":Task", curricula=Task.curricula, script=None)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder of modules that can be imported; what was imported of it is forgotten afterwards."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith("elsewhere"):
            del sys.modules[name]


def written(package: Path, text: str) -> str:
    (package / "odd.py").write_text(text, encoding="utf-8")
    return "elsewhere.odd"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no ENTRY that is a tasks.entry.Entry (see docs/extend.md)"),
        ("ENTRY = {}", "has no ENTRY that is a tasks.entry.Entry (see docs/extend.md)"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("def f(:", "cannot be imported: SyntaxError: invalid syntax"),
        ("import no_such_module", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("from tasks.grid_entry import ENTRY", "is the task grid; pass --task grid"),
        (
            f"{WHOLE}\nENTRY = dataclasses.replace(ENTRY, curricula=('blocked',))",
            "cannot be imported: ValueError: a task's context",
        ),
    ],
)
def test_a_module_without_a_task_is_one_line(package, text, message):
    name = written(package, text)
    with pytest.raises(BadInput) as error:
        configured(f"--task {name}")
    assert str(error.value).startswith(f"--task {name}: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ("defaults={'n_symbol': 4}", "its ENTRY has a value for n_symbol, which is no flag"),
        ("defaults={'n_symbols': 'four'}", "its ENTRY has 'four' for --n_symbols"),
        ("made_by='elsewhere.odd:Missing'", "its ENTRY is made by elsewhere.odd:Missing, which cannot be imported: AttributeError"),
        ("n_items=lambda flags: 7", "its ENTRY has n_items 7, its class 64"),
        ("stages={'robust': ({'n_layers': 2},)}", "its ENTRY has a wrong stage of the robust recipe: {'n_layers': 2}"),
    ],
)
def test_an_entry_that_cannot_work_is_one_line(package, replaced, message):
    name = written(package, f"{WHOLE}\nENTRY = dataclasses.replace(ENTRY, {replaced})".replace("{curriculum}", "spiral"))
    with pytest.raises(BadInput) as error:
        tasks.check_task(configured(f"--task {name} --recipe robust"))
    assert str(error.value).startswith(f"--task {name}: {message}")


def test_a_missing_module_is_one_line_of_the_program():
    done = run_main("--task", "no_such.module", "--dry_run")
    assert done.returncode == 2
    assert done.stderr == (
        "main.py: error: --task no_such.module: module no_such does not exist; a task is one of grid, category, or PACKAGE.MODULE\n"
    )


def test_a_flag_that_it_does_not_read_is_refused(package):
    text = WHOLE.replace("script=None", "script=None, flags=('n_task_dims',)").replace("{curriculum}", "spiral")
    name = written(package, text)
    tasks.check_task(configured(f"--task {name} --n_task_dims 50"))
    with pytest.raises(BadInput, match=r"--n_labels 3: the elsewhere.odd task does not read it; leave the flag out"):
        tasks.check_task(configured(f"--task {name} --n_labels 3"))


def test_a_curriculum_of_its_own_is_known_wherever_the_flag_stands(package):
    name = written(package, WHOLE.replace("{curriculum}", "spiral"))
    assert configured(f"--pt_cond spiral --task {name}").pt_cond == "spiral"
    assert tasks.curricula() == ("blocked", "interleaved", "aligned", "misaligned", "spiral")
    with pytest.raises(BadInput, match="the category task has blocked, interleaved"):
        tasks.check_task(configured("--task category --pt_cond spiral"))


def test_a_job_whose_task_is_gone_is_left_out_and_named(package):
    config = configured(TINY["category"])
    recorded = {"flags": config.defining_values() | {"task": "elsewhere.gone"}, "execution": config.execution_values()}
    (package / "config.json").write_text(json.dumps(recorded), encoding="utf-8")
    sweep = load(package)
    assert sweep.jobs == sweep.unfinished == []
    assert "task is 'elsewhere.gone' (module elsewhere.gone does not exist" in sweep.bad[package]
