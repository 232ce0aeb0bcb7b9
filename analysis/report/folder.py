"""The folder that a report is written to: what is in it is the report's only if a report recorded that it wrote it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from analysis.jobs.compare import Unreadable
from runs.files import is_unsupported, write_json

MARKER = "report.json"  # lists the files that the report wrote, by their paths below the folder


@contextlib.contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """Give an empty folder to write a report to; then move its files into `out`.

    Files of the previous report that the new one lacks are removed. Other files in `out` stay, and if writing fails, all do.

    Raises Unreadable, naming -o, for a folder that holds anything but what a report recorded in its marker; OSError if it cannot
    be written to.
    """
    check(out)
    is_new = not (out / MARKER).exists()
    made = [path for path in (out, *out.parents) if not path.exists()]
    out.mkdir(parents=True, exist_ok=True)
    try:
        with _alone(out):
            old = recorded(out)
            _remove_unfinished(out)
            staged = Path(tempfile.mkdtemp(prefix=".new-", dir=out))
            try:
                write_json(out / MARKER, {"files": old, "unfinished": staged.name})
                yield staged
                new = sorted(path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file())
                _put(staged, out, old, new)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
                with contextlib.suppress(OSError):  # a listed file that is missing does no harm
                    write_json(out / MARKER, {"files": [name for name in recorded(out) if (out / name).is_file()]})
    except BaseException:
        with contextlib.suppress(OSError):  # no folder is left that was made for it, unless something is in it
            if is_new and not recorded(out):
                (out / MARKER).unlink(missing_ok=True)
            for path in made:
                path.rmdir()
        raise


def check(out: Path) -> None:
    """Raise Unreadable if a report may not be written to `out`: a new or empty folder, or one that a report has marked."""
    if out.exists() and not out.is_dir():
        raise Unreadable(f"-o {out}: is a file; name a folder")
    if not out.is_dir() or recorded(out) is not None or not os.listdir(out):
        return
    raise Unreadable(
        f"-o {out}: holds files and no {MARKER}, so no report made it; name another folder, "
        "or delete this one if it holds a report of an earlier version"
    )


def recorded(out: Path) -> list[str] | None:
    """The files that the report in a folder recorded as its own; none in an empty folder, None in one without a marker.

    Raises Unreadable for a marker that no report wrote.
    """
    try:
        found = json.loads((out / MARKER).read_text(encoding="utf-8"))["files"]
        if not all(isinstance(name, str) and _is_ours(PurePosixPath(name)) for name in found):
            raise ValueError
        return list(found)
    except FileNotFoundError:
        return None if os.listdir(out) else []
    except (ValueError, KeyError, TypeError):
        raise Unreadable(f"-o {out}: {MARKER} in it was not written by a report; name another folder") from None


def _is_ours(name: PurePosixPath) -> bool:
    """Return True for a path that a report can have written: a page, or a file in figures/ or tables/."""
    return str(name) == "index.html" or (len(name.parts) == 2 and name.parts[0] in ("figures", "tables") and ".." not in name.parts)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the folder, so that no two reports are written to it at once. A file system without locks is no obstacle."""
    descriptor = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Unreadable(f"-o {out}: another report is being written there; wait for it, or name another folder") from None
    except OSError as error:
        if not is_unsupported(error) and error.errno != errno.EBADF:  # NFS: it takes a file that is open for writing
            os.close(descriptor)
            raise
    try:
        yield
    finally:
        os.close(descriptor)


def _remove_unfinished(out: Path) -> None:
    """Remove what a report left that was killed while it was made."""
    with contextlib.suppress(OSError, ValueError):
        name = json.loads((out / MARKER).read_text(encoding="utf-8")).get("unfinished", "")
        if name.startswith(".new-") and "/" not in name:
            shutil.rmtree(out / name, ignore_errors=True)


def _put(staged: Path, out: Path, old: list[str], new: list[str]) -> None:
    """Move the new files over the old ones, the page last, and remove old ones that the new report lacks."""
    foreign = [name for name in new if (name not in old and os.path.lexists(out / name)) or (out / name).is_dir()]
    if foreign:
        raise Unreadable(f"-o {out}: {foreign[0]} in it was not written by a report, and would be overwritten; move it away")
    write_json(out / MARKER, {"files": sorted({*old, *new}), "unfinished": staged.name})  # also true if this is cut short
    for name in sorted(new, key=lambda name: name == "index.html"):
        (out / name).parent.mkdir(exist_ok=True)
        os.replace(staged / name, out / name)
    for name in set(old) - set(new):
        if not (out / name).is_dir():
            (out / name).unlink(missing_ok=True)
