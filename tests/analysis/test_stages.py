"""Jobs with stages, as the analysis reads them."""

import gzip
import json
import re
import shlex

import pandas as pd
import pytest

import main
from analysis.jobs import tables
from analysis.jobs.load import load
from analysis.measures import emergence
from analysis.measures.summary import summarise, table
from benchmarks.synthetic import write
from flags.command_line import parse
from tests.analysis.test_whole import lines_of, refused
from tests.conftest import TINY

# Two stages before the last, of eight updates at most; with two starts, as nothing is learned in so few.
STAGED = (
    "--recipe robust --n_runs 2 --n_layers 3 --n_in_context 12 --stage_steps 8 --pretrain_steps 9 --readout_steps 3 --restarts 1 "
    "--warmup_steps 2 --test_every 3 --print_every 4 --n_blocks 0 --n_test 1"
)
COLUMNS = "seed,stage,step,epoch,subset,n_correct,n_queries,loss,is_best"
BY_HAND = """0,1,0,0,novel,1,10,2.5,1
0,1,10,1,novel,9,10,0.5,1
0,2,0,0,novel,3,10,1.5,1
0,2,10,1,novel,2,10,1.25,1
0,2,20,2,novel,8,10,1.75,0
1,1,0,0,novel,0,10,2.5,1
1,1,10,1,novel,1,10,2.0,1
1,1,20,2,novel,9,10,1.0,1
1,2,0,0,novel,9,10,0.25,1
1,2,10,1,novel,10,10,0.5,0
"""


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """The folder of a real job with stages."""
    folder = tmp_path_factory.mktemp("staged") / "job"
    assert main.main(f"{TINY['category']} {STAGED} --out_dir {folder}".split()) == 0
    return folder


def changed(folder, name: str, change):
    """The lines of a table, some of them changed: `change` takes and returns a line's cells, or None for one that is lost."""
    first, *rest = lines_of(folder / f"{name}.csv")
    cells = (change(line.rstrip("\n").split(",")) for line in rest)
    return [first, *(",".join(row) + "\n" for row in cells if row is not None)]


def test_a_real_job_with_stages_is_whole(staged):
    sweep = load(staged)
    for name in ("pretrain_accuracy", "pretrain_loss", "finetune_accuracy"):
        rows = sweep.table(name)
    rows = sweep.table("pretrain_accuracy")
    assert rows.groupby(["seed", "stage"], observed=True).step.max().tolist() == [16, 16, 18] * 2
    assert sweep.jobs[0].config.stages[0]["n_in_context"] == 8
    again = parse(shlex.split(sweep.jobs[0].command)[2:]).defining_values()
    assert json.loads(json.dumps(again)) == json.loads((staged / "config.json").read_text())["flags"]


@pytest.mark.parametrize("name", ["pretrain_accuracy", "pretrain_loss"])
def test_a_part_of_any_stage_that_is_lost_or_foreign(staged, name):
    """A step of the second start, in which alone the later stages are."""
    for stage in ("1", "2", "3"):
        lost = changed(staged, name, lambda row, stage=stage: None if row[:2] == ["1", stage] else row)
        refused(staged, name, lost)
        lost = changed(staged, name, lambda row, stage=stage: None if row[:3] == ["0", stage, "12"] else row)
        assert "seed 0" in refused(staged, name, lost)
    said = refused(staged, name, changed(staged, name, lambda row: [row[0], "4", *row[2:]] if row[1] == "3" else row))
    assert "stage is 4, and the job has 3" in said
    twice = lines_of(staged / f"{name}.csv")
    assert "is of the same seed, step, subset as line" in refused(staged, name, [*twice, twice[-1]])
    earlier = changed(staged, name, lambda row: [row[0], "1", *row[2:]] if row[1] == "2" else row)
    assert "is of the same seed, step, subset as line" in refused(staged, name, earlier)


