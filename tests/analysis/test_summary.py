"""A job's headline numbers, on tables of a few lines."""

import json
import subprocess
import sys

import pytest

from analysis.jobs.tables import COLUMNS
from analysis.measures.summary import summarise
from tests.program import ROOT

VALIDATION = """0,1,0,0,novel,2,10,0.5,1
0,1,0,0,study_A,0,5,0.5,1
0,1,0,0,study_B,4,4,0.5,1
0,1,10,1,novel,6,10,0.5,1
0,1,10,1,study_A,5,5,0.5,1
0,1,10,1,study_B,1,4,0.5,1
0,1,20,2,novel,9,10,0.5,1
0,1,20,2,study_A,3,5,0.5,1
0,1,20,2,study_B,4,4,0.5,1
0,1,30,3,novel,8,10,0.5,0
0,1,30,3,study_A,5,5,0.5,0
0,1,30,3,study_B,4,4,0.5,0
"""


def job(folder, validation=VALIDATION, tests="", **flags):
    """The folder of a job with these lines in its tables."""
    for name, lines in (("pretrain_accuracy", validation), ("finetune_accuracy", tests)):
        (folder / f"{name}.csv").write_text(",".join(COLUMNS[name]) + "\n" + lines)
    (folder / "config.json").write_text(json.dumps({"flags": {"task": "grid", "n_epochs": 2, **flags}}))
    return folder


def test_the_kept_model_is_the_one_of_the_last_new_best(tmp_path):
    """Three validations of a seed found a new best; the kept weights are those of step 20, the second epoch's end."""
    found = summarise(job(tmp_path))["metalearning"]
    steps = {"seed": 0, "step": 20, "n_steps": 30, "start": 1, "n_starts": 2, "stages": [30]}
    assert found == [{**steps, "novel": 0.9, "study": pytest.approx(7 / 9)}]


def test_the_start_that_the_kept_model_is_of(tmp_path):
    """With two epochs a start, the third epoch is of the second start."""
    lines = VALIDATION.replace("novel,8,10,0.5,0", "novel,10,10,0.5,1").replace("0.5,0\n", "0.5,1\n")
    (found,) = summarise(job(tmp_path, lines))["metalearning"]
    assert (found["step"], found["start"], found["n_starts"], found["novel"]) == (30, 2, 2, 1.0)


def test_after_training_is_the_last_step_without_ablation_and_each_group_counts_alike(tmp_path):
    condition = "0,metalearned,unrotated,blocked,blocked,0"
    lines = [f"{condition},,,0,0.0,study_A,5,5", f"{condition},,,0,0.0,novel,12,16", f"{condition},,,0,0.5,novel,0,16"]
    for step, level, a, b, novel in ((10, "0.0", 5, 4, 16), (20, "0.0", 1, 4, 8), (20, "0.5", 5, 0, 16)):
        counts = (("study_A", a, 5), ("study_B", b, 4), ("novel", novel, 16))
        lines += [f"{condition},0,A,{step},{level},{subset},{right},{n}" for subset, right, n in counts]
    found = summarise(job(tmp_path, tests="\n".join(lines) + "\n"))
    key = {"init": "metalearned", "rotation": "unrotated", "context_curriculum": "blocked"}
    assert found["few_shot"] == [{**key, "accuracy": 0.75}]
    groups = {"study_A": 0.2, "study_B": 1.0, "accuracy": pytest.approx(0.6)}  # and not 5 of 9
    (last,) = found["after_training"]
    assert {name: value for name, value in last.items() if value == value} == {**key, "step_curriculum": "blocked", **groups}
    assert found["chance"] == 0.04


def test_a_jobs_picture_needs_no_statistics_library():
    """They take seconds to load, at the end of every job."""
    code = "import sys, analysis.conclude, analysis.report.plots.summary; print({'scipy', 'statsmodels'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
