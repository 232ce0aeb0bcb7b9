"""One writer a folder: on one machine, in two containers, and where the file system has no locks."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runs import holding, lock
from runs.folder import FolderTaken, claim, is_finished
from runs.lock import Held, Lock, LostLock, StoppedWaiting
from tests.conftest import TINY
from tests.program import ROOT, Program, run_main
from tests.test_main import contents, wait_for

HOLD = """
import sys, time
from pathlib import Path
from runs import lock
lock.BEAT_SECONDS = 0.05
held = lock.Lock(Path(sys.argv[1]))
print("held", flush=True)
while True:
    time.sleep(0.01)
    try:
        held.check()
    except lock.LostLock as error:
        sys.exit(f"lost: {error}")
"""


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    """A library to preload: file systems that refuse what NO_LOCKS and NO_FLUSH name."""
    if not shutil.which("cc"):
        pytest.skip("takes a C compiler")
    library = tmp_path_factory.mktemp("refusing") / "refusing.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, Path(__file__).parent / "refusing.c"], check=True)
    return {"LD_PRELOAD": str(library)}


def begin(folder: Path, *before: str, env: dict | None = None, code: str = HOLD) -> subprocess.Popen:
    """Another process that holds a folder, and tells when it lost it."""
    command = [*before, sys.executable, "-c", code, str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(env or {})}, **pipes)


@pytest.fixture
def holders():
    """Begins processes that hold a folder, and ends them after the test."""
    begun = []

    def hold(folder: Path, *before: str, env: dict | None = None) -> subprocess.Popen:
        begun.append(begin(folder, *before, env=env))
        assert begun[-1].stdout.readline() == "held\n", begun[-1].stderr.read()
        return begun[-1]

    yield hold
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def quick(monkeypatch):
    """Seconds, not minutes, of watching."""
    monkeypatch.setattr(lock, "STALE_SECONDS", 1.0)
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)


def change(folder, **values):
    """Make the lock say something else of its holder; its count stays where it is."""
    path = folder / lock.NAME
    holding.write(os.open(path, os.O_RDWR), {**json.loads(path.read_text()), **values})


def left_by_another_machine(folder, **values):
    """A lock that a job of another machine left, or has."""
    shutil.copy(folder / lock.NAME, folder / "copy")
    os.replace(folder / "copy", folder / lock.NAME)  # a file that nobody here has locked
    change(folder, boot="another", host="elsewhere", **values)


# On one machine the kernel's lock decides.


def test_a_living_holder_keeps_the_folder(tmp_path, holders):
    holder = holders(tmp_path)
    with pytest.raises(Held, match=f"held by another job: process {holder.pid} on "):
        Lock(tmp_path)
    assert lock.look(tmp_path)[0] == "held"


def test_a_killed_holder_is_replaced_at_once(tmp_path, holders):
    holder = holders(tmp_path)
    holder.kill()
    holder.wait()
    assert lock.look(tmp_path)[0] == "free"
    mine = Lock(tmp_path)
    mine.check()
    mine.release()
    assert not list(tmp_path.iterdir())


def test_a_stopped_holder_keeps_the_folder_however_old_its_lock_is(tmp_path, holders, quick):
    holder = holders(tmp_path)
    holder.send_signal(signal.SIGSTOP)
    os.utime(tmp_path / lock.NAME, (0, 0))
    with pytest.raises(Held):
        Lock(tmp_path)


def test_two_containers_of_one_machine(tmp_path, holders):
    apart = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("a PID namespace takes root")
    holders(tmp_path, *apart)
    with pytest.raises(Held):
        Lock(tmp_path)
    second = begin(tmp_path, *apart)
    _, errors = second.communicate()
    assert second.returncode == 1
    assert "Held" in errors


def test_a_lock_is_looked_at_without_being_taken_or_changed(tmp_path):
    assert lock.look(tmp_path) == ("free", None)
    mine = Lock(tmp_path)
    before = (tmp_path / lock.NAME).read_bytes()
    state, holder = lock.look(tmp_path)
    assert (state, holder["pid"]) == ("held", os.getpid())
    assert (tmp_path / lock.NAME).read_bytes() == before
    mine.check()
    mine.release()


def test_somebody_who_only_looks_keeps_nobody_from_beginning(tmp_path):
    (tmp_path / lock.NAME).touch()
    looking = os.open(tmp_path / lock.NAME, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    waiting = begin(tmp_path)
    time.sleep(0.5)
    os.close(looking)
    try:
        assert waiting.stdout.readline() == "held\n"
    finally:
        waiting.kill()
        waiting.communicate()


# On another machine only the count tells.


def test_a_silent_holder_of_another_machine_is_replaced_after_it_was_watched(tmp_path, quick, capsys):
    first = Lock(tmp_path)
    first._released.set()  # no more signs of life
    left_by_another_machine(tmp_path)
    os.utime(tmp_path / lock.NAME, (2e9, 2e9))  # whatever its clock says
    assert lock.look(tmp_path)[0] == "unknown"
    began = time.monotonic()
    Lock(tmp_path).check()
    assert time.monotonic() - began >= lock.STALE_SECONDS
    assert (
        f"may be held by process {os.getpid()} on elsewhere: waiting for a sign of life, 1 seconds at most"
        in capsys.readouterr().err
    )
    with pytest.raises(LostLock, match="taken over by process"):
        first.check()


def test_a_sign_of_life_from_another_machine_is_enough(tmp_path, quick):
    Lock(tmp_path)
    left_by_another_machine(tmp_path)
    os.utime(tmp_path / lock.NAME, (0, 0))  # a clock that is far behind
    calls = []

    def beat() -> bool:
        calls.append(change(tmp_path, beats=len(calls) + 1))
        return False

    with pytest.raises(Held, match="on elsewhere"):
        Lock(tmp_path, should_stop=beat)


def test_a_lock_through_another_mount_is_watched(tmp_path, quick, capsys):
    """Two containers with a mount each of one remote folder: neither sees the other's lock, and their kernel is the same."""
    Lock(tmp_path)._released.set()
    left_by_another_machine(tmp_path)
    change(tmp_path, boot=holding.boot(), device=1)
    assert lock.look(tmp_path)[0] == "unknown"


