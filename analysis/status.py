"""Old name of `python -m runs.status`, which keeps working."""

import sys

from runs.status import main
from runs.terminal import command

if __name__ == "__main__":
    sys.exit(command(main, "runs.status"))
