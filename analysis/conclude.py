"""What a job leaves when its work is done: summary.png, and summary.json, which marks it as finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.measures import llm, summary

if TYPE_CHECKING:
    from runs.records import Job


def conclude(job: Job) -> None:
    """Of a job that trained."""
    from analysis.report.plots.summary import draw

    found = summary.summarise(job.folder)
    draw(job.folder, found)
    job.finish(found)


def conclude_llm(job: Job) -> None:
    """Of a job that asked a language model."""
    from analysis.report.plots.llm import draw

    rows = llm.summarise(job.folder)
    draw(rows, job.folder / "summary.png")
    job.finish({"llm": rows})
