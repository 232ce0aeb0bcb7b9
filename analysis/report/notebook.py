"""Parts of the notebooks: a report's section, shown in a cell."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import pandas as pd
from IPython.display import Image, Markdown, display
from PIL import Image as Pixels

import tasks
from analysis.jobs.load import Sweep, load
from analysis.report import interactive
from analysis.report.contents import entries_of, maker
from analysis.report.pool import Pool, pools_of
from analysis.report.readable import for_people
from analysis.report.sections import Section
from runs.terminal import tell

WIDTH, COLORS = 600, 16  # of a picture in a notebook: small enough to be committed


def read(results: str) -> Sweep:
    """Return the jobs under a folder; prints the finished ones, the unfinished ones, and what cannot be read."""
    sweep = load(Path(results)).sound()
    tell(f"{len(sweep.jobs)} finished jobs in {results}")
    for job in sweep.unfinished:
        tell(f"unfinished: {job.folder} ({job.progress})")
    for line in sweep.left_out:
        tell(line)
    return sweep


def pools(sweep: Sweep) -> list[Pool]:
    """Each size and task, with a folder for pictures."""
    return pools_of(sweep, Path(tempfile.mkdtemp(prefix="notebook-")))


def show(sweep: Sweep, *titles: str, tables: bool = False) -> None:
    """Draw the sections of the report that are called so (see `contents.entries_of`), for every size and task; with `tables`, their
    tables as well. Says what makes those that are missing."""
    of_tasks = dict.fromkeys([*tasks.TASKS, *(task for _, task in sweep.pools())])
    known = dict.fromkeys(entry.what for task in of_tasks for entry in entries_of(task))
    if unknown := set(titles) - known.keys():
        raise ValueError(f"{', '.join(sorted(unknown))}: no such section; the sections are {', '.join(known)}")
    for pool in pools(sweep):
        for entry in (entry for entry in entries_of(pool.task) if entry.what in titles):
            section = entry.build(pool)
            if section:
                _display(section, tables)
            else:
                tell(f"{pool.title}: nothing for “{entry.what}”. {maker(entry, pool)} makes it.")


def _display(section: Section, tables: bool) -> None:
    display(Markdown(f"### {section.title}"), picture(section.picture.with_suffix(".png")), Markdown(section.caption))
    for line in section.findings:
        display(Markdown(f"- {line}"))
    for line in section.differences + section.notes:
        display(Markdown(f"*{line}*"))
    for title, table in section.tables.items() if tables else ():
        display(Markdown(f"**{title}**"), rounded(table))


def explore(sweep: Sweep, title: str) -> None:
    """Show accuracy over updates of a section, to look into: condition and seed by choice, values under the pointer."""
    for pool in pools(sweep):
        for entry in (entry for entry in entries_of(pool.task) if entry.what == title):
            section = entry.build(pool)
            if section and section.curves is not None:
                display(Markdown(f"### {section.title}"), interactive.chart(section.curves))


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """A table for people, as on the report's page."""
    return for_people(table)


def picture(path: Path) -> Image:
    """A PNG in few colours."""
    with Pixels.open(path) as pixels:
        small = pixels.convert("RGB").resize((WIDTH, round(WIDTH * pixels.height / pixels.width)), Pixels.Resampling.LANCZOS)
    content = io.BytesIO()
    small.quantize(COLORS).save(content, "PNG", optimize=True)
    return Image(content.getvalue())
