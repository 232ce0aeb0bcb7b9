"""Files that are written once: several jobs may write the same file, and none replaces what another has written."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from runs.files import flush_folder, write_atomically


def create(path: Path, content: bytes) -> bool:
    """Write a new file, whole or not at all; makes its folder.

    Returns False if another process has written the path in the meantime; that file stays. Where the file system has no links,
    the last of two processes wins that write at the same moment. Raises OSError if the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
    try:
        write_atomically(temporary, content)
        is_new = _name(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)
    return is_new


def _name(temporary: Path, path: Path) -> bool:
    """Give the file its name; returns False if that is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # no links here (EPERM, ENOTSUP and others); whatever else is wrong, the rename meets as well
        if os.path.lexists(path):
            return False
        os.replace(temporary, path)
    return True
