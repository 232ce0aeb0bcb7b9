"""Jobs' folders, put together or refused."""

import json
import os
import resource
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from analysis.jobs import sample
from analysis.jobs.job import Job
from analysis.jobs.load import Unreadable, load
from analysis.jobs.tables import BadTable
from benchmarks.synthetic import write
from flags.command_line import parse
from runs.records import TABLES

SMALL = "--preset demo --n_test 2 --n_steps_per_block 40"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Path("results")


def job(flags: str, more: str = "") -> Path:
    return write(f"{SMALL} {flags} {more}".split())


def test_a_tidy_table_of_all_jobs(here):
    folders = [job("--seed 1"), job("--seed 2 --n_runs 2"), job("--pt_cond interleaved"), job("--task grid")]
    sweep = load(here)
    assert {j.folder for j in sweep.jobs} == set(folders)
    assert sweep.pools() == [("demo", "category"), ("demo", "grid")]
    rows = sweep.table("finetune_accuracy")
    lines = sum(len((folder / "finetune_accuracy.csv").read_text().splitlines()) - 1 for folder in folders)
    assert len(rows) == lines
    blocked = rows[(rows.task == "category") & (rows.pt_curriculum == "blocked")]
    assert sorted(blocked.seed.unique()) == [1, 2, 3]
    first = load(here).select("demo", "grid")
    assert set(sweep.table("finetune_accuracy", first).task) == {"grid"}
    assert len(sweep.table("pretrain_accuracy", first)) == (1410 // 50 + 1 + 6) * 3  # validations, one more an epoch; subsets
    assert sweep.table("llm_accuracy").empty


def test_the_order_of_folders_changes_nothing(here, monkeypatch):
    for seed in (3, 1, 2):
        job(f"--seed {seed}")
    before = load(here).table("finetune_accuracy")
    listed = os.scandir

    class Backwards:
        def __init__(self, path):
            self.entries = iter(sorted(listed(path), key=lambda entry: entry.name, reverse=True))

        def __enter__(self):
            return self.entries

        def __exit__(self, *_):
            pass

        def __iter__(self):
            return self.entries

        def __next__(self):
            return next(self.entries)

        def close(self):
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    assert load(here).table("finetune_accuracy").equals(before)


def test_unfinished_jobs_are_listed_and_not_read(here):
    done, half = job("--seed 1"), job("--seed 2")
    (half / "summary.json").unlink()
    (half / "progress.json").write_text(json.dumps({"phase": "finetuning", "step": 3, "n_steps": 9, "last_error": "no memory"}))
    sweep = load(here)
    assert [j.folder for j in sweep.jobs] == [done]
    assert [(j.folder, j.progress) for j in sweep.unfinished] == [(half, "finetuning, step 3 of 9; failed: no memory")]
    assert set(sweep.table("finetune_accuracy").seed) == {1}


def test_a_seed_that_is_there_twice_is_an_error_that_names_both(here):
    one, two = job("--seed 1 --n_runs 2"), job("--seed 2")
    with pytest.raises(Unreadable) as error:
        load(here)
    assert "seed 2 of icl_iwl unrotated blocked is in two jobs" in str(error.value)
    assert str(one) in str(error.value)
    assert str(two) in str(error.value)


def test_levels_of_a_trade_off_are_no_doubles(here):
    base = job("--pt_cond interleaved")
    for level in (0, 0.5):
        job(f"--experiment tradeoff_mask --load_model_from {base} --ablation_level {level} --out_dir results/level_{level}")
    sweep = load(here)
    assert [j.training_level for j in sweep.select("demo", "category", "tradeoff_mask")] == [0.0, 0.5]
    assert {j.metalearned_on for j in sweep.jobs} == {("unrotated", "interleaved")}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--seed 2 --pretrain_lr 0.5", "--pretrain_lr 0.003 and 0.5"),
        ("--pt_rot_cond rotated --max_len 99", "--max_len 64 and 99"),
        ("--seed 2 --experiment iwl_only --finetune_lr 1", "--finetune_lr 0.0001 and 1.0"),
    ],
)
def test_jobs_that_differ_in_more_than_is_compared_are_refused(here, flags, said):
    one, two = job("--seed 1"), job(flags, "--out_dir results/two")
    with pytest.raises(Unreadable) as error:
        load(here)
    assert said in str(error.value)
    assert str(one) in str(error.value)
    assert str(two) in str(error.value)


