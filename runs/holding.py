"""Content of a lock file: the job that holds it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import uuid
from pathlib import Path
from typing import Any

PLAIN = os.O_NOFOLLOW | os.O_NONBLOCK  # a link or a pipe in the lock's place is no lock, and nobody waits for it
Holder = dict[str, Any]


def describe(holder: Holder | None) -> str:
    """Return a holder in words."""
    if not holder:
        return "a job that has not said who it is"
    job = f", SLURM job {holder['slurm_job']}" if holder.get("slurm_job") else ""
    return f"process {holder.get('pid')} on {holder.get('host')}{job}"


def this_process() -> Holder:
    """Return what this process says of itself; the token is new in each call."""
    return {
        "beats": 0,
        "token": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "boot": boot(),
        "pid": os.getpid(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "slurm_restart": os.environ.get("SLURM_RESTART_COUNT", "0"),
    }


def boot() -> str:
    """Return what names this machine since it was started, in every container alike."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def count(holder: Holder) -> bytes:
    """Return the first bytes of the file. They have one length, so that they can be written over."""
    return b'{"beats": %12d,' % holder["beats"]


def write(descriptor: int, holder: Holder) -> None:
    """Write what a holder says of itself. Raises OSError if not all of it can be written."""
    rest = json.dumps({name: value for name, value in holder.items() if name != "beats"})
    content = count(holder) + b" " + rest[1:].encode() + b"\n"
    os.ftruncate(descriptor, 0)
    written = 0
    while written < len(content):  # a disk that becomes full takes a part, and fails at the next
        written += os.pwrite(descriptor, content[written:], written)
    with contextlib.suppress(OSError):
        os.fsync(descriptor)


def of(path: Path) -> Holder | None:
    """Return the holder that the lock at a path names; None without a readable lock."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | PLAIN)
        try:
            return read(descriptor)
        finally:
            os.close(descriptor)
    return None


def read(descriptor: int) -> Holder | None:
    """Return what an open lock file says; None if that is no holder."""
    try:
        holder = json.loads(os.pread(descriptor, 1 << 16, 0))
    except (ValueError, RecursionError):
        return None
    return holder if isinstance(holder, dict) else None


def token(holder: Holder | None) -> str | None:
    """Return the token of a holder, which tells two holds apart; None without one."""
    return holder.get("token") if holder else None
