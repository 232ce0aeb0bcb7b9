import json
import os
import subprocess
import sys
import time

import pytest

from runs import lock
from runs.lock import Held, Lock, LostLock, check_free
from tests.conftest import ROOT, run_main

HOLD = """
import sys, time
from pathlib import Path
from runs.lock import Lock
Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def change(folder, **values):
    """Make the lock say something else of its holder."""
    path = folder / lock.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_living_holder_keeps_the_folder(tmp_path, holder):
    with pytest.raises(Held, match=f"held by another job: process {holder.pid} on "):
        Lock(tmp_path)
    assert lock.is_held(tmp_path)


def test_a_killed_holder_of_this_host_is_replaced(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert not lock.is_held(tmp_path)
    mine = Lock(tmp_path)
    mine.check()
    mine.release()
    assert not (tmp_path / lock.NAME).exists()


def test_a_process_that_got_a_dead_holders_number_is_not_taken_for_it(tmp_path, holder):
    change(tmp_path, started="1")
    check_free(tmp_path)


def test_a_holder_of_another_host_counts_as_alive_while_it_gives_signs(tmp_path, holder):
    change(tmp_path, host="elsewhere")
    with pytest.raises(Held, match="on elsewhere"):
        Lock(tmp_path)
    silent = time.time() - lock.STALE_SECONDS - 1
    os.utime(tmp_path / lock.NAME, (silent, silent))
    Lock(tmp_path).release()


@pytest.mark.parametrize(
    ("job", "restarts", "free"),
    [("17", "1", True), ("17", "0", False), ("18", "1", False)],
    ids=["requeued", "twice in one allocation", "another job"],
)
def test_a_requeued_slurm_job_takes_over_from_its_earlier_start(tmp_path, holder, monkeypatch, job, restarts, free):
    change(tmp_path, host="elsewhere", slurm_job="17", slurm_restart="0")
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    if free:
        Lock(tmp_path).release()
    else:
        with pytest.raises(Held, match="on elsewhere, SLURM job 17"):
            Lock(tmp_path)


def test_who_lost_the_folder_notices_and_leaves_it_alone(tmp_path):
    mine = Lock(tmp_path)
    change(tmp_path, pid=1, host="elsewhere")
    with pytest.raises(LostLock, match="taken over by process 1 on elsewhere"):
        mine.check()
    mine.release()
    assert (tmp_path / lock.NAME).exists()


def test_signs_of_life_are_given(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
    mine = Lock(tmp_path)
    os.utime(tmp_path / lock.NAME, (0, 0))
    limit = time.monotonic() + 30
    while (tmp_path / lock.NAME).stat().st_mtime == 0 and time.monotonic() < limit:
        time.sleep(0.01)
    assert (tmp_path / lock.NAME).stat().st_mtime > 0
    mine.release()


@pytest.mark.parametrize("flags", [[], ["--overwrite"], ["--no_resume"]])
def test_a_second_job_says_who_holds_the_folder_and_leaves_with_status_3(tmp_path, holder, flags):
    before = sorted(path.name for path in tmp_path.iterdir())
    done = run_main("--preset", "demo", "--out_dir", str(tmp_path), *flags)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"main.py: error: {tmp_path} is held by another job: process {holder.pid} on ")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before
