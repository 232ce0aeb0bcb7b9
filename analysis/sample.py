"""The old name of `python -m analysis.jobs.sample`, which keeps working."""

import sys

from analysis.jobs.sample import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
