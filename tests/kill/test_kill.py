"""Many true kills of a job, in each phase and while it resumes: `make test-kill`."""

import os
import random
import signal
import time

import pytest

from tests.test_main import contents, start, wait_for

KILLS = 24  # in each phase; every third while the job begins or resumes, before it goes on


@pytest.mark.parametrize("phase_file", ["pretrain_loss.csv", "finetune_loss.csv"])
def test_many_kills_leave_the_same_bytes(finished_job, tmp_path, phase_file):
    task, undisturbed, _ = finished_job
    size = (undisturbed / phase_file).stat().st_size
    folder = tmp_path / "job"
    moments = random.Random(phase_file + task)
    resumed = 0
    for number in range(KILLS):
        process = start(task, folder)
        if number % 3 == 2:
            time.sleep(moments.uniform(0, 4))
            resumed += 1
        else:
            wait_for(process, folder / phase_file, size * number / (KILLS + 2))
            time.sleep(moments.uniform(0, 0.1))
        assert process.poll() is None, f"the job was done before kill {number}; choose earlier moments"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    process = start(task, folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert contents(folder) == contents(undisturbed)
    print(f"\n{task}, {phase_file}: {KILLS} kills survived, {resumed} of them at an arbitrary moment after a start")
