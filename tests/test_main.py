"""The program as a user runs it."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from runs.machine import commit
from tests.conftest import TINY
from tests.program import ROOT, Program, run_main

JOB_FILES = ("config.json", "pretrain_loss.csv", "pretrain_accuracy.csv", "finetune_loss.csv", "finetune_accuracy.csv",
             "summary.json", "summary.png", "progress.json", "checkpoints/model.json")  # fmt: skip


def contents(folder) -> dict[str, bytes]:
    """What must be the same however often a job was interrupted."""
    paths = [*folder.glob("*.csv"), *folder.glob("checkpoints/*.safetensors"), folder / "summary.json"]
    return {path.name: path.read_bytes() for path in paths}


def test_a_job_leaves_its_files(finished_job):
    task, folder, done = finished_job
    for name in JOB_FILES:
        assert (folder / name).stat().st_size > 0, name
    assert {path.name for path in folder.glob("checkpoints/*")} == {
        "best_seed0.safetensors",
        "best_seed1.safetensors",
        "model.json",
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["flags"]["task"] == task
    assert config["environment"]["threads"] == 1
    assert config["execution"]["out_dir"] == str(folder)
    model = json.loads((folder / "checkpoints" / "model.json").read_text())
    assert model["architecture"]["vocab_size"] == len(model["vocabulary"])
    assert "Few-shot" in done.stdout
    assert "After training" in done.stdout


def test_the_table_says_what_the_rows_say(finished_job):
    """The headline numbers, counted again from the CSV."""
    _, folder, done = finished_job
    rows = pd.read_csv(folder / "finetune_accuracy.csv")
    summary = json.loads((folder / "summary.json").read_text())
    first = rows[(rows.step == 0) & (rows.subset == "novel") & (rows.step_curriculum == "blocked")]
    for entry in summary["few_shot"]:
        part = first[(first.rotation == entry["rotation"]) & (first.context_curriculum == entry["context_curriculum"])]
        assert entry["accuracy"] == pytest.approx(part.n_correct.sum() / part.n_queries.sum())
    last = rows[(rows.step == 26) & (rows.subset != "novel")]
    for entry in summary["after_training"]:
        part = last
        for name in ("rotation", "context_curriculum", "step_curriculum"):
            part = part[part[name] == entry[name]]
        groups = part.groupby("subset")[["n_correct", "n_queries"]].sum()
        assert entry["accuracy"] == pytest.approx((groups.n_correct / groups.n_queries).mean())
        assert f"{entry['accuracy']:.3f}" in done.stdout


def test_a_finished_job_prints_its_table_again(finished_job):
    task, folder, done = finished_job
    before = contents(folder)
    again = run_main(*TINY[task].split(), "--n_runs", "2", "--out_file", str(folder))
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert contents(folder) == before


def test_other_flags_in_its_folder_are_an_error(finished_job):
    task, folder, _ = finished_job
    before = contents(folder)
    other = run_main(*TINY[task].split(), "--n_runs", "1", "--out_dir", str(folder))
    assert other.returncode == 2
    assert other.stderr.count("\n") == 1
    assert "--n_runs 2 instead of 1" in other.stderr
    assert contents(folder) == before


def start(task, folder) -> Program:
    minutes = {"grid": "0", "category": "0.005"}[task]  # after every step; three times a second
    flags = [*TINY[task].split(), "--n_runs", "2", "--checkpoint_every", minutes, "--out_dir", str(folder)]
    return Program(*flags)


def wait_for(process, path, size):
    """Until a file has a size, or the process ends."""
    while process.poll() is None and not (path.exists() and path.stat().st_size >= size):
        time.sleep(0.005)


@pytest.mark.parametrize("phase_file", ["pretrain_loss.csv", "finetune_loss.csv"])
def test_three_kills_in_a_phase_leave_the_same_bytes(finished_job, tmp_path, phase_file):
    task, undisturbed, _ = finished_job
    size = (undisturbed / phase_file).stat().st_size
    folder = tmp_path / "job"
    moments = random.Random(phase_file + task)
    for part in (0.05, 0.4, 0.7):
        process = start(task, folder)
        wait_for(process, folder / phase_file, size * part)
        time.sleep(moments.uniform(0, 0.2))
        assert process.poll() is None, "the job was done before it was killed; choose earlier moments"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    process = start(task, folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert contents(folder) == contents(undisturbed)


@pytest.mark.parametrize("phase_file", ["pretrain_loss.csv", "finetune_loss.csv"])
def test_a_signal_saves_and_asks_to_be_requeued(finished_job, tmp_path, phase_file):
    task, undisturbed, _ = finished_job
    folder = tmp_path / "job"
    flags = [*TINY[task].split(), "--n_runs", "2", "--out_dir", str(folder)]  # no other saving: every ten minutes
    process = Program(*flags)
    wait_for(process, folder / phase_file, (undisturbed / phase_file).stat().st_size * 0.3)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 75, errors
    assert f"SIGTERM: saved in {folder}; the same command resumes it" in errors
    progress = json.loads((folder / "progress.json").read_text())
    assert progress["phase"] == {"pretrain_loss.csv": "metalearning", "finetune_loss.csv": "finetuning"}[phase_file]
    assert 0 < progress["step"] < progress["n_steps"]
    if phase_file == "finetune_loss.csv":  # the kept weights are damaged meanwhile: one line, and mended by the right bytes
        weights = folder / "checkpoints" / "best_seed1.safetensors"
        right = weights.read_bytes()
        weights.write_bytes(right[:-9])
        damaged = run_main(*flags)
        assert damaged.returncode == 1
        assert damaged.stderr.startswith(f"main.py: failed: {weights} cannot be read as weights")
        assert damaged.stderr.count("\n") == 1
        weights.write_bytes(right)
    assert run_main(*flags).returncode == 0
    assert contents(folder) == contents(undisturbed)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--n_epoch 3", "--n_epoch: unknown flag; did you mean --n_epochs?"),
        ("--task gird", "--task gird: must be one of grid, category; did you mean grid?"),
        ("--seed one", "--seed one: must be a whole number"),
        ("--pretrain_lr nan", "--pretrain_lr nan: must be a finite number"),
        ("--pretrain_lr 0", "--pretrain_lr 0: must be above 0"),
        ("--n_train -5", "--n_train -5: must be at least 1"),
        ("--p_flip_xy 1.5", "--p_flip_xy 1.5: must be at most 1"),
        ("--unflipped_epochs 2", "--unflipped_epochs: unknown flag"),
        ("--n_epochs 0 --stage_steps 5", "--stage_steps 5: --n_epochs 0 turns metalearning off; leave the flag out"),
        ("--n_epochs 0 --readout_steps 5", "--readout_steps 5: --n_epochs 0 turns metalearning off; leave the flag out"),
        ("--n_epochs 0 --pretrain_steps 5", "--pretrain_steps 5: --n_epochs 0 turns metalearning off; leave the flag out"),
        ("--stage_steps 5", "--stage_steps 5: these flags have no stage before the last; leave the flag out"),
        ("--preset demo --stage_steps 5", "--stage_steps 5: these flags have no stage before the last; leave the flag out"),
        (
            "--n_epochs 0 --init_scale 0.1",
            "--init_scale 0.1: --n_epochs 0 turns metalearning off; for finetuning from random weights",
        ),
        ("--experiment iwl_only --weight_init matching", "--weight_init matching: --n_epochs 0 turns metalearning off; for"),
        ("--n_heads 3", "--n_heads 3: must divide --d_model 64"),
        ("--n_heads 64", "--n_heads 64: makes heads of width 1"),
        ("--n_positions 6", "--n_positions 6: must be at most --n_symbols 5: a name's symbols differ"),
        ("--real_words --n_symbols 21", "--n_symbols 21: must be at most 20 with --real_words"),
        ("--n_symbols 4", "--n_symbols 4: makes 4 names; an episode needs 5"),
        ("--generate_all --n_train 15000", "15180 different episodes are asked for"),
        ("--queries_per_episode 4", "--queries_per_episode 4: must divide the 25 queries of an episode: 1, 5, 25"),
        ("--queries_per_episode 25 --pretrain_bs 20", "--pretrain_bs 20: must hold at least"),
        ("--max_len 59", "--max_len 59: a sequence has 60 tokens"),
        ("--task category --pt_cond aligned", "--pt_cond aligned: the category task has blocked, interleaved"),
        ("--task category --n_in_context 30", "--n_in_context 30: must be a multiple of 4"),
        ("--task category --n_in_context 64", "--n_in_context 64: must be less than n_symbols², 64"),
        ("--task category --n_symbols 7", "--n_symbols 7: must be even"),
        ("--task category --n_labels 4 --n_labels_per_task 4", "--n_labels_per_task 4: needs --n_rel_dims 2"),
        ("--task category --n_labels_per_task 4 --n_rel_dims 2", "--n_labels_per_task 4: must be at most --n_labels 2"),
        (
            "--task category --n_task_dims 11",
            "--n_val 100: with --n_test 10 holds out 110 pairs of dimensions; --n_task_dims 11 has 110",
        ),
        ("--out_dir . --overwrite", "--out_dir .: is not a folder of its own"),
        ("--show 1 --load_data_from .", "--show 1: draws episodes made from the flags"),
        ("--task category --n_distractors 199", "--n_distractors 199: leaves none"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(flags, message, tmp_path, capsys, monkeypatch):
    import main

    monkeypatch.chdir(tmp_path)
    assert main.main(flags.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("main.py: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not list(tmp_path.iterdir())


def test_missing_value_and_wrong_input_from_the_shell(tmp_path):
    for flags in (["--seed"], ["--n_heads", "3"]):
        done = run_main(*flags, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "Traceback" not in done.stderr
        assert flags[0] in done.stderr


def test_an_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    done = run_main(*TINY["grid"].split(), "--out_dir", str(tmp_path / "file" / "job"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--out_dir" in done.stderr


def test_dry_run_prints_and_writes_nothing(tmp_path):
    done = run_main(*TINY["category"].split(), "--dry_run", "--out_dir", str(tmp_path / "job"))
    assert done.returncode == 0
    assert "--n_in_context 8" in done.stdout
    assert "parameters" in done.stdout
    assert "\ntraining  " in done.stdout
    assert not list(tmp_path.iterdir())


def test_show_ends_quietly_when_nobody_reads_on():
    with subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "--show", "300"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as shown:
        assert shown.stdout.readline().startswith("Episode 0")
        shown.stdout.close()
        assert shown.stderr.read() == ""


def test_show_draws_the_places_that_the_text_gives(tmp_path):
    done = run_main("--task", "grid", "--real_words", "--show", "2", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert sum(line.startswith("Episode ") for line in lines) == 2
    first = next(line for line in lines if line.startswith("<|endoftext|>")).split(" ")
    x, y = int(first[4]), int(first[5])  # the first study item's answer
    row = next(line for line in lines if line.startswith(f"{y} │"))
    assert row[3 + 4 * x : 7 + 4 * x].strip() == "A1"
    assert not list(tmp_path.iterdir())


def test_a_diverging_run_fails_with_step_and_rate(tmp_path):
    done = run_main(*TINY["grid"].split(), "--pretrain_lr", "1e30", "--out_dir", str(tmp_path / "job"))
    assert done.returncode == 1
    assert "the loss is nan at step" in done.stderr
    assert "--pretrain_lr 1e+30" in done.stderr
    assert "nan" in json.loads((tmp_path / "job" / "progress.json").read_text())["last_error"]


def test_git_is_not_needed(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert commit() is None


def test_no_finetuning_still_tests_few_shot(tmp_path):
    done = run_main(*TINY["category"].split(), "--n_blocks", "0", "--n_epochs", "1", "--out_dir", str(tmp_path / "job"))
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path / "job" / "finetune_accuracy.csv")
    assert set(rows.step) == {0}
    assert "Few-shot" in done.stdout
    assert "After training" not in done.stdout


def test_in_weight_learning_only(tmp_path):
    """With --n_epochs 0 finetuning starts from the seed's random weights, the same beside metalearned ones."""
    flags = TINY["category"].split()
    for name, more in (("only", ["--experiment", "iwl_only"]), ("beside", ["--with_iwl_only"])):
        assert (
            run_main(
                *(f for f in flags), *more, *(["--n_epochs", "0"] if name == "only" else []), "--out_dir", str(tmp_path / name)
            ).returncode
            == 0
        )
    only, beside = (pd.read_csv(tmp_path / name / "finetune_accuracy.csv") for name in ("only", "beside"))
    assert set(only.init) == {"random"}
    assert set(beside.init) == {"random", "metalearned"}
    keys = ["rotation", "context_curriculum", "step_curriculum", "episode", "step", "subset"]
    beside = beside[(beside.init == "random") & (beside.step == 0)].sort_values(keys)
    assert beside.n_correct.tolist() == only[only.step == 0].sort_values(keys).n_correct.tolist()
