"""Whether a job came out as it should: by hand, from the published seeds."""

from pathlib import Path

import pandas as pd
import pytest

from analysis.jobs.job import Job
from analysis.measures import usual
from benchmarks import usual as make_usual
from tests.conftest import configured
from tests.program import ROOT

FEW = {"init": "metalearned", "rotation": "unrotated"}


def job(flags: str) -> Job:
    config = configured(flags)
    return Job(Path("x"), config.defining_values(), config.execution_values(), finished=True)


def found(interleaved: float, blocked: float, after: float) -> dict:
    few_shot = [
        {**FEW, "context_curriculum": "blocked", "accuracy": blocked},
        {**FEW, "context_curriculum": "interleaved", "accuracy": interleaved},
        {**FEW, "init": "random", "context_curriculum": "blocked", "accuracy": 0.0},  # none is published
    ]
    same = {"init": "random", "rotation": "rotated", "context_curriculum": "blocked", "accuracy": after}
    other = {**same, "step_curriculum": "interleaved", "accuracy": 0.1}  # its context has another order
    return {"few_shot": few_shot, "after_training": [{**same, "step_curriculum": "blocked"}, other]}


def test_a_job_as_expected_and_one_that_is_off():
    """Published few-shot seeds: interleaved .300 to 1.000, blocked .997 to 1.000; IWL only, rotated, blocked: .5 throughout."""
    paper = job("--preset paper --task category --recipe robust")
    rows = usual.beside(paper, found(0.31, 0.96, 0.5))
    assert [(row["measure"], row["curriculum"], round(row["low"], 3), row["high"], row["off"]) for row in rows] == [
        ("few_shot", "blocked", 0.997, 1.0, 0.0),
        ("few_shot", "interleaved", 0.3, 1.0, 0.0),
        ("after", "blocked", 0.5, 0.5, 0.0),
    ]
    assert "As expected? as expected (beside the range of the published seeds, ± 0.05)" in usual.table(rows)
    rows = usual.beside(paper, found(0.2, 0.9, 0.62))
    assert [row["off"] for row in rows] == pytest.approx([0.096875, 0.1, 0.12])
    text = usual.table(rows)
    assert "As expected? OFF in 3 of 3 numbers" in text
    assert "0.900   0.997 to 1.000  off by 0.097" in text


@pytest.mark.parametrize(
    "flags",
    ["--preset demo --n_layers 3", "--preset demo --n_steps_per_block 60", "--preset demo --recipe published",
     "--preset demo --finetune_lr 0.001", "--preset laptop --task category", "--preset paper --task category --n_heads 4",
     "--preset paper --task category --n_steps_per_block 100", "--preset paper --task category --ablation mask"],
)  # fmt: skip
def test_nothing_comparable_is_known_of_other_sizes(flags):
    rows = usual.beside(job(flags), found(0.2, 0.9, 0.6))
    assert rows == []
    assert "Nothing comparable is known" in usual.table(rows)


def test_models_metalearned_on_another_condition_have_no_published_numbers_but_random_ones_do():
    rows = usual.beside(job("--preset paper --task category --pt_cond interleaved"), found(0.2, 0.9, 0.6))
    assert [(row["init"], row["measure"]) for row in rows] == [("random", "after")]


def test_our_seeds_are_those_of_the_samples():
    """Whoever makes the samples anew writes the table anew (benchmarks/usual.py)."""
    folders = sorted((ROOT / "results/sample").glob("demo_*_icl_iwl/unrotated_blocked/seed_*"))
    pd.testing.assert_frame_equal(make_usual.rows(folders), pd.read_csv(usual.OURS))


def test_no_table_is_made_of_doubles_or_of_nothing(tmp_path):
    (folder, *_) = sorted((ROOT / "results/sample").glob("demo_*_icl_iwl/unrotated_blocked/seed_*"))
    for folders, why in (
        ([folder, folder], "a seed is in two jobs"),
        ([], "no finished job"),
        ([tmp_path / "x"], "does not exist"),
    ):
        with pytest.raises(SystemExit, match=why):
            make_usual.rows(folders)


@pytest.mark.parametrize("task", sorted(pd.read_csv(usual.OURS).task.unique()))
def test_a_job_of_the_demo_stands_beside_our_seeds_of_it(task):
    """Computed again from the table."""
    ours = pd.read_csv(usual.OURS)
    ours = ours[(ours.preset == "demo") & (ours.task == task)]
    conditions = ["measure", "init", "rotation", "curriculum"]
    assert ours.seed.nunique() >= 3
    assert (ours.groupby(conditions).seed.nunique() == ours.seed.nunique()).all()
    assert not ours.duplicated([*conditions, "seed"]).any()
    few = ours[(ours.measure == "few_shot") & (ours.init == "metalearned") & (ours.rotation == "unrotated")]
    low, high = (getattr(few.groupby("curriculum").accuracy, end)() for end in ("min", "max"))
    demo = job(f"--preset demo --task {task} --seed 17 --n_runs 2")
    numbers = {**found(high.interleaved + 0.04, low.blocked - 0.06, 0.5), "after_training": []}
    rows = usual.beside(demo, numbers)
    metalearned = [row for row in rows if row["init"] == "metalearned"]
    assert [(row["low"], row["high"]) for row in metalearned] == [(low[name], high[name]) for name in ("blocked", "interleaved")]
    assert [row["off"] for row in metalearned] == pytest.approx([0.06, 0.0])
    text = usual.table(metalearned)
    assert f"OFF in 1 of 2 numbers (beside the range of {ours.seed.nunique()} seeds of this preset, ± 0.05)" in text