def test_a_new_best_that_is_none_by_its_loss(staged):
    """In each stage: a later, lower loss that is no new best, and a new best of a higher one."""
    for stage in ("1", "2", "3"):
        seen = {}

        def lower(row, stage=stage, seen=seen):
            if row[:2] != ["0", stage] or row[4] != "novel" or row[2] == "0":
                return row
            seen["last"] = row[2]
            return [*row[:7], "0.00001", "0"]

        said = refused(staged, "pretrain_accuracy", changed(staged, "pretrain_accuracy", lower))
        assert re.search(r"is_best of seed 0 at step ([139]|10) is 0; an earlier line", said), said  # the first one after 0
        assert seen

        def higher(row, stage=stage):
            return [*row[:7], "99", "1"] if row[:3] == ["0", stage, "12"] and row[4] == "novel" else row

        said = refused(staged, "pretrain_accuracy", changed(staged, "pretrain_accuracy", higher))
        assert "is_best of seed 0 at step 12 is 1" in said


def test_a_seed_that_reached_its_bar_and_has_more_rows_or_fewer(tmp_path, monkeypatch):
    """In made-up tables each seed reaches the bar of .9 in its first start."""
    monkeypatch.chdir(tmp_path)
    flags = "--preset laptop --task category --n_runs 2 --n_test 1 --n_steps_per_block 40"
    folder = tmp_path / write(flags.split())
    rows = load(folder).table("pretrain_accuracy").query("subset == 'novel'")
    for stage, most in ((1, 3000), (2, 1000)):
        of_stage = rows[rows.stage == stage]
        assert (of_stage.groupby("seed").n_correct.max() >= 900).all()
        assert of_stage.step.max() < most
    last = str(rows[(rows.stage == 1) & (rows.seed == 1)].step.max())
    missed = changed(folder, "pretrain_accuracy", lambda r: [*r[:5], "899", *r[6:]] if r[:3] == ["1", "1", last] else r)
    assert f"lacks the validation of seed 1 at step {int(last) + 50}" in refused(folder, "pretrain_accuracy", missed)
    early = changed(folder, "pretrain_accuracy", lambda r: [*r[:5], "900", *r[6:]] if r[:3] == ["1", "1", "50"] else r)
    assert "seed 1 has no validation at step 100" in refused(folder, "pretrain_accuracy", early)


def test_updates_count_on_over_stages_and_the_kept_model_is_of_the_last(tmp_path):
    (tmp_path / "pretrain_accuracy.csv").write_text(f"{COLUMNS}\n{BY_HAND}", encoding="utf-8")
    flags = {"n_epochs": 2, "pretrain_steps": None, "stages": [{"pretrain_steps": 20}]}
    rows = emergence.with_updates(tables.read(tmp_path, "pretrain_accuracy"), flags)
    assert rows.updates.tolist() == [0, 10, 10, 20, 30, 0, 10, 20, 20, 30]
    assert rows.start.tolist() == [1] * 10
    assert emergence.updates_of_stages(rows[rows.seed == 0]) == [10, 20]
    kept = emergence.kept(rows)
    assert kept[["seed", "stage", "step", "updates", "loss"]].to_numpy().tolist() == [[0, 2, 10, 20, 1.25], [1, 2, 0, 20, 0.25]]


# The first start misses the bar of stage 1 after 20 updates, the second that of stage 2 after 10 + 30; the third goes through, with
# 20 + 10 and, ending early, 4 of the two epochs of 3 updates.
AGAIN = """7,1,0,0,novel,1,10,2.5,1
7,1,20,2,novel,2,10,1.5,1
7,1,30,3,novel,9,10,0.5,1
7,2,60,6,novel,3,10,1.5,1
7,1,60,6,novel,9,10,0.5,1
7,2,70,7,novel,9,10,1.5,1
7,3,13,5,novel,8,10,0.5,1
7,3,15,5,novel,9,10,0.25,1
7,3,16,6,novel,9,10,0.25,0
"""


