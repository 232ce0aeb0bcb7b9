"""Lock of a job's folder: one job at a time writes to it.

A job locks the file lock.json in its folder (flock) for its whole life. The kernel frees that lock when the process ends, however
it ends, in any container; a stopped process keeps it. The file also names the holder, and counts up while the holder lives.

The count decides where the kernel's lock says nothing. That is a file system without locks, or a holder on another machine whose
locks the file system may not carry. There a job watches the count before it takes over. Clocks of two machines are never compared.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from runs import holding
from runs.files import is_unsupported, warn_once
from runs.holding import Holder
from runs.terminal import say

NAME = "lock.json"
BEAT_SECONDS = 10.0
STALE_SECONDS = 180.0  # a holder whose count stood still for so long, while another job watched it, is dead
PATIENCE_SECONDS = 1.0  # `look` locks for an instant; nobody who begins then should be refused


class Held(Exception):
    """Another job holds the folder."""


class LostLock(Exception):
    """The job no longer holds its folder: the folder is gone, or another job took it over."""


class _Ended(Exception):
    """The holder that was watched let go of the folder."""


class StoppedWaiting(Exception):
    """A signal came while the job waited for a sign of life of another one."""


class Lock:
    """A hold on a folder that exists, until it is released or the process ends.

    should_stop: asked while the job waits whether it still should. Raises Held if another job holds the folder, StoppedWaiting,
    or OSError if the folder may not be written to.
    """

    def __init__(self, folder: Path, should_stop: Callable[[], bool] = lambda: False):
        self._path = folder / NAME
        self._me = holding.this_process()
        self._descriptor = _take(self._path, self._me, should_stop)
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lock heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            self._me["beats"] += 1
            with contextlib.suppress(OSError):  # the job itself will notice what is wrong with its folder
                os.pwrite(self._descriptor, holding.count(self._me), 0)
                os.fsync(self._descriptor)

    def check(self) -> None:
        """Raise LostLock if this is not the holder any more. Call it before anything is written into the folder."""
        if _is_mine(self._path, self._descriptor, self._me):
            return
        if not os.path.lexists(self._path):
            raise LostLock(f"{self._path.parent} is gone, or its {NAME} is")
        raise LostLock(f"{self._path.parent} was taken over by {holding.describe(holding.of(self._path))}")

    def release(self, moved_to: Path | None = None) -> None:
        """Let go of the folder, which may have been renamed. A folder that another job took over is left alone."""
        if self._released.is_set():
            return
        self._released.set()
        self._thread.join()
        path = moved_to / NAME if moved_to else self._path
        with contextlib.suppress(OSError):
            if _is_mine(path, self._descriptor, self._me):
                path.unlink()
        os.close(self._descriptor)


def look(folder: Path) -> tuple[str, Holder | None]:
    """Return the holder of a folder. Waits for nothing, changes nothing.

    The first word is "held"; "free"; or "unknown": only watching its count could tell whether the holder lives. The second is what
    the holder said of itself, if that can be read.
    """
    path = folder / NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | holding.PLAIN)
    except FileNotFoundError:
        return "free", None
    except OSError:
        return "unknown", None
    try:
        locks = _lock(descriptor, fcntl.LOCK_SH)
        holder = holding.read(descriptor)
        return ("free" if locks and _is_gone(holder, descriptor) else "unknown"), holder
    except Held:
        return "held", holding.read(descriptor)
    except OSError:
        return "unknown", None
    finally:
        os.close(descriptor)


def check_free(folder: Path) -> None:
    """Raise Held if another job certainly holds the folder. Changes nothing."""
    state, holder = look(folder)
    if state == "held":
        raise Held(_refusal(folder, holder))


def check_none_below(folder: Path) -> None:
    """Raise Held if a job holds a folder somewhere below this one, or may hold it. Changes nothing."""
    for path in sorted(folder.rglob(NAME)):
        if path.parent != folder:
            state, holder = look(path.parent)
            if state == "held":
                raise Held(_refusal(path.parent, holder))
            if state == "unknown":
                raise Held(f"{path.parent} may be held by {holding.describe(holder)}; if that job is dead, remove {path}")


def _refusal(folder: Path, holder: Holder | None) -> str:
    return f"{folder} is held by another job: {holding.describe(holder)}"


def _take(path: Path, me: Holder, should_stop: Callable[[], bool]) -> int:
    """Lock the file and write into it who holds it; returns its descriptor, which has to stay open."""
    while True:
        descriptor, is_new = _open(path)
        try:
            locks = _lock(descriptor, fcntl.LOCK_EX, PATIENCE_SECONDS)
            if not locks:
                warn_once("locks", f"the file system of {path.parent} has no locks: jobs watch each other's {NAME} instead")
            holder = holding.read(descriptor)
            if not is_new and not (locks and _is_gone(holder, descriptor)):
                _watch(path, holder, should_stop)
                if not locks:  # the file may still be another's: a new one takes its place
                    new = _replace(path)
                    os.close(descriptor)
                    descriptor = new
            holding.write(descriptor, {**me, "locks": locks, "device": os.fstat(descriptor).st_dev})
            if _is_mine(path, descriptor, me):  # else the file was moved away, or removed, meanwhile
                return descriptor
        except _Ended:
            pass
        except Held:
            os.close(descriptor)
            raise Held(_refusal(path.parent, holding.of(path))) from None
        except BaseException:
            with contextlib.suppress(OSError):
                if (
                    is_new
                    and os.path.samestat(os.stat(path), os.fstat(descriptor))
                    and holding.token(holding.read(descriptor)) in (None, me["token"])
                ):
                    path.unlink()  # nothing, or less than a word, could be written
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(path: Path) -> tuple[int, bool]:
    """Open the lock file; the second value tells whether it was made for that. Raises OSError if it is no plain file."""
    while True:
        with contextlib.suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR | holding.PLAIN)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor, False
            os.close(descriptor)
            raise OSError(errno.EINVAL, f"{path} is no file")


def _replace(path: Path) -> int:
    """Put a new, empty file at the lock's place; returns its descriptor."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    os.replace(temporary, path)
    return descriptor


