"""Trade-off experiments from a base to the picture."""

import math
import os
import signal

import pandas as pd
import pytest

from analysis.measures import tradeoff
from analysis.statistics.effects import of_values
from tests.program import Program, run_main
from tests.test_main import contents, wait_for

SMALLER = "--preset demo --n_blocks 2 --n_steps_per_block 7 --finetune_test_every 5 --test_repeats 2 --threads 1"


def flags_of(experiment, base, folder):
    return [*SMALLER.split(), "--experiment", experiment, "--load_model_from", str(base), "--n_runs", "2", "--out_dir", str(folder)]


@pytest.fixture(scope="module")
def swept(finished_job, tmp_path_factory):
    """The folder of a trade-off experiment at all of its levels: mask on the grid, noise on the category task."""
    task, base, _ = finished_job
    folder = tmp_path_factory.mktemp("sweep") / task
    done = run_main(*flags_of({"grid": "tradeoff_mask", "category": "tradeoff_noise"}[task], base, folder))
    assert done.returncode == 0, done.stderr
    return task, base, folder, done.stdout


def jobs_of(task, folder):
    seeds = next((folder / "level_0").iterdir()).name
    levels = {"grid": ("0", "0.25", "0.5", "0.75", "1"), "category": ("0", "2", "4", "6", "8")}[task]
    return [folder / f"level_{level}" / seeds for level in levels]


def test_a_job_for_every_level_and_the_picture(swept):
    task, _, folder, printed = swept
    assert all((job / "summary.json").exists() for job in jobs_of(task, folder))
    assert (folder / "tradeoff.png").stat().st_size > 10_000
    assert printed.count("Few-shot:") == 5
    assert "generalisation: few-shot accuracy on novel items, by test level" in printed


def test_the_measures_counted_again(swept):
    task, _, folder, _ = swept
    jobs = jobs_of(task, folder)
    found = tradeoff.read(jobs)
    highest = {"grid": 1.0, "category": 8.0}[task]
    for job, level in zip(jobs, [highest * i / 4 for i in range(5)], strict=True):
        rows = pd.read_csv(job / "finetune_accuracy.csv")
        assert set(rows.test_level) == {highest * i / 4 for i in range(5)}
        assert set(rows.seed) == {0, 1}
        rows = rows[(rows.step_curriculum == "interleaved") & (rows.context_curriculum == "interleaved")]
        last = rows[(rows.step == 14) & (rows.test_level == highest)]
        accuracy = last.n_correct / last.n_queries
        groups = [accuracy[last.subset == f"study_{group}"].mean() for group in "AB"]
        here = found.retention[found.retention.training_level == level]
        assert len(here) == 4  # two seeds, two episodes
        assert here.value.mean() == pytest.approx(sum(groups) / 2)
        first = rows[(rows.step == 0) & (rows.subset == "novel") & (rows.test_level == level)]
        generalisation = found.generalisation[found.generalisation.test_level == level]
        assert generalisation.value.mean() == pytest.approx(first.n_correct.sum() / first.n_queries.sum())
        learned = rows[(rows.test_level == level) & (rows.step == 10) & (rows.subset == "study_B")]
        curve = found.learning[(found.learning.training_level == level) & (found.learning.step == 10)]
        other = rows[(rows.test_level == level) & (rows.step == 10) & (rows.subset == "study_A")]
        means = [(part.n_correct / part.n_queries).mean() for part in (learned, other)]
        assert curve.value.mean() == pytest.approx(sum(means) / 2)
        losses = pd.read_csv(job / "finetune_loss.csv").query("step_curriculum == 'interleaved' and step == 10")
        errors = found.errors[(found.errors.training_level == level) & (found.errors.step == 10)]
        assert errors.value.mean() == pytest.approx(losses.loss.mean())


def test_the_same_command_again_prints_the_same_at_once(swept):
    task, base, folder, printed = swept
    before = {job: contents(job) for job in jobs_of(task, folder)}
    again = run_main(*flags_of({"grid": "tradeoff_mask", "category": "tradeoff_noise"}[task], base, folder))
    assert (again.returncode, again.stdout) == (0, printed)
    assert {job: contents(job) for job in jobs_of(task, folder)} == before