def test_a_holder_that_ends_while_it_is_watched_is_followed_at_once(tmp_path, quick):
    Lock(tmp_path)._released.set()
    left_by_another_machine(tmp_path)
    Lock(tmp_path, should_stop=lambda: bool((tmp_path / lock.NAME).unlink(missing_ok=True))).check()


@pytest.mark.parametrize("kind", ["a pipe", "a link"])
def test_what_is_no_lock_file_is_an_error_and_nobody_waits_for_it(tmp_path, kind):
    if kind == "a pipe":
        os.mkfifo(tmp_path / lock.NAME)
    else:
        (tmp_path / lock.NAME).symlink_to("nowhere")
    with pytest.raises(OSError, match=r"is no file|Too many levels"):
        Lock(tmp_path)
    assert lock.look(tmp_path)[0] == "unknown"


def test_a_job_that_waits_can_be_stopped(tmp_path, quick):
    Lock(tmp_path)
    left_by_another_machine(tmp_path)
    with pytest.raises(StoppedWaiting):
        Lock(tmp_path, should_stop=lambda: True)


@pytest.mark.parametrize(("job", "restarts", "free"), [("17", "1", True), ("17", "0", False), ("18", "1", False)])
def test_a_requeued_slurm_job_takes_over_from_its_earlier_start(tmp_path, monkeypatch, job, restarts, free):
    Lock(tmp_path)
    left_by_another_machine(tmp_path, slurm_job="17", slurm_restart="0")
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    assert lock.look(tmp_path)[0] == ("free" if free else "unknown")


def test_a_lock_of_an_earlier_program_is_watched(tmp_path, quick):
    """It names host and process only, and touches its file as a sign of life."""
    path = tmp_path / lock.NAME
    path.write_text(json.dumps({"host": "here", "pid": 1, "started": "7"}))
    with pytest.raises(Held, match="process 1 on here"):
        Lock(tmp_path, should_stop=lambda: bool(path.touch()))
    Lock(tmp_path).release()


# Where there are no locks the count decides on one machine, too.


def test_without_locks_a_living_holder_keeps_the_folder(tmp_path, holders, refusing):
    without = {**refusing, "NO_LOCKS": "1"}
    holders(tmp_path, env=without)
    second = begin(tmp_path, env=without)
    _, errors = second.communicate()
    assert second.returncode == 1
    assert "has no locks: jobs watch each other's lock.json instead" in errors
    assert "runs.lock.Held" in errors


def test_without_locks_a_stopped_holder_notices_that_it_lost_the_folder(tmp_path, holders, refusing):
    without = {**refusing, "NO_LOCKS": "1"}
    first = holders(tmp_path, env=without)
    first.send_signal(signal.SIGSTOP)
    again = HOLD.replace("lock.BEAT", "lock.STALE_SECONDS = 1.0\nlock.BEAT")
    command = [sys.executable, "-c", again, str(tmp_path)]
    second = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **without}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert second.stdout.readline() == "held\n"
        first.send_signal(signal.SIGCONT)
        _, errors = first.communicate()
        assert f"lost: {tmp_path} was taken over by process {second.pid} on " in errors
        assert second.poll() is None  # and it goes on
    finally:
        second.kill()
        second.communicate()