def _lock(descriptor: int, kind: int, patience: float = 0.0) -> bool:
    """Lock an open file; False if the file system has no locks. Raises Held if another process has the lock."""
    limit = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= limit:
                raise Held from None
            time.sleep(0.05)
        except OSError as error:
            if not is_unsupported(error):
                raise
            return False


def _is_gone(holder: Holder | None, descriptor: int) -> bool:
    """Return True if a holder whose lock is free must have ended: it locked the file under this kernel and through this mount, or
    it was an earlier start of this SLURM job."""
    if holder is None:
        return True
    me = holding.this_process()
    same_job = me["slurm_job"] is not None and holder.get("slurm_job") == me["slurm_job"]
    if same_job and holder.get("slurm_restart") != me["slurm_restart"]:
        return True
    same_place = (holder.get("boot"), holder.get("device")) == (me["boot"], os.fstat(descriptor).st_dev)
    return bool(holder.get("locks")) and same_place


def _is_mine(path: Path, descriptor: int, me: Holder) -> bool:
    """Return True if the lock file at this path is the open one, and says that this process holds it."""
    try:
        if os.path.samestat(os.stat(path), os.fstat(descriptor)):
            return holding.token(holding.read(descriptor)) == me["token"]
    except (FileNotFoundError, NotADirectoryError):
        return False
    return holding.token(holding.of(path)) == me["token"]  # some file systems number a file anew each time it is looked at


def _watch(path: Path, holder: Holder | None, should_stop: Callable[[], bool]) -> None:
    """Wait until the holder's count stood still for STALE_SECONDS. Raises Held at its first sign of life, _Ended if it ends."""
    who = holding.describe(holder)
    say(f"main.py: {path.parent} may be held by {who}: waiting for a sign of life, {STALE_SECONDS:g} seconds at most")
    first, limit = _fingerprint(path), time.monotonic() + STALE_SECONDS
    while time.monotonic() < limit:
        if should_stop():
            raise StoppedWaiting
        if _fingerprint(path) != first:
            raise Held
        time.sleep(min(1.0, STALE_SECONDS / 10))


def _fingerprint(path: Path) -> tuple[bytes, int]:
    """Return what a sign of life changes: the content, and the file's own time, as earlier programs only touched the file."""
    try:
        with open(path, "rb") as file:
            return file.read(), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        raise _Ended from None
