"""The contents of the report: the sections that a task can have, in order, and the commands that make what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tasks
from analysis.report import conditions
from analysis.report.pool import ABLATIONS, Pool
from analysis.report.sections import (
    Section,
    all_contexts,
    asked,
    context_against_steps,
    emerging,
    in_context,
    in_weights,
    trade_off,
)
from flags import presets

CROSSED = "--no_congruent_only"  # all contexts, with both step curricula
SCRIPTS = Path(__file__).parents[2] / "scripts"


@dataclass(frozen=True)
class Entry:
    """A section: how it is built, and the script of a task that makes its jobs, with the flags that narrow it."""

    make: Callable[[Pool], Section | None]
    what: str
    script: str
    flags: str

    def build(self, pool: Pool) -> Section | None:
        """The section of a pool, with what sets its jobs apart; None if the pool has no jobs for it."""
        section = self.make(pool)
        if section and section.jobs[0].experiment != "llm":
            section.tables = {title: table for title, table in section.tables.items() if "p" not in table or table.p.notna().any()}
            section.differences = conditions.differences(pool, section.jobs, metalearned=section.name != "main_iwl_only")
        return section


def _others(rotation: str, curriculum: str) -> Entry:
    return Entry(
        lambda pool: in_context(pool, rotation, curriculum),
        f"main figure, metalearned on {rotation}, {curriculum}",
        "iwl_icl",
        f"--pt_rot_cond {rotation} --pt_cond {curriculum}",
    )


def _levels(experiment: str) -> Entry:
    what = f"trade-off, {experiment.removeprefix('tradeoff_')}"
    return Entry(partial(trade_off, experiment=experiment), what, experiment, f"--experiment {experiment}")


def entries_of(task: str) -> list[Entry]:
    """Return the sections that a task can have, in the order of the report."""
    contexts = tasks.entry_of(task).shown_curricula
    return [
        Entry(in_context, "main figure, ICL + IWL", "iwl_icl", ""),
        Entry(in_weights, "main figure, IWL only", "iwl_only", "--experiment iwl_only"),
        *(_levels(experiment) for experiment in ABLATIONS),
        *([Entry(all_contexts, "few-shot on four context curricula", "iwl_icl", CROSSED)] if len(contexts) > 2 else []),
        *(_others("unrotated", curriculum) for curriculum in contexts if curriculum != "blocked"),
        *(_others("rotated", curriculum) for curriculum in contexts),
        Entry(context_against_steps, "context against step curriculum", "iwl_icl", CROSSED),
        Entry(emerging, "emergence", "iwl_icl", ""),
        *([Entry(asked, "language models", "llama_70b", "--llama2_size 70b --cache_dir DIR")] if task == tasks.ASKED else []),
    ]


def maker(entry: Entry, pool: Pool) -> str:
    """The command that makes what a section lacks, and the sweep that does. Where the pool has jobs of the same condition, with
    other flags, it is a command with a seed that none of them has."""
    preset = pool.size.split(",")[0]
    preset = preset if preset in presets.PRESETS else "paper"
    recipe = "".join(f" --recipe {name}" for name in presets.RECIPES if f"{name} recipe" in pool.size)
    flags = f" {entry.flags}" if entry.flags else ""
    command = f"python main.py --preset {preset} --task {pool.task}{recipe}{flags}"
    if entry.flags == CROSSED and (there := pool.metalearned("unrotated", "blocked")):
        return f"{command} --seed {1 + max(seed for job in there for seed in job.seeds)}"
    if (script := tasks.entry_of(pool.task).script) is None:
        return command
    variable = "" if preset == "paper" else f"PRESET={preset} "
    script = f"{script}_{entry.script}"
    if not (SCRIPTS / f"{script}.sh").exists():  # of an ablation that the paper does not have
        return command
    swept = f" {CROSSED}" if entry.flags == CROSSED else ""  # other flags are of the script itself
    return f"{variable}scripts/submit.sh {script}{recipe}{swept}, or {command}"
