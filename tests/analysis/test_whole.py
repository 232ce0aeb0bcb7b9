"""Tables of finished jobs with lost, doubled and foreign lines: each is noticed, and a whole table never is."""

import random
import shutil

import pytest

import main
from analysis.jobs.load import load
from analysis.jobs.tables import BadTable
from analysis.jobs.whole_metalearning import updates_per_epoch
from benchmarks.synthetic import write
from data import n_batches
from tests.conftest import TINY, configured, encoded


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines(keepends=True)


def refused(folder, table, lines) -> str:
    """What the reader says of a table of these lines."""
    path = folder / f"{table}.csv"
    right = path.read_text(encoding="utf-8")
    path.write_text("".join(lines), encoding="utf-8")
    try:
        with pytest.raises(BadTable) as error:
            load(folder).table(table)
    finally:
        path.write_text(right, encoding="utf-8")
    assert str(error.value).startswith(str(path))
    return str(error.value)


@pytest.fixture(scope="module")
def copied(finished_job, tmp_path_factory):
    """A real job's folder that tests may change."""
    return shutil.copytree(finished_job[1], tmp_path_factory.mktemp("copy") / "job")


@pytest.mark.parametrize("table", ["pretrain_accuracy", "pretrain_loss", "finetune_accuracy", "finetune_loss"])
def test_any_line_of_a_real_job_that_is_lost_or_doubled(copied, table):
    assert len(load(copied).table(table))
    lines = lines_of(copied / f"{table}.csv")
    chosen = random.Random(table).sample(range(1, len(lines)), 12)
    for i in chosen:
        said = refused(copied, table, [*lines[: i + 1], *lines[i:]])
        assert f"line {i + 2}: is of the same" in said, said
        rows_before = table == "pretrain_loss" and int(lines[i].split(",")[2]) % 5  # of an epoch's short last batch
        if not rows_before:
            refused(copied, table, [*lines[:i], *lines[i + 1 :]])
        other = chosen[0] if chosen[0] != i else chosen[1]  # as many lines as there should be
        refused(copied, table, [*lines[:i], lines[other], *lines[i + 1 :]])


@pytest.mark.parametrize("table", ["pretrain_accuracy", "pretrain_loss", "finetune_accuracy", "finetune_loss"])
def test_a_part_of_a_real_job_that_is_lost(copied, table):
    lines = lines_of(copied / f"{table}.csv")
    refused(copied, table, lines[:1])
    refused(copied, table, lines[: len(lines) // 2])
    refused(copied, table, [lines[0], *(line for line in lines[1:] if not line.startswith("1,"))])  # a seed
    column = lines[0].rstrip().split(",").index("step")
    last = max(int(line.split(",")[column]) for line in lines[1:])
    refused(copied, table, [lines[0], *(line for line in lines[1:] if int(line.split(",")[column]) != last)])
    step = sorted({int(line.split(",")[column]) for line in lines[1:]})[2]
    refused(copied, table, [lines[0], *(line for line in lines[1:] if int(line.split(",")[column]) != step)])
    foreign = lines[-1].split(",")
    foreign[0] = "7"
    refused(copied, table, [*lines, ",".join(foreign)])


def test_updates_of_an_epoch_are_those_that_are_made(finished_job):
    job, rows = load(finished_job[1]).jobs[0], load(finished_job[1]).table("pretrain_accuracy")
    config, encoder = configured(TINY[finished_job[0]]), encoded(TINY[finished_job[0]])
    made = n_batches(config, config.n_train, encoder.episodes(0, "test", "unrotated", "blocked", 1).queries.shape[1])
    assert updates_per_epoch(job, job.flags, rows) == made == rows[rows.epoch == 1].step.max()


def test_jobs_that_stop_early_and_start_again_are_whole(tmp_path):
    """Two seeds that learn nothing in so few updates: each runs out of patience, and starts again twice."""
    flags = "--n_runs 2 --n_epochs 4 --test_every 3 --stop_early --patience 2 --restarts 2 --n_blocks 0"
    assert main.main(f"{TINY['category']} {flags} --out_dir {tmp_path}/job".split()) == 0
    sweep = load(tmp_path)
    for table in ("pretrain_accuracy", "pretrain_loss", "finetune_accuracy", "finetune_loss"):
        sweep.table(table)
    rows = sweep.table("pretrain_accuracy")
    assert (rows.epoch > 8).any()  # of the third start
    assert rows.step.max() < 12 * updates_per_epoch(sweep.jobs[0], sweep.jobs[0].flags, rows)  # and it stopped early
    lines = lines_of(tmp_path / "job" / "pretrain_accuracy.csv")
    last_start = [line for line in lines[1:] if int(line.split(",")[3]) > 8]
    assert "lacks the validation" in refused(tmp_path / "job", "pretrain_accuracy", [x for x in lines if x not in last_start])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines[:7], *lines[8:]], "lacks the line of rotation unrotated, context_curriculum aligned, episode 3"),
        (lambda lines: [*lines, lines[-1]], "line 66: is of the same rotation, context_curriculum, episode, subset, scoring as"),
        (lambda lines: [*lines[:1], *lines[9:]], "lacks the line of"),
        (lambda lines: [*lines[:-1], lines[-1].replace("novel", "study_A")], "subset is study_A, which the flags"),
        (lambda lines: [*lines[:-1], lines[-1].replace("candidates", "generate")], "scoring is generate, which the flags"),
        (lambda lines: [*lines[:-1], lines[-1].replace("model", "other")], "has rows of several models, model and other"),
    ],
)
def test_a_language_models_table_that_is_not_whole(tmp_path, monkeypatch, change, said):
    monkeypatch.chdir(tmp_path)
    folder = write(["--preset", "demo", "--task", "grid", "--llm", "some/model", "--n_val", "4", "--scoring", "argmax,candidates"])
    assert len(load(tmp_path).table("llm_accuracy")) == 8 * 4 * 2
    lines = lines_of(folder / "llm_accuracy.csv")
    folder = tmp_path / folder
    assert said in refused(folder, "llm_accuracy", change(lines))


def test_a_level_of_ablation_that_no_line_is_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--preset", "demo", "--n_test", "2", "--n_steps_per_block", "40"]
    base = write([*flags, "--pt_cond", "interleaved"])
    folder = write([*flags, "--experiment", "tradeoff_mask", "--ablation_level", "0.3", "--load_model_from", str(base)])
    rows = load(folder).table("finetune_accuracy")
    assert sorted(rows.test_level.unique()) == [0.0, 0.25, 0.3, 0.5, 0.75, 1.0]
    lines = lines_of(folder / "finetune_accuracy.csv")
    column = lines[0].rstrip().split(",").index("test_level")
    kept = [line for line in lines if line.split(",")[column] != "0.5"]
    assert "lacks the line of" in refused(folder, "finetune_accuracy", kept)
    foreign = [line.replace(",0.5,", ",0.6,") if line.split(",")[column] == "0.5" else line for line in lines]
    assert "test_level is 0.6, which the flags" in refused(folder, "finetune_accuracy", foreign)