def test_a_kill_in_an_ablated_job_leaves_the_same_bytes(swept, tmp_path):
    task, base, folder, _ = swept
    experiment, level = {"grid": ("tradeoff_mask", "0.5"), "category": ("tradeoff_noise", "4")}[task]
    undisturbed = next(job for job in jobs_of(task, folder) if job.parent.name == f"level_{level}")
    flags = [*flags_of(experiment, base, tmp_path / "job"), "--ablation_level", level]
    process = Program(*flags, "--checkpoint_every", "0")
    size = (undisturbed / "finetune_accuracy.csv").stat().st_size
    wait_for(process, tmp_path / "job" / "finetune_accuracy.csv", 0.6 * size)
    assert process.poll() is None, "the job was done before it was killed"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert run_main(*flags).returncode == 0
    assert contents(tmp_path / "job") == contents(undisturbed)


def test_rank_correlation_by_hand():
    level = pd.Series([0.0, 1.0, 2.0, 3.0])
    ranks = pd.Series([0.9, 0.5, 0.6, 0.1])  # 4, 2, 3, 1: they differ from 1 to 4 by 3, 0, 0, 3
    assert tradeoff.spearman(level, ranks) == pytest.approx(1 - 6 * 18 / (4 * 15))
    assert tradeoff.spearman(level, pd.Series([0.5] * 4)) == 0


def test_intervals_over_seeds_or_episodes():
    frame = pd.DataFrame({"level": 0, "seed": [0, 0, 1, 1], "episode": [0, 1, 0, 1], "value": [0.4, 0.42, 0.44, 0.46]})
    over_seeds = of_values(frame, ["level"]).iloc[0]
    assert (over_seeds["mean"], over_seeds.over, over_seeds.n) == (pytest.approx(0.43), "seeds", 2)
    assert over_seeds.high == pytest.approx(0.43 + 12.7062 * 0.02, abs=1e-4)  # means .41 and .45, one degree of freedom
    over_episodes = of_values(frame[frame.seed == 0], ["level"]).iloc[0]
    assert over_episodes.over == "episodes"
    assert over_episodes.high == pytest.approx(0.41 + 12.7062 * 0.01, abs=1e-4)


def test_rank_correlations_are_of_each_seed():
    """One seed that falls throughout, one that has its last two swapped: −1 and 1 − 6 · 2 / 60, turned round."""
    values = {0: [0.9, 0.7, 0.5, 0.1], 1: [0.9, 0.7, 0.1, 0.5]}
    rows = [(seed, level, 0, value) for seed, of_seed in values.items() for level, value in enumerate(of_seed)]
    frame = pd.DataFrame(rows, columns=["seed", "level", "episode", "value"])
    found, over = tradeoff.rank_correlation(frame, "level")
    assert (found.value, found.n, over) == (pytest.approx(-0.9), 2, "seeds")
    assert found.low == -1.0
    one, over = tradeoff.rank_correlation(frame[frame.seed == 0], "level")
    assert (one.value, one.n, over) == (pytest.approx(-1.0), 1, "episodes")


def test_a_seed_that_lacks_a_level_has_no_rank_correlation():
    """Else one level alone would count as no correlation at all."""
    rows = [
        (seed, level, episode, level / 8)
        for seed, levels in {2: [8], 3: [0, 4, 8]}.items()
        for level in levels
        for episode in (0, 1)
    ]
    frame = pd.DataFrame(rows, columns=["seed", "level", "episode", "value"])
    assert tradeoff.lacking(frame, "level") == {2: [0, 4]}
    found, over = tradeoff.rank_correlation(frame, "level")
    assert (found.value, found.n, over) == (pytest.approx(1.0), 2, "episodes")
    uneven = frame[(frame.seed == 2) | (frame.level != 8)]
    assert tradeoff.lacking(uneven, "level") == {2: [0, 4], 3: [8]}
    found, over = tradeoff.rank_correlation(uneven, "level")
    assert (math.isnan(found.value), found.n, over) == (True, 0, "seeds")


