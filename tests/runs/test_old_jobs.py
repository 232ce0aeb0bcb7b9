"""Jobs that an earlier program began: they are resumed, finished and read."""

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

import pytest

from analysis.jobs.load import load
from flags.command_line import parse
from tests.program import run_main

OLD = Path(__file__).parent / "old_jobs"
FLAGS = (
    "--task category --n_layers 1 --n_heads 2 --d_model 8 --d_ff 8 --n_task_dims 6 --n_symbols 4 --n_in_context 8 --max_len 64 "
    "--n_train 24 --n_val 4 --n_test 2 --n_epochs 3 --pretrain_lr 0.01 --recipe robust --queries_per_episode 4 --pretrain_bs 40 "
    "--warmup_steps 100 --weight_init normal --readout_steps 0 --keep_by accuracy --stage_steps 0 --finetune_beta2 0.98 "
    "--iwl_init_scale 0.1 --test_every 7 --print_every 5 --n_blocks 2 --n_steps_per_block 13 --finetune_bs 3 "
    "--finetune_test_every 5 --restarts 0 --threads 1"
)


@pytest.mark.parametrize("phase", ["metalearning", "finetuning"])
def test_a_job_of_an_earlier_program_is_resumed_and_read(phase, tmp_path):
    job = tmp_path / "results" / "job"
    shutil.copytree(OLD / phase, job)
    written = {path.name: path.read_text().splitlines() for path in job.glob("*.csv")}
    done = run_main(*FLAGS.split(), "--out_dir", str(job))
    assert done.returncode == 0, done.stderr
    assert "After training" in done.stdout
    for name, lines in written.items():
        assert (job / name).read_text().splitlines()[: len(lines)] == lines, name
    rows = load(tmp_path / "results").table("finetune_accuracy")  # refuses tables that lack rows
    assert sorted(set(rows.step)) == [0, 5, 10, 13, 15, 20, 25, 26]
    assert len(rows) == 8 * 3 * 16  # steps, subsets, members (2 rotations × 2 contexts × 2 step curricula × 2 episodes)


def test_the_command_of_a_job_of_an_earlier_program_has_no_stages():
    """It asks for the same today, and for the number of epochs: the recipe has updates."""
    jobs = load(OLD).unfinished
    assert len(jobs) == 2
    jobs += [dataclasses.replace(job, flags={**job.flags, "n_layers": 4}) for job in jobs]
    for job in jobs:
        config = parse(shlex.split(job.command)[2:])
        assert config.stage_steps == (0 if config.n_layers == 4 else None)  # one layer has no stage before it
        again = {**config.defining_values(), "stage_steps": None}
        assert json.loads(json.dumps(again)) == {name: json.loads(json.dumps(job.flags[name])) for name in again}
        assert (config.finetune_beta2, config.iwl_init_scale, config.stages) == (0.98, 0.1, ())