def test_another_task_or_model_than_the_presets_is_a_size_of_its_own(here):
    one = [job("--seed 1"), job("--seed 1 --n_layers 3", "--out_dir results/other")]
    sweep = load(here)
    assert sweep.pools() == [("demo", "category"), ("demo, changed", "category")]
    job("--seed 2 --n_layers 4", "--out_dir results/third")
    with pytest.raises(Unreadable, match="--n_layers 3 and 4"):
        load(here)
    assert len(one) == 2


def test_levels_from_different_bases_are_refused(here):
    for condition in ("interleaved", "blocked"):
        job(f"--pt_cond {condition}", f"--out_dir results/{condition}")
    for level, base in ((0, "interleaved"), (0.5, "blocked")):
        flags = f"--experiment tradeoff_mask --ablation_level {level} --load_model_from results/{base}"
        job(flags, f"--out_dir results/level_{level}")
    with pytest.raises(Unreadable, match="--load_model_from results/interleaved and results/blocked"):
        load(here)


def test_a_language_models_condition_that_is_there_twice(here):
    job("--task grid --llm some/model --n_val 2")
    job("--task grid --llm some/model --n_val 2 --pt_rot_cond rotated --pt_cond blocked")
    with pytest.raises(Unreadable, match="some/model rotated blocked is in two jobs"):
        load(here)


def test_what_figures_compare_may_differ(here):
    for flags in ("--seed 1", "--seed 2 --max_members 3", "--seed 3 --no_congruent_only", "--seed 4 --restarts 0",
                  "--pt_rot_cond rotated --seed 1", "--experiment iwl_only", "--task grid"):  # fmt: skip
        job(flags)
    write(["--preset", "demo", "--task", "grid", "--llm", "some/model", "--n_val", "2", "--pt_cond", "blocked"])
    write(["--preset", "demo", "--task", "grid", "--llm", "some/model", "--n_val", "2", "--pt_cond", "aligned"])
    assert len(load(here).jobs) == 9


def test_what_is_moved_aside_or_a_sample_is_passed_over(here):
    folder = job("--seed 1")
    for name in ("results/seeds_01.old", "results/sample/one", "results/.hidden"):
        shutil.copytree(folder, name)
    assert [j.folder for j in load(here).jobs] == [folder]
    assert len(load(here / "sample").jobs) == 1