def test_two_levels_are_no_rank_correlation():
    """They are always in order: of noise alone each seed would have 1 or −1."""
    rows = [(seed, level, 0, level / 8) for seed in (1, 2) for level in (0, 4, 8)]
    frame = pd.DataFrame(rows, columns=["seed", "level", "episode", "value"])
    assert tradeoff.rank_correlation(frame, "level")[0].n == 2
    assert tradeoff.rank_correlation(frame[frame.level != 4], "level")[0].n == 0


def test_a_level_more_of_one_seed_costs_no_other_seed_its_place():
    rows = [(seed, level, 0, level / 8) for seed, levels in {1: [0, 4, 8], 2: [0, 2, 4, 8]}.items() for level in levels]
    frame = pd.DataFrame(rows, columns=["seed", "level", "episode", "value"])
    assert set(tradeoff.comparable(frame, "level").level) == {0, 4, 8}
    found, over = tradeoff.rank_correlation(frame, "level")
    assert (found.value, found.n, over) == (pytest.approx(1.0), 2, "seeds")


def table_of(accuracy, test_levels):
    """Rows of a trade-off's tables: accuracy(training level, test level) of 100 study queries after 20 updates."""
    condition = {
        "rotation": "unrotated",
        "context_curriculum": "interleaved",
        "step_curriculum": "interleaved",
        "seed": 1,
        "episode": 0,
    }
    tests = [
        {**condition, "training_level": trained, "test_level": level, "step": step, "subset": subset, "n_queries": 100,
         "n_correct": round(100 * accuracy(trained, level)) if (step, subset) == (20, "study_A") else 50 - step}
        for trained, levels in test_levels.items() for level in levels for step in (0, 20) for subset in ("study_A", "novel")
    ]  # fmt: skip
    losses = [{**condition, "training_level": trained, "step": 10, "loss": 1.0} for trained in test_levels]
    others = [{"rotation": "rotated"}, {"context_curriculum": "blocked"}, {"step_curriculum": "blocked"}]  # which do not count
    tests, losses = pd.DataFrame(tests), pd.DataFrame(losses)
    return (
        pd.concat([tests, *(tests.assign(n_correct=0, **other) for other in others)]),
        pd.concat([losses, *(losses.assign(loss=9.0, **other) for other in others)]),
    )


@pytest.mark.parametrize(
    ("test_levels", "tested_at"),
    [
        ({0.0: (0.0, 0.4, 0.8, 1.0), 0.4: (0.0, 0.4, 0.8, 1.0), 0.8: (0.0, 0.4, 0.8, 1.0)}, 0.8),  # the published grid's
        ({0.0: (0.0, 0.4, 1.0), 0.4: (0.0, 0.4, 1.0), 0.8: (0.0, 0.4, 0.8, 1.0)}, 0.4),  # .8 is not tested by all
        ({0.4: (0.0, 1.0), 0.8: (0.0, 1.0)}, 0.0),  # nor is any that is trained at
    ],
)
def test_retention_is_tested_at_the_highest_training_level(test_levels, tested_at):
    """And not at the highest that is tested: accuracies say at which level they were."""
    found = tradeoff.measure(*table_of(lambda trained, level: 0.1 * trained + 0.5 * level, test_levels), "grid", "mask", 0.04)
    assert found.retention_level == tested_at
    expected = {trained: pytest.approx(0.1 * trained + 0.5 * tested_at) for trained in test_levels}
    assert found.retention.set_index("training_level").value.to_dict() == expected
    assert set(found.generalisation.value) == {0.5}  # before any update
    assert set(found.errors.value) == {1.0}
    learned = found.learning[found.learning.step == 20].set_index("training_level").value.to_dict()
    assert learned == {t: pytest.approx(0.6 * t) for t, levels in test_levels.items() if t in levels}  # tested where trained
