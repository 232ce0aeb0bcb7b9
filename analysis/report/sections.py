"""The sections of the report: for each what it shows, and out of which jobs. contents.py lists them.

A section is built for one size and task, from the jobs that are finished.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

import tasks
from analysis.jobs.job import Job
from analysis.measures import derive, emergence, llm, published, tradeoff
from analysis.report import captions, findings, interactive, verdicts
from analysis.report.plots.context_step import plot_context_step
from analysis.report.plots.emergence import plot_emergence
from analysis.report.plots.few_shot import plot_few_shot
from analysis.report.plots.language_models import plot_language_models
from analysis.report.plots.main_figure import Data, plot_main_figure
from analysis.report.plots.tradeoff import plot_trade_off
from analysis.report.pool import ABLATIONS, Pool
from analysis.statistics import effects, inference

BLOCKED_FIRST, INTERLEAVED_FIRST = ("blocked", "interleaved"), ("interleaved", "blocked")
# What the paper finds of models metalearned on unrotated tasks, of these differences.
FEW_SHOT: dict[str, verdicts.Expected | None] = {"unrotated": "more", "rotated": None}
AFTER: dict[str, verdicts.Expected | None] = {"unrotated": "alike", "rotated": "more"}
NOTHING: dict[str, verdicts.Expected | None] = {"unrotated": None, "rotated": None}


@dataclass
class Section:
    """A figure of the report with its text and tables.

    picture: the file without ending. caption: explains the figure alone. findings: sentences about its numbers.
    differences: between its jobs and the paper's. curves: rows of an interactive chart, if it has one (see interactive.py).
    tables, texts: by title.
    """

    name: str
    title: str
    caption: str
    jobs: list[Job]
    picture: Path | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    curves: pd.DataFrame | None = None
    texts: dict[str, str] = field(default_factory=dict)


def in_context(pool: Pool, rotation: str = "unrotated", curriculum: str = "blocked") -> Section | None:
    """The main figure of metalearned models; the .9 criterion applied."""
    jobs = pool.metalearned(rotation, curriculum)
    if not jobs:
        return None
    rows = derive.metalearned(pool.rows(jobs), rotation, curriculum)
    kept, notes = derive.meeting(rows, rotation)
    losses = pool.rows(jobs, "finetune_loss")
    losses = losses[(losses.init != "random") & losses.seed.isin(kept.seed.unique())]
    is_published = (rotation, curriculum) == ("unrotated", "blocked")  # the claims are about no other models
    shown = [pool.published("icl", measure) if is_published else {} for measure in ("few_shot", "after")]
    name = f"main_icl_iwl_{rotation}_{curriculum}"
    picture = pool.picture(name)
    title = f"ICL + IWL, metalearned on {rotation}, {curriculum} · {pool.title}"
    plot_main_figure(Data(kept, losses, pool.chance, *shown), title, picture)
    first, last = derive.congruent(derive.few_shot_by_steps(kept)), derive.congruent(derive.after_training(kept))
    by = ["rotation", "curriculum"]
    tables = {"Few-shot accuracy on novel items": effects.mean_interval(first, by)}
    if len(last):
        tables["Accuracy on study items after training"] = effects.mean_interval(last, by)
        tables["The same, items counted alike"] = effects.mean_interval(derive.congruent(derive.items_alike(last)), by)
        tables["The same, of each group"] = effects.mean_interval(last.astype({"subset": str}), [*by, "subset"])
    tables["Tests, ICL only (few-shot)"] = inference.model_tests(first)
    tables["Effects, ICL only (few-shot)"] = inference.effect_sizes(first, against="interleaved")
    if len(last):
        both = derive.composite(kept)
        tables["Tests, ICL + IWL (rule-like few-shot, rotated after training)"] = inference.model_tests(both)
        tables["Effects, ICL + IWL (rule-like few-shot, rotated after training)"] = inference.effect_sizes(both)
        tables["Forgetting at each switch of block"] = _forgetting(kept)
    caption = (captions.IN_CONTEXT if len(last) else captions.FEW_SHOT) + captions.notes(kept.seed.nunique(), bool(shown[0]))
    found = [*findings.differences(first, "Few-shot", FEW_SHOT if is_published else NOTHING, BLOCKED_FIRST)]
    found += findings.differences(last, "After training", AFTER if is_published else NOTHING, INTERLEAVED_FIRST)
    found += findings.of_novel(first, derive.congruent(derive.novel_after_training(kept))) if len(last) else ()
    found += [] if is_published else findings.of_advantage(first, rotation, curriculum)
    found += findings.of_one_model(kept)
    curves = interactive.curves(kept) if len(last) else None
    return Section(name, title, caption, jobs, picture, tables, notes, found, curves=curves)


def in_weights(pool: Pool) -> Section | None:
    """The main figure of models without metalearning."""
    jobs = pool.not_metalearned()
    if not jobs:
        return None
    rows, losses = derive.iwl_only(pool.rows(jobs)), derive.iwl_only(pool.rows(jobs, "finetune_loss"))
    picture = pool.picture("main_iwl_only")
    shown = pool.published("iwl", "after")
    title = f"IWL only · {pool.title}"
    plot_main_figure(Data(rows, losses, pool.chance, {}, shown), title, picture)
    last = derive.congruent(derive.after_training(rows))
    by = ["rotation", "curriculum"]
    tables = {
        "Accuracy on study items after training": effects.mean_interval(last, by),
        "The same, items counted alike": effects.mean_interval(derive.congruent(derive.items_alike(last)), by),
        "The same, of each group": effects.mean_interval(last.astype({"subset": str}), [*by, "subset"]),
        "Tests": inference.model_tests(last),
        "Effects": inference.effect_sizes(last),
        "Forgetting at each switch of block": _forgetting(rows),
    }
    caption = captions.IN_WEIGHTS + captions.notes(rows.seed.nunique(), bool(shown))
    expected: dict[str, verdicts.Expected | None] = {"unrotated": "more", "rotated": "more"}
    found = [*findings.differences(last, "After training", expected, INTERLEAVED_FIRST), *findings.of_groups(last)]
    return Section("main_iwl_only", title, caption, jobs, picture, tables, [], found, curves=interactive.curves(rows))


def trade_off(pool: Pool, experiment: str) -> Section | None:
    """Return the section of a trade-off experiment; None if it has fewer than two levels."""
    found = pool.trade_off(experiment)
    if found is None:
        return None
    jobs = pool.jobs(experiment)
    picture, ablation = pool.picture(experiment), ABLATIONS[experiment]
    of_paper = pool.published_trade_off(ablation, found.retention_level)
    plot_trade_off(found, picture, of_paper, f" · {pool.size}")
    tables = {}
    for name, level in (("generalisation", "test_level"), ("retention", "training_level")):
        tables[name.capitalize()] = effects.of_values(getattr(found, name), [level])
    tables["Errors (mean training loss)"] = effects.of_values(found.mean_errors(), ["training_level"], (0.0, np.inf))
    bases = dict.fromkeys(str(job.flags["load_model_from"]) for job in sorted(jobs, key=lambda job: job.seeds))
    caption = captions.TRADE_OFF.format(units=found.units, bases=" and ".join(bases))
    caption += captions.PUBLISHED if of_paper[0] else ""
    if of_paper[0] and not of_paper[1]:
        caption += f" Published retention is tested at another level ({published.RETENTION_LEVEL[pool.task, ablation]:g})."
    levels = sorted({job.training_level for job in jobs})
    notes = [f"Levels trained at: {', '.join(f'{level:g}' for level in levels)}."]
    for seed, lacks in tradeoff.lacking(found.retention, "training_level").items():
        named = f"level{'s' * (len(lacks) > 1)} {', '.join(f'{level:g}' for level in lacks)}"
        notes.append(f"No job of seed {seed} trained at {named}: means there are of fewer seeds.")
    title = f"Trade-off, {experiment.removeprefix('tradeoff_')} · {pool.title}"
    return Section(experiment, title, caption, jobs, picture, tables, notes, [*findings.of_trade_off(found)])


def all_contexts(pool: Pool) -> Section | None:
    """Return few-shot accuracy by context curriculum; None if jobs have fewer than three curricula."""
    jobs = pool.metalearned("unrotated", "blocked")
    rows = derive.metalearned(pool.rows(jobs)) if jobs else pd.DataFrame()
    if rows.empty or rows.context_curriculum.nunique() < 3:
        return None
    kept, notes = derive.meeting(rows, "unrotated")
    picture, title = pool.picture("few_shot_contexts"), f"Few-shot, all context curricula · {pool.title}"
    plot_few_shot(kept, pool.chance, pool.published("icl", "few_shot"), title, picture)
    first = derive.few_shot(kept).astype({"rotation": str, "context_curriculum": str})
    tables = {
        "Few-shot accuracy on novel items": effects.mean_interval(first, ["rotation", "context_curriculum"]),
        "Tests": inference.model_tests(first, effect="context_curriculum"),
        "Effects": inference.effect_sizes(first, "context_curriculum", against="interleaved"),
    }
    found = [said for pair in llm.PAIRS for said in findings.differences(first, "Few-shot", FEW_SHOT, pair, "context_curriculum")]
    caption = captions.CONTEXTS + captions.notes(kept.seed.nunique(), pool.has_published)
    return Section("few_shot_contexts", title, caption, jobs, picture, tables, notes, found)


def context_against_steps(pool: Pool) -> Section | None:
    """All pairs of context and step curriculum, of metalearned models."""
    jobs = [j for j in pool.metalearned("unrotated", "blocked") if j.is_finetuned and not j.flags["congruent_only"]]
    if not jobs:
        return None
    kept, notes = derive.meeting(derive.metalearned(pool.rows(jobs)), "unrotated")
    picture, title = pool.picture("context_step"), f"Context against step curriculum, ICL + IWL · {pool.title}"
    plot_context_step(kept, title, picture)
    by = ["rotation", "context_curriculum", "step_curriculum"]
    last = derive.after_training(kept).astype(dict.fromkeys(by, str))
    last = last[last.context_curriculum.isin(["blocked", "interleaved"])]
    tables = {"Accuracy on study items after training": effects.mean_interval(last, by)}
    for effect in by[1:]:  # both step curricula finetune on the same episodes
        tables[f"Effects of the {effect.replace('_', ' ')}"] = inference.effect_sizes(last, effect, effect == "step_curriculum")
    found = []
    for context, rows in last.groupby("context_curriculum"):
        subject = f"After training, {context} context"
        found += findings.differences(rows, subject, NOTHING, INTERLEAVED_FIRST, "step_curriculum", same_episodes=True)
    found += findings.of_one_model(kept)
    caption = captions.CONTEXT_STEP + captions.notes(kept.seed.nunique(), False)
    return Section("context_step", title, caption, jobs, picture, tables, notes, found)


def emerging(pool: Pool) -> Section | None:
    """Return the validations of metalearning, and each seed's kept model; None without metalearning."""
    jobs = [job for job in pool.jobs("icl_iwl") if job.flags["n_epochs"]]
    if not jobs:
        return None
    parts = [emergence.with_updates(pool.rows([job], "pretrain_accuracy"), job.flags) for job in jobs]
    rows = pd.concat([part.assign(is_loaded=bool(job.flags["load_model_from"])) for part, job in zip(parts, jobs, strict=True)])
    picture, title = pool.picture("emergence"), f"Emergence of in-context learning · {pool.title}"
    plot_emergence(rows, pool.chance, title, picture)
    kept = pd.concat([emergence.kept(of_job) for _, of_job in rows[rows.subset == "novel"].groupby("job")])
    kept = kept.assign(accuracy=kept.n_correct / kept.n_queries).sort_values(["pt_rotation", "pt_curriculum", "seed"])
    table = kept[["pt_rotation", "pt_curriculum", "seed", "stage", "step", "updates", "accuracy", "loss"]]
    found = [*findings.of_emergence(rows[rows.subset == "novel"])]
    table = table.dropna(axis=1, how="all")  # tables of earlier programs have no loss
    caption = captions.EMERGENCE + (captions.RESTARTED if rows.start.max() > 1 else "")
    caption += captions.STROKE if rows.stage.max() > 1 else ""
    return Section("emergence", title, caption, jobs, picture, {"The kept model of each seed": table}, [], found)


