"""Parts that all command lines share: errors of one line, and paths that are not empty."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line on stderr, exit status 2."""

    def error(self, message: str) -> typing.NoReturn:
        """Print one line to stderr and exit with status 2."""
        self.exit(2, f"{self.prog.removeprefix('python -m ')}: error: {message} (see {self.prog} --help)\n")


def named_path(text: str) -> Path:
    """Return the path that an argument names; an empty one is an error."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty path; name a file or folder")
    return Path(text)
