"""Figures, one file each."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent


def _import_matplotlib() -> None:
    """Import matplotlib without a user's settings: unreadable ones would print a traceback.

    It reads the matplotlibrc of the working directory before any other, so it is imported where an empty one lies.
    """
    before = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))  # O_PATH takes no right to read the directory
    try:
        os.chdir(HERE)
        import matplotlib

        theirs, matplotlib.get_configdir = matplotlib.get_configdir, lambda: str(HERE)
        try:
            import matplotlib.style  # it reads the styles in the user's folder of settings
        finally:
            matplotlib.get_configdir = theirs
    finally:
        os.fchdir(before)
        os.close(before)


if "matplotlib" not in sys.modules:
    os.environ["MPLBACKEND"] = "Agg"  # a user's own may not exist here, and then matplotlib cannot be imported
    _import_matplotlib()
