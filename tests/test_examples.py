"""The examples of docs/extend.md, by the ordinary command."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.jobs import tables
from analysis.jobs.load import load
from analysis.report.__main__ import main as report
from analysis.report.contents import entries_of
from analysis.report.style import CURRICULUM_COLORS, curriculum_colors
from engine.streams import stream
from examples.linear_rule import LinearRule, item_order
from examples.outward import Outward, outwards
from tasks.grid import GridTask
from tests.conftest import configured
from tests.program import run_main

RULE = (
    "--task examples.linear_rule --n_task_dims 20 --n_layers 2 --n_heads 2 --d_model 16 --d_ff 16 --n_train 24 --n_val 4 "
    "--n_test 2 --n_epochs 2 --pretrain_bs 64 --queries_per_episode 4 --test_every 4 --print_every 4 --n_blocks 2 "
    "--n_steps_per_block 10 --finetune_test_every 5 --threads 1"
)

OUTWARD = (
    "--task examples.outward --pt_cond outward --n_layers 1 --n_heads 2 --d_model 16 --d_ff 16 --n_train 10 --n_val 2 --n_test 1 "
    "--n_epochs 1 --pretrain_bs 50 --queries_per_episode 5 --n_blocks 1 --n_steps_per_block 2 --step_cond interleaved "
    "--test_one_rot_cond --threads 1"
)


def linear_rule(flags: str = "") -> LinearRule:
    config = configured(f"{RULE} {flags}")
    LinearRule.check(config)
    return LinearRule(config)


def test_the_rule_is_of_one_feature_or_of_both():
    task = linear_rule()
    for rotation in ("unrotated", "rotated"):
        items = task.draw(0, "metalearning", rotation, "blocked", 12)
        for place, answer in zip(items.place, items.answer[..., 0], strict=True):
            # How many answers the items have that share the value of a feature.
            different = [{len(set(answer[place[:, feature] == value])) for value in range(4)} for feature in (0, 1)]
            assert sorted(map(tuple, different)) == ([(1,), (4,)] if rotation == "unrotated" else [(4,), (4,)])
            assert sorted(map(tuple, place)) == [(x, y) for x in range(4) for y in range(4)]


def test_a_blocked_context_shows_one_group_after_the_other():
    rank = np.arange(16) % 4  # ranks 0 and 1 are group A
    first = {"AAAABBBB": 0, "BBBBAAAA": 0}
    for i in range(20):
        order = item_order(stream("a test", i), "blocked", rank, 8)
        first["".join("AABB"[r] for r in rank[order[:8]])] += 1
        assert sorted(order) == list(range(16))
        assert sorted(rank[order[:8]]) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert min(first.values()) > 0
    mixed = ["".join("AABB"[r] for r in rank[item_order(stream("a test", i), "interleaved", rank, 8)[:8]]) for i in range(20)]
    assert sum(order in first for order in mixed) < 5  # 2 of 70 by chance


def test_no_two_splits_share_a_pair_of_features():
    task = linear_rule("--n_val 50 --n_test 30 --n_train 400")
    pairs = {split: set(map(tuple, task._pairs(0, split, n))) for split, n in task.n_of.items()}
    assert [len(found) for found in pairs.values()] == [30, 50, 20 * 19 - 80]  # with 400 episodes pairs come again
    assert len(set.union(*pairs.values())) == 20 * 19
    words = task.draw(0, "test", "rotated", "blocked", 30).cue // 4  # symbols of a feature stand together
    assert (words == words[:, :1]).all()


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "job"
    done = run_main(*RULE.split(), "--out_dir", str(folder))
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_job_of_the_rule_leaves_its_rows(job):
    folder, printed = job
    rows = tables.read(folder, "finetune_accuracy")
    # 2 rotations × 2 contexts × 2 step curricula × 2 episodes × tests at 0, 5, 10, 15, 20 × study_A, study_B, novel
    assert len(rows) == 2 * 2 * 2 * 2 * 5 * 3
    assert dict(rows.groupby("subset", observed=True).n_queries.first()) == {"study_A": 4, "study_B": 4, "novel": 8}
    # 24 episodes × 16 queries in batches of 64: 6 updates an epoch; validations at 0, 4, 6, 8, 12
    assert sorted(tables.read(folder, "pretrain_accuracy").step.unique()) == [0, 4, 6, 8, 12]
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["chance"] == 1 / 4
    assert "by context curriculum (chance on unrotated tasks: 0.250)" in printed
    assert "Nothing comparable is known" in printed


def test_the_report_reads_it(job, tmp_path, capsys):
    folder, _ = job
    assert len(load(folder).sound().jobs) == 1
    assert report([str(folder), "-o", str(tmp_path / "report")]) == 0
    assert capsys.readouterr().out.startswith("1 finished jobs, 0 unfinished\n")
    titles = pd.read_csv(tmp_path / "report/tables/titles.csv").title
    assert "Few-shot accuracy on novel items" in set(titles)
    page = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert "examples.linear_rule task" in page
    assert "(paper " not in page  # no numbers are published for it
    assert "scripts/submit.sh" not in page  # nor has it scripts


def test_outward_walks_each_arm_from_the_crossing():
    arm = np.array([[2, 4], [2, 0], [2, 2], [2, 3]])
    assert outwards(arm, np.array([2, 1])).tolist() == [[2, 0], [2, 2], [2, 3], [2, 4]]
    task = Outward(configured(OUTWARD))
    for i in range(20):
        cells = task.order(stream("a test", i), "outward")
        assert sorted(map(tuple, cells)) == [(x, y) for x in range(5) for y in range(5)]
        crossing = cells[4]
        for arm in (cells[:4], cells[5:9]):
            distance = np.abs(arm - crossing)
            assert (distance.min(axis=1) == 0).all()  # one coordinate stays
            assert sorted(distance.sum(axis=1)) == distance.sum(axis=1).tolist()
        same = GridTask(configured("--task grid")).order(stream("a test", i), "interleaved")
        assert (task.order(stream("a test", i), "interleaved") == same).all()


def test_a_job_on_a_curriculum_of_ones_own(tmp_path):
    folder = tmp_path / "job"
    done = run_main(*OUTWARD.split(), "--out_dir", str(folder))
    assert done.returncode == 0, done.stderr
    assert "".join(f"{name:>13}" for name in ("blocked", "interleaved", "aligned", "misaligned", "outward")) in done.stdout
    sweep = load(folder).sound()
    rows = sweep.table("finetune_accuracy")
    # 5 contexts × 1 episode × tests at 0 and 2 × study_A, study_B, novel
    assert len(rows) == 5 * 1 * 2 * 3
    assert sweep.jobs[0].metalearned_on == ("unrotated", "outward")
    assert "main figure, metalearned on rotated, outward" in [entry.what for entry in entries_of("examples.outward")]
    assert curriculum_colors()["outward"] not in CURRICULUM_COLORS.values()