def test_a_file_system_that_can_neither_lock_nor_flush_folders_is_told_of_once(finished_job, refusing, tmp_path):
    task, undisturbed, _ = finished_job
    refuses = {**os.environ, **refusing, "NO_LOCKS": "1", "NO_FLUSH": "1"}
    done = run_main(*TINY[task].split(), "--n_runs", "2", "--out_dir", str(tmp_path / "job"), env=refuses)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("has no locks") == 1
    assert done.stderr.count("cannot flush folders (Invalid argument): a power failure may lose what was saved last") == 1
    assert contents(tmp_path / "job") == contents(undisturbed)


# What a job does with its folder.


@pytest.mark.parametrize("flags", [[], ["--overwrite"], ["--no_resume"]])
def test_a_second_job_says_who_holds_the_folder_and_leaves_with_status_3(tmp_path, holders, flags):
    holder = holders(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    done = run_main("--preset", "demo", "--out_dir", str(tmp_path), *flags)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"main.py: error: {tmp_path} is held by another job: process {holder.pid} on ")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_overwrite_does_not_move_a_running_job_below_it(tmp_path, holders):
    job = tmp_path / "results" / "deep" / "job"
    job.mkdir(parents=True)
    holder = holders(job)
    done = run_main("--preset", "demo", "--out_dir", str(tmp_path / "results"), "--overwrite")
    assert done.returncode == 3
    assert done.stderr.startswith(f"main.py: error: {job} is held by another job: process {holder.pid} on ")
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    with pytest.raises(Held, match="is held by another job"):  # also if it began after the first look
        claim(tmp_path / "results", overwrite=True)


def test_of_two_jobs_that_begin_together_one_has_the_folder(tmp_path):
    folder = tmp_path / "job"
    flags = [*TINY["grid"].split(), "--n_epochs", "400", "--checkpoint_every", "0", "--out_dir", str(folder)]
    started = []
    for more in ([], ["--overwrite"]):
        started.append(Program(*flags, *more))
    while all(process.poll() is None for process in started):
        time.sleep(0.05)
    loser, winner = sorted(started, key=lambda process: process.poll() is None)
    _, errors = loser.communicate()
    assert (loser.returncode, errors.count("\n")) == (3, 1)
    assert f"is held by another job: process {winner.pid} on " in errors
    wait_for(winner, folder / "pretrain_loss.csv", 200)
    winner.send_signal(signal.SIGTERM)
    assert winner.wait() == 75
    rows = [line.rsplit(",", 1)[0] for line in (folder / "pretrain_loss.csv").read_text().splitlines()]
    assert len(set(rows)) == len(rows)
    assert [path.name for path in tmp_path.iterdir()] == ["job"]


def test_a_folder_is_moved_aside_while_it_is_held_and_its_lock_goes_with_nobody(tmp_path):
    folder = tmp_path / "job"
    claim(folder).lock.release()
    (folder / "results.csv").write_text("x")
    claimed = claim(folder, overwrite=True)
    assert claimed.made == [folder]
    claimed.lock.check()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job", "job.old"]
    assert [path.name for path in (tmp_path / "job.old").iterdir()] == ["results.csv"]
    claimed.undo(folder)  # as after bad input: everything is where it was
    assert [path.name for path in tmp_path.iterdir()] == ["job"]
    assert [path.name for path in folder.iterdir()] == ["results.csv"]


def test_saved_states_without_a_job_are_content(tmp_path):
    """Under --overwrite they would be loaded as the new job's own."""
    folder = tmp_path / "job"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "resume_0.safetensors").write_bytes(b"x")
    with pytest.raises(FolderTaken, match="not of a job"):
        is_finished(folder, {"seed": 1})
    claim(folder, overwrite=True).lock.release()
    assert not list(folder.iterdir())
    assert (tmp_path / "job.old" / "checkpoints" / "resume_0.safetensors").exists()


def test_a_lock_that_cannot_be_written_is_an_error(tmp_path):
    """A file that takes a part of what is written to it, as on a disk that becomes full, and then no more."""
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40)); from pathlib import Path; import runs.lock; "
    done = subprocess.run(
        [sys.executable, "-c", code + "runs.lock.Lock(Path(sys.argv[1]))", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert "OSError: [Errno 27] File too large" in done.stderr
    assert not list(tmp_path.iterdir())
