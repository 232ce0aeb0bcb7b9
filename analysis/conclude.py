"""What a job leaves when its work is done: first summary.json, which marks it as finished, then summary.png.

A picture that cannot be drawn does not stop a job: the numbers are there, and the same command tries the picture again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.measures import llm, summary
from analysis.measures.summary import Summary
from runs.files import write_json
from runs.terminal import say

if TYPE_CHECKING:
    from runs.records import Job

PICTURE = "summary.png"


def conclude(job: Job) -> None:
    """Finish a job that trained."""
    job.finish(summary.summarise(job.folder))


def conclude_llm(job: Job) -> None:
    """Finish a job that asked a language model."""
    job.finish({"llm": llm.summarise(job.folder)})


def draw(folder: Path, found: Summary) -> Path | None:
    """Draw the picture of a finished job into its folder; returns its path, or None after a warning if that fails."""

    def work(path: Path) -> None:
        from analysis.report.plots import llm, summary

        if "llm" in found:
            llm.draw(found["llm"], path)
        else:
            summary.draw(folder, found)

    return attempt(work, folder / PICTURE)


def attempt(work: Callable[[Path], None], path: Path) -> Path | None:
    """Draw a picture to `path`; returns the path, or None after a warning if drawing fails, for whatever reason."""
    try:
        work(path)
    except Exception as error:  # whatever a drawing library raises
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        say(f"main.py: {path} could not be drawn ({why}); the numbers are complete, and the same command tries the picture again")
        return None
    return path


def results(folder: Path) -> tuple[Summary, Path | None]:
    """Return the summary and the picture of a finished job. What is missing or damaged of them is made from the tables.

    Raises analysis.jobs.tables.BadTable, OSError.
    """
    try:
        found = summary.read(folder)
    except ValueError:
        is_llm = summary.read_flags(folder)["experiment"] == "llm"
        found = {"llm": llm.summarise(folder)} if is_llm else summary.summarise(folder)
        write_json(folder / "summary.json", found)
        say(f"main.py: {folder / 'summary.json'} was damaged, and was made again from the tables")
    path = folder / PICTURE
    return found, path if path.exists() else draw(folder, found)
