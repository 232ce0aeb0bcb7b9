"""The files of a finished job: first summary.json, which marks the job as finished, then summary.png.

A picture that cannot be drawn does not stop a job: its numbers are saved, and the same command tries the picture again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.measures import llm, summary, usual
from analysis.measures.summary import Summary
from runs.files import write_json
from runs.lock import Held, Lock
from runs.terminal import say

if TYPE_CHECKING:
    from runs.records import Recorder

PICTURE = "summary.png"


def conclude(recorder: Recorder) -> None:
    """Finish a job that trained, and plot its picture while it holds its folder."""
    found = _summarise(recorder.folder)
    recorder.finish(found)
    plot(recorder.folder, found)


def conclude_llm(recorder: Recorder) -> None:
    """Finish a job that asked a language model, and plot its picture while it holds its folder."""
    found = {"llm": llm.summarise(recorder.folder)}
    recorder.finish(found)
    plot(recorder.folder, found)


def plot(folder: Path, found: Summary) -> Path | None:
    """Plot the picture of a finished job into its folder; returns its path, or None after a warning if that fails."""

    def work(path: Path) -> None:
        if "llm" in found:
            from analysis.report.plots.llm import plot_llm

            plot_llm(found["llm"], path)
        else:
            from analysis.report.plots.summary import plot_summary

            plot_summary(folder, found)

    return attempt(work, folder / PICTURE)


def attempt(work: Callable[[Path], None], path: Path) -> Path | None:
    """Plot a picture to `path`; returns the path, or None after a warning if plotting fails, for whatever reason."""
    try:
        work(path)
    except Exception as error:  # whatever a plotting library raises
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        say(f"main.py: {path} could not be drawn ({why}); the numbers are complete, and the same command tries the picture again")
        return None
    return path


def results(folder: Path, replot: bool = True) -> tuple[Summary, Path | None]:
    """Return the summary and the picture of a finished job.

    A missing or damaged one is made again from the tables, while the folder is held; the picture only with `replot`.

    Raises analysis.jobs.tables.BadTable, OSError.
    """
    found, path = _sound_summary(folder), folder / PICTURE
    if found and (path.exists() or not replot):
        return found, path if path.exists() else None
    try:
        hold = Lock(folder)
    except (Held, OSError) as error:
        say(f"main.py: {path} was not drawn ({error})")
        return found or _summarise(folder), None
    try:
        if not found:
            found = _summarise(folder)
            write_json(folder / "summary.json", found)
            say(f"main.py: {folder / 'summary.json'} was damaged, and was made again from the tables")
        return found, path if path.exists() else plot(folder, found)
    finally:
        hold.release()


def _sound_summary(folder: Path) -> Summary | None:
    """Return the summary in a folder; None if it is damaged."""
    try:
        found = summary.read(folder)
        summary.table(found)
        return found
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _summarise(folder: Path) -> Summary:
    if summary.read_flags(folder)["experiment"] == "llm":
        return {"llm": llm.summarise(folder)}
    found = summary.summarise(folder)
    return {**found, "expected": usual.of_folder(folder, found)}
