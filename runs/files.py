"""Files that survive a crash, and what a file system may not promise. Imports nothing heavy."""

from __future__ import annotations

import errno
import json
import os
import uuid
from pathlib import Path

from runs.terminal import say

# What CIFS, sshfs, VirtualBox and the like answer to a call that they do not have.
_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.ENOTTY}
_NOT_FLUSHED = "the file system of {what} cannot flush {kind} ({why}): a power failure may lose what was saved last"
_said: set[str] = set()


def is_unsupported(error: OSError) -> bool:
    """Return True if the file system does not have the call that failed; a real failure (a full disk) gives False."""
    return error.errno in _UNSUPPORTED


def warn_once(kind: str, what: str) -> None:
    """Say on stderr what the file system does not promise; of each kind once in a process."""
    if kind not in _said:
        _said.add(kind)
        say(f"main.py: warning: {what}")


def flush(descriptor: int, what: Path) -> None:
    """Bring an open file or folder to the disk. A file system that cannot do that is told once.

    Raises OSError if the disk fails.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_unsupported(error):
            raise
        kind = "folders" if what.is_dir() else "files"
        warn_once(f"flush {kind}", _NOT_FLUSHED.format(what=what, kind=kind, why=error.strerror))


def flush_folder(folder: Path) -> None:
    """Bring a folder's entries (new names, renames) to the disk, as `flush` does. A folder that cannot be opened for that cannot be
    flushed either."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            flush(descriptor, folder)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EISDIR, errno.EBADF):
            raise
        warn_once("flush folders", _NOT_FLUSHED.format(what=folder, kind="folders", why=error.strerror))


def write_atomically(path: Path, data: bytes, shared: bool = False) -> None:
    """Write a file so that whoever looks, at any moment and after any crash, sees the old content or the new one.

    shared: other processes may write the file at the same time; the last one wins, whole. Raises OSError if that fails; the old
    content stays, and no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}{f'.{uuid.uuid4().hex}' if shared else ''}.new")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            flush(file.fileno(), temporary)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def write_json(path: Path, content: object) -> None:
    """Write JSON, UTF-8, as `write_atomically` does; bytes of a path that are not UTF-8 become JSON's escapes."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode(errors="backslashreplace"))
