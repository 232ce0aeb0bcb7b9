"""The README's table of claims holds the numbers of results/paper."""

from pathlib import Path

import pandas as pd

from analysis.jobs.load import load
from analysis.report import claims
from analysis.report.findings import number
from analysis.report.pool import pools_of
from tests.program import ROOT


def cell(row: pd.Series) -> str:
    """Return a difference or correlation as the table shows it: value, 95 % t interval, verdict."""
    numbers = number(row.ours) if row.alike else f"{number(row.ours)} ({number(row.low)} to {number(row.high)})"
    return f"{numbers}: {row.holds}"


def table() -> list[str]:
    """Return a line for each effect that a claim is about, a column a task."""
    found = claims.table(pools_of(load(ROOT / "results/paper").sound(), Path("unused")))
    found = found[(found.kind == "effect") & (found.holds != "")]
    lines = []
    for (claim, what), rows in found.groupby(["claim", "what"], sort=False):
        cells = {row.task: cell(row) for _, row in rows.iterrows()}
        lines.append(f"| {claim} | {what} | {cells.get('category', '–')} | {cells.get('grid', '–')} |")
    return sorted(lines, key=lambda line: line[:4])


def test_the_table_is_that_of_the_results():
    """If a job of results/paper is new, write the lines that this test shows into the README, and read its sentences again."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    shown = [line for line in readme if line.startswith("| ") and line[2:3].isdigit()]
    assert shown == table(), "\n".join(["the README should have", *table()])
