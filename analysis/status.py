"""The old name of `python -m runs.status`, which keeps working."""

import sys

from runs.status import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