def test_a_copy_to_hand_on_reads_the_same(here, capsys):
    folder = job("--seed 1")
    job("--task grid")
    assert sample.main(["results", "results/sample"]) == 0
    assert "MB in results/sample" in capsys.readouterr().out
    copied = load(here / "sample")
    ours = load(here)
    for name in ("finetune_accuracy", "finetune_loss", "pretrain_accuracy"):
        assert copied.table(name).equals(ours.table(name))
    assert [j.command for j in copied.jobs] == [j.command for j in ours.jobs]
    there = {path.name for path in (here / "sample" / folder.relative_to(here)).iterdir()}
    assert there == {"config.json", "summary.json", *(f"{name}.csv.gz" for name in TABLES)}
    before = {path: path.read_bytes() for path in (here / "sample").rglob("*.gz")}
    assert sample.main(["results", "results/sample"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert sample.main(["results/sample", "results/second"]) == 0
    assert [(here / "second" / path.relative_to(here / "sample")).read_bytes() for path in before] == list(before.values())


def test_a_copy_that_fails_can_be_made_again(here, capsys):
    """No file may grow beyond a size that some of the tables reach, as on a disk that is full."""
    job("--seed 1")
    job("--task grid --no_congruent_only")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2500, hard))
    try:
        assert sample.main(["results", "copy"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in capsys.readouterr().err
    assert not list(Path("copy").parent.glob(".*"))  # a later copy finds nothing of this one
    assert not Path("copy").exists()
    assert sample.main(["results", "copy"]) == 0
    assert len(load(Path("copy")).jobs) == 2


def test_a_copy_keeps_a_job_that_lies_in_another_jobs_folder(here):
    job("--seed 1", "--out_dir results/a/b")
    shutil.move("results/a/b", "inner")
    job("--seed 2", "--out_dir results/a")
    shutil.move("inner", "results/a/b")
    assert sample.main(["results", "copy/deep"]) == 0
    assert [j.folder for j in load(Path("copy/deep")).jobs] == [Path("copy/deep/a"), Path("copy/deep/a/b")]
    assert os.listdir("copy") == ["deep"]
    assert Path("copy/deep/a").stat().st_mode == here.stat().st_mode
    assert sample.main(["results/a/b", "copy/alone"]) == 0
    assert load(Path("copy/alone")).jobs[0].seeds == (1,)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("execution", "preset", "foo"),
        ("execution", "preset", ["foo"]),
        ("execution", "recipe", "foo"),
        ("execution", "recipe", {}),
        ("flags", "base_seeds", 5),
        ("flags", "base_seeds", [[1]]),
        ("flags", "base_seeds", ["1"]),
        ("flags", "base_seeds", None),
        ("flags", "stages", 5),
        ("flags", "stages", [{"n_layers": 2}, {"n_heads": 2}]),
        ("flags", "stages", [["n_layers"]]),
    ],
)
def test_a_config_that_no_job_can_be_derived_from_hides_no_other_job(here, part, name, value):
    good, bad = job("--seed 1"), job("--seed 2")
    recorded = json.loads((bad / "config.json").read_text())
    recorded[part][name] = value
    (bad / "config.json").write_text(json.dumps(recorded))
    sweep = load(here)
    assert [j.folder for j in sweep.jobs] == [good]
    assert sweep.bad == {bad: f"config.json is not the configuration of a job: {name} is {value!r}"}


def test_a_config_that_is_not_of_a_job_is_named(here):
    folder = job("--seed 1")
    recorded = json.loads((folder / "config.json").read_text())

    def flags(name, value):
        return json.dumps({**recorded, "flags": {**recorded["flags"], name: value}})

    for text in ("{", "[]", "{}", "[" * 100_000, '{"flags": {"task": 3}}', flags("task", "other"), flags("n_blocks", "4"),
                 flags("n_blocks", None), flags("n_test", True)):  # fmt: skip
        (folder / "config.json").write_text(text)
        sweep = load(here)
        assert not sweep.jobs
        assert not sweep.unfinished
        assert sweep.bad[folder].startswith("config.json is not the configuration of a job")


def test_a_table_without_its_end_is_named_with_its_line(here):
    folder = job("--seed 1")
    path = folder / "finetune_accuracy.csv"
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if ",160," not in line]
    path.write_text("".join(kept))
    with pytest.raises(BadTable) as error:
        load(here).table("finetune_accuracy")
    assert f"{path}, line {len(kept)}: ends at step 140 of 160" in str(error.value)


def test_the_command_of_a_job_makes_the_same_job(here):
    base = job("--pt_cond interleaved --no_congruent_only --seed 4 --n_runs 2")
    base = base.rename(base.with_name("the base's $(own) *"))
    staged = job("--task grid --p_flip_xy 0.5 --n_layers 4 --pretrain_steps 60 --stage_steps 40 --seed 7")
    alone = job("--task grid --experiment iwl_only --iwl_init_scale 0.05 --seed 7")
    trade_off = write([*SMALL.split(), "--experiment", "tradeoff_noise", "--load_model_from", str(base), "--ablation_level", "4"])
    usual = "--n_epochs 2 --pt_cond blocked"  # the preset's curriculum, which is not the base's
    further = write([*SMALL.split(), "--load_model_from", str(base), *usual.split()])
    for folder in (base, staged, alone, trade_off, further):
        found = next(j for j in load(here).jobs if j.folder == folder)
        again = parse(shlex.split(found.command)[2:]).defining_values()
        recorded = json.loads((folder / "config.json").read_text())["flags"]
        assert json.loads(json.dumps(again)) == recorded


