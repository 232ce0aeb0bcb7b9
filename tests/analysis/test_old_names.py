"""Commands under the names that earlier versions gave them."""

import subprocess
import sys

import pytest

from tests.program import ROOT


@pytest.mark.parametrize(("old", "today"), [("status", "python -m runs.status"), ("sample", "python -m analysis.jobs.sample")])
def test_an_old_command_keeps_working(old, today):
    done = subprocess.run([sys.executable, "-m", f"analysis.{old}", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert today in done.stdout
