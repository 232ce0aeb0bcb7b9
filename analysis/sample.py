"""Old name of `python -m analysis.jobs.sample`, which keeps working."""

import sys

from analysis.jobs.sample import main
from runs.terminal import command

if __name__ == "__main__":
    sys.exit(command(main, "analysis.sample"))
