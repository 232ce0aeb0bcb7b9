"""What a job does when its disk fails it in mid-run."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import TINY
from tests.program import MAIN, Program
from tests.test_main import contents, wait_for

PHASE_FILE = {"grid": "pretrain_loss.csv", "category": "finetune_loss.csv"}  # when it happens


def flags_of(task, folder):
    """The tiny job, which saves after every step."""
    return [*TINY[task].split(), "--n_runs", "2", "--checkpoint_every", "0", "--out_dir", str(folder)]


def run(task, folder):
    return Program(*flags_of(task, folder))


def run_bound(task, folder):
    """Run it so that permissions bind it even if it is root's."""
    command = [sys.executable, str(MAIN), *flags_of(task, folder)]
    if os.geteuid() == 0:
        caps = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}", *command]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def failed(process) -> str:
    """The one line that a failed job ends with."""
    _, errors = process.communicate()
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    return errors.splitlines()[-1]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 16 MB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", mounted], capture_output=True).returncode:
        pytest.skip("a disk of one's own takes root")
    yield mounted
    subprocess.run(["umount", mounted], check=True)


def test_a_full_disk(finished_job, small_disk):
    task, undisturbed, _ = finished_job
    process = run(task, small_disk / "job")
    wait_for(process, small_disk / "job" / PHASE_FILE[task], 200)
    with open(small_disk / "others", "wb", buffering=0) as file:
        written = 1
        while process.poll() is None and written:  # until nothing is left, and again, as the job frees its older files
            try:
                written = file.write(bytes(1 << 12))
            except OSError:
                continue
    assert failed(process) == "main.py: failed: [Errno 28] No space left on device"
    (small_disk / "others").unlink()
    assert run(task, small_disk / "job").wait() == 0
    assert contents(small_disk / "job") == contents(undisturbed)


def test_a_folder_that_is_moved_away(finished_job, tmp_path):
    task, undisturbed, _ = finished_job
    process = run(task, tmp_path / "job")
    wait_for(process, tmp_path / "job" / PHASE_FILE[task], 200)
    shutil.move(tmp_path / "job", tmp_path / "elsewhere")
    assert failed(process).startswith("main.py: failed: ")
    assert not (tmp_path / "job").exists()
    assert run(task, tmp_path / "elsewhere").wait() == 0
    assert contents(tmp_path / "elsewhere") == contents(undisturbed)


def test_a_folder_that_becomes_read_only(finished_job, tmp_path):
    task, undisturbed, _ = finished_job
    folder = tmp_path / "job"
    process = run_bound(task, folder)
    wait_for(process, folder / PHASE_FILE[task], 200)
    for path in (folder / "checkpoints", folder):
        path.chmod(0o500)
    assert failed(process).startswith("main.py: failed: [Errno 13] Permission denied: ")
    refused = run_bound(task, folder)
    _, errors = refused.communicate()
    assert (refused.returncode, errors) == (
        2,
        f"main.py: error: --out_dir {folder}: cannot be written to ({folder} may not be written to)\n",
    )
    for path in (folder / "checkpoints", folder):
        path.chmod(0o700)
    assert run(task, folder).wait() == 0
    assert contents(folder) == contents(undisturbed)