def asked(pool: Pool) -> Section | None:
    """Return accuracy of pretrained language models, by model and scoring; None if none was asked."""
    jobs = pool.jobs("llm")
    if not jobs:
        return None
    rows = pool.rows(jobs, "llm_accuracy")
    picture, title = pool.picture("language_models"), f"Language models · {pool.title}"
    plot_language_models(rows, {m: published.find(tasks.ASKED, m, "few_shot") for m in ("Llama 2 70B", "GPT-3.5")}, picture)
    tables = {"Accuracy on novel items, whole answers": llm.means(rows)}
    novel = rows[(rows.subset == "novel") & rows.context_curriculum.isin(["blocked", "interleaved"])]
    novel = novel.astype({"rotation": str}).assign(curriculum=novel.context_curriculum.astype(str))
    for (model, scoring), part in novel.groupby(["model", "scoring"], observed=True):
        tables[f"Tests, {model}, {scoring}, blocked and interleaved"] = inference.model_tests(part, "binomial")
    for scoring, part in novel[~novel.model.map(llm.is_ours)].groupby("scoring", observed=True):
        if part.model.nunique() > 1:
            tables[f"Tests, all pretrained models, {scoring}, blocked and interleaved"] = inference.model_tests(part, "binomial")
    found = []
    for (model, scoring, rotation), part in llm.by_model(rows):
        for pair in llm.PAIRS:
            there = part[part.context_curriculum.isin(pair)]
            if len(there) and not llm.is_above_chance(there, rotation):
                found.append(findings.not_above_chance(f"{model}, {scoring}", rotation, pair, llm.chance(rotation)))
                continue
            is_claimed = rotation == "unrotated" and not llm.is_ours(model)
            expected: dict[str, verdicts.Expected | None] = {rotation: "more" if is_claimed else None}
            found += findings.differences(part, f"{model}, {scoring}", expected, pair, "context_curriculum")
    names = dict.fromkeys(map(llm.label, rows.model.astype(str)))
    ours = captions.OURS if any(map(llm.is_ours, rows.model.unique())) else ""
    caption = captions.LANGUAGE_MODELS.format(models=", ".join(names)) + ours
    return Section("language_models", title, caption, jobs, picture, tables, [], found, texts=_prompts(jobs))


def _prompts(jobs: list[Job]) -> dict[str, str]:
    """The first episode of a condition as each model was asked it, with its answers."""
    found = {}
    for job in jobs:
        paths = sorted((job.folder / "prompts").glob("*.txt"), reverse=True)  # rule-like before rotated
        for path in [path for path in paths if path.stem.endswith("_blocked")] or paths[:1]:
            condition = path.stem.replace("unrotated", "rule-like").replace("_", ", ")
            found[f"What {job.config.model_label} was asked and said: {condition}"] = path.read_text(encoding="utf-8")
    return found


def _forgetting(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean over seeds of what the block before keeps, congruent curricula."""
    lost = derive.forgetting(rows)
    lost = lost[lost.context_curriculum.astype(str) == "blocked"]
    lost = lost.assign(block=lost.block.astype(int) + 1, lost=lost.before - lost.after)
    by = ["rotation", "block", "group"]
    return lost.groupby(by, observed=True)[["before", "after", "lost"]].mean().reset_index()
