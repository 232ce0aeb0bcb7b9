"""Messages of a command to people. A message that cannot be shown or written never stops a command.

Files are UTF-8; a terminal gets what it can show, with `?` for the rest.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STOPPED = 130  # by Ctrl-C
NOT_WRITTEN = 1  # the exit status of a command whose only product is text, and that text is lost


def say(line: str) -> None:
    """Write a line for people to stderr, above a progress bar if one is shown; what cannot be written is passed over."""
    with contextlib.suppress(OSError, ValueError):  # no space, no terminal any more, or a closed file
        tqdm.write(_showable(line, sys.stderr), file=sys.stderr)
        sys.stderr.flush()


def tell(text: str) -> int:
    """Write a command's result to stdout; returns the exit status of a command that does nothing else: 0, or NOT_WRITTEN."""
    lost: Exception | None
    try:
        print(_showable(text, sys.stdout), flush=True)
        lost = _lost(sys.stdout)
    except BrokenPipeError:
        lost = None
    except (OSError, ValueError) as error:
        lost = error
        say(f"the output was not written ({getattr(error, 'strerror', None) or error})")
    return NOT_WRITTEN if lost else 0


def command(main: Callable[[list[str]], int], name: str) -> int:
    """Run the `main` of the command `name` on the command line, with streams whose writes never fail; returns the exit status."""
    _replace_streams()
    only_text = False
    try:
        status = main(sys.argv[1:])
    except KeyboardInterrupt:
        say(f"{name}: stopped by Ctrl-C")
        status = STOPPED
    except SystemExit as asked:  # argparse's: after --help, or for an argument that is wrong
        status, only_text = int(asked.code or 0), True
    sys.stdout.flush()
    if lost := _lost(sys.stdout):
        say(f"{name}: the output was not written ({lost.strerror})")
        status = status or NOT_WRITTEN * only_text
    return status


class _Unfailing(io.RawIOBase):
    """A file descriptor that takes everything; `error` is the first that it met."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self.error: OSError | None = None

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # a reader that is slower
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.error = self.error or error
                return memoryview(data).nbytes


def _replace_streams() -> None:
    """Put unfailing streams in place of stdout and stderr. Without this a full disk under one of them, or a closed terminal,
    raises in whatever library prints."""
    for descriptor in range(3):  # the next file opened would take a closed one, and get the printed text
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        before: TextIO | None = getattr(sys, name)
        if before is not None:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                before.flush()
        stream = io.TextIOWrapper(
            io.BufferedWriter(_Unfailing(descriptor)),
            encoding=before.encoding if before else "utf-8",
            errors="replace",
            line_buffering=name == "stderr" or os.isatty(descriptor),
            write_through=getattr(before, "write_through", False),
        )
        setattr(sys, name, stream)


def _lost(stream: TextIO) -> OSError | None:
    """Return why something that was printed is lost; None for a reader who did not want more, as `head`."""
    error = getattr(getattr(getattr(stream, "buffer", None), "raw", None), "error", None)
    return error if error and error.errno != errno.EPIPE else None


def _showable(text: str, stream: TextIO) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