def test_updates_and_starts_of_a_seed_that_began_with_the_first_stage_again(tmp_path):
    (tmp_path / "pretrain_accuracy.csv").write_text(f"{COLUMNS}\n{AGAIN}", encoding="utf-8")
    flags = {"n_epochs": 2, "pretrain_steps": None, "stages": [{"pretrain_steps": 20}, {"pretrain_steps": 30}]}
    rows = emergence.with_updates(tables.read(tmp_path, "pretrain_accuracy"), flags)
    assert rows.start.tolist() == [1, 1, 2, 2, 3, 3, 3, 3, 3]
    assert rows.updates.tolist() == [0, 20, 30, 60, 80, 90, 91, 93, 94]
    assert emergence.updates_of_stages(rows) == [20 + 10 + 20, 30 + 10, 4]
    assert emergence.kept(rows).updates.tolist() == [93]


def test_a_summary_has_the_kept_model_of_the_last_stage_and_the_updates_of_all(tmp_path):
    lines = [BY_HAND, BY_HAND.replace("novel", "study_A"), BY_HAND.replace("novel", "study_B")]
    (tmp_path / "pretrain_accuracy.csv").write_text(f"{COLUMNS}\n{''.join(lines)}", encoding="utf-8")
    (tmp_path / "finetune_accuracy.csv").write_text(",".join(tables.COLUMNS["finetune_accuracy"]) + "\n", encoding="utf-8")
    flags = {"task": "grid", "n_epochs": 9, "pretrain_steps": 20, "stages": [{"pretrain_steps": 20}]}
    (tmp_path / "config.json").write_text(json.dumps({"flags": flags}), encoding="utf-8")
    found = summarise(tmp_path)
    of_seeds = [
        [row[name] for name in ("seed", "step", "n_steps", "start", "n_starts", "stages", "novel")] for row in found["metalearning"]
    ]
    assert of_seeds == [[0, 10, 20, 1, 1, [10, 20], 0.2], [1, 0, 10, 1, 1, [20, 10], 0.9]]
    assert "seed 0    novel 0.200   study 0.200   step 10 of 20 (stages: 10 + 20 updates)" in table(found)


def test_tables_of_an_earlier_program_are_of_one_stage_without_a_loss(tmp_path):
    """Plain or compressed; a table with one of the two columns alone is none of any program."""
    accuracy = "seed,step,epoch,subset,n_correct,n_queries,is_best\n3,50,1,novel,4,16,1\n"
    losses = "seed,step,epoch,subset,loss\n3,50,1,novel,0.5\n"
    (tmp_path / "pretrain_accuracy.csv").write_text(accuracy, encoding="utf-8")
    (tmp_path / "pretrain_loss.csv.gz").write_bytes(gzip.compress(losses.encode()))
    rows = tables.read(tmp_path, "pretrain_accuracy")
    assert list(rows) == COLUMNS.split(",")
    assert rows.drop(columns="loss").to_numpy().tolist() == [[3, 1, 50, 1, "novel", 4, 16, 1]]
    assert pd.isna(rows.loss).all()
    assert tables.read(tmp_path, "pretrain_loss").to_numpy().tolist() == [[3, 1, 50, 1, "novel", 0.5]]
    one = accuracy.replace("seed,", "seed,stage,").replace("3,", "3,1,", 1)
    (tmp_path / "pretrain_accuracy.csv").write_text(one, encoding="utf-8")
    with pytest.raises(tables.BadTable, match="line 1: is not the header"):
        tables.read(tmp_path, "pretrain_accuracy")
    today = f"{COLUMNS}\n3,1,50,1,novel,4,16,nan,1\n"
    (tmp_path / "pretrain_accuracy.csv").write_text(today, encoding="utf-8")
    with pytest.raises(tables.BadTable, match="line 2: loss is 'nan' instead of a number"):
        tables.read(tmp_path, "pretrain_accuracy")
