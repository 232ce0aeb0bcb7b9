"""Who holds a job's folder: one job at a time writes to it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

NAME = "lock.json"
BEAT_SECONDS = 10.0
STALE_SECONDS = 180.0  # a holder that gave no sign for so long is dead, on whatever host it was


class Held(Exception):
    """Another job holds the folder."""


class LostLock(Exception):
    """Another job took the folder over, as this one gave no sign of life for too long."""


class Lock:
    """A hold on a folder, with a heartbeat, until it is released.

    It is taken over from a holder that is dead on this host, that gave no sign of life for STALE_SECONDS, or that was
    an earlier start of this SLURM job. Raises Held otherwise.
    """

    def __init__(self, folder: Path):
        self._path = folder / NAME
        self._me = _this_process()
        with _exclusive(folder):
            check_free(folder)
            self._path.write_text(json.dumps(self._me) + "\n")
        self._released = threading.Event()
        threading.Thread(target=self._beat, name="lock heartbeat", daemon=True).start()

    def _beat(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):  # the job itself will notice what is wrong with its folder
                os.utime(self._path)

    def check(self) -> None:
        """Raise LostLock if this is not the holder any more."""
        holder = _holder(self._path)
        if holder is None:
            raise LostLock(f"{self._path.parent} is gone, or its lock is")
        if holder != self._me:
            raise LostLock(f"{self._path.parent} was taken over by {describe(holder)}")

    def release(self) -> None:
        self._released.set()
        with contextlib.suppress(OSError):
            if _holder(self._path) == self._me:
                self._path.unlink()


def check_free(folder: Path) -> None:
    """Raise Held if another job that may be alive holds the folder. Changes nothing."""
    path = folder / NAME
    holder = _holder(path)
    if holder is None or _may_be_taken(holder, path):
        return
    raise Held(f"{folder} is held by another job: {describe(holder)}")


def is_held(folder: Path) -> bool:
    """Whether a job that may be alive holds the folder."""
    path = folder / NAME
    holder = _holder(path)
    return holder is not None and not _is_dead(holder, path)


def describe(holder: dict) -> str:
    job = f", SLURM job {holder['slurm_job']}" if holder.get("slurm_job") else ""
    return f"process {holder.get('pid')} on {holder.get('host')}{job}"


def _may_be_taken(holder: dict, path: Path) -> bool:
    me = _this_process()
    restarted = holder.get("slurm_job") == me["slurm_job"] and holder.get("slurm_restart") != me["slurm_restart"]
    return (me["slurm_job"] is not None and restarted) or _is_dead(holder, path)


def _is_dead(holder: dict, path: Path) -> bool:
    try:
        silent = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return True
    if silent > STALE_SECONDS:
        return True
    return holder.get("host") == socket.gethostname() and holder.get("started") != _start_of(holder.get("pid"))


def _this_process() -> dict:
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "started": _start_of(pid),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "slurm_restart": os.environ.get("SLURM_RESTART_COUNT", "0"),
    }


def _start_of(pid: object) -> str | None:
    """When a process of this host started, so that another one with its number is not taken for it; None if it is gone.
    Where there is no /proc, only whether it is there."""
    if not isinstance(pid, int) or pid <= 0:
        return None
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "running"
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # a zombie is dead


def _holder(path: Path) -> dict | None:
    """What the lock says; None if there is none, or none that can be read."""
    try:
        holder = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return holder if isinstance(holder, dict) else None


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """One process at a time looks at the lock and takes it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
