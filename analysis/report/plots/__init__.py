"""Figures, one file each."""

import os
import sys

if "matplotlib" not in sys.modules:
    os.environ["MPLBACKEND"] = "Agg"  # a user's own may not exist here, and then matplotlib cannot be imported