def test_a_command_survives_a_shell(tmp_path):
    """Paths that a shell, or the reader of the flags, would take apart."""
    odd = '-a  b*\'s "$(touch x)" ü;&'
    for flags in (
        ["--load_data_from", f"./{odd}"],
        [f"--load_data_from={odd}"],
        [f"--llm={odd}", "--task", "grid", "--cache_dir", "~"],
    ):
        config = parse(["--preset", "demo", *flags])
        found = Job(tmp_path, json.loads(json.dumps(config.defining_values())), config.execution_values(), True)
        shell = f"python() {{ printf '%s\\0' \"$@\"; }}; {found.command}"
        words = subprocess.run(["bash", "-c", shell], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True).stdout.split(
            "\0"
        )
        assert words[0] == "main.py"
        assert parse(words[1:-1]).defining_values() == config.defining_values()
    assert not os.listdir(tmp_path)


def damage(folder: Path, kind: str) -> Path:
    """Make a job unreadable; returns the path that is named for it."""
    config, summary, table = folder / "config.json", folder / "summary.json", folder / "finetune_accuracy.csv"
    if kind == "config.json is cut off":
        config.write_text(config.read_text(encoding="utf-8")[:100], encoding="utf-8")
    elif kind == "config.json is not UTF-8":
        config.write_bytes(b"\xff\xfe" + config.read_bytes())
    elif kind == "config.json is a folder":
        config.unlink()
        config.mkdir()
    elif kind == "config.json is a link to itself":
        config.unlink()
        config.symlink_to(config)
    elif kind == "summary.json is cut off":
        summary.write_text("{", encoding="utf-8")
    elif kind == "a table is cut off":
        table.write_bytes(table.read_bytes()[:-20])
    elif kind == "a table is gone":
        table.unlink()
    else:
        shutil.rmtree(folder)
        folder.symlink_to("nowhere")
    return folder


KINDS = ("config.json is cut off", "config.json is not UTF-8", "config.json is a link to itself", "summary.json is cut off",
         "a table is cut off", "a table is gone", "a link to nowhere")  # fmt: skip


@pytest.mark.parametrize("kind", [*KINDS, "config.json is a folder"])
def test_a_bad_folder_hides_no_other_job(here, kind):
    good, folder = job("--seed 1"), job("--seed 2")
    bad = damage(folder, kind)
    sweep = load(here).sound()
    assert [j.folder for j in sweep.jobs] == [good]
    assert set(sweep.table("finetune_accuracy").seed) == {1}
    if kind != "config.json is a folder":  # then nothing says that it was a job
        assert list(sweep.bad) == [bad]
        (line,) = sweep.left_out
        assert line.startswith(f"left out: {bad}")
        assert line.count(str(bad)) == 1


def test_a_folder_that_may_not_be_read_is_named(here):
    """Root may read everything, so another user looks."""
    if os.geteuid() != 0:
        pytest.skip("takes root, to become someone else")
    good, bad = job("--seed 1"), job("--seed 2")
    here.resolve().parent.chmod(0o755)
    bad.chmod(0)
    os.seteuid(65534)
    try:
        sweep = load(here)
    finally:
        os.seteuid(0)
        bad.chmod(0o755)
    assert [j.folder for j in sweep.jobs] == [good]
    assert sweep.bad == {bad: "Permission denied"}


def test_links_to_jobs_elsewhere_are_read_once(here, tmp_path):
    near, far, farther = job("--seed 1"), job("--seed 2"), job("--seed 3")
    (tmp_path / "scratch").mkdir()
    shutil.move(far, tmp_path / "scratch/job")
    shutil.move(farther, tmp_path / "scratch/many")
    far.symlink_to(tmp_path / "scratch/job")
    (here / "many").symlink_to(tmp_path / "scratch")  # the same job again, and another
    (here / "again").symlink_to(near.resolve())
    (near.parent / "round").symlink_to(here.resolve())
    (tmp_path / "scratch/up").symlink_to(tmp_path)
    sweep = load(here)
    assert len(sweep.jobs) == 3
    assert {near, here / "many/many"} < {j.folder for j in sweep.jobs}
    assert not sweep.bad
    assert set(sweep.table("finetune_accuracy").seed) == {1, 2, 3}
