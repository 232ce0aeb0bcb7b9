"""The paper's claims and numbers beside ours: does a claim hold here, and does a mean agree with the published one?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

import tasks
from analysis.measures import derive, llm, published, tradeoff
from analysis.report import verdicts
from analysis.report.pool import ABLATIONS, Pool
from analysis.statistics import effects
from analysis.statistics.effects import Interval

OURS = ["ours", *effects.OF_INTERVAL]
OF_DIFFERENCE = ["difference", "difference_low", "difference_high", "agrees"]
COLUMNS = ["claim", "kind", "size", "task", "what", *OURS, "holds", "published", "published_sd", *OF_DIFFERENCE]
NAMES = {"unrotated": "rule-like", "rotated": "rotated"}
MODELS = {"iwl": "IWL only", "icl": "ICL + IWL"}
MEASURES = {"few_shot": "few-shot", "after": "after training"}
# Of the difference that a claim is about, by model, measure and rotation: which comes first, and what the claim expects.
DIFFERENCES: dict[tuple[str, str, str], tuple[str, verdicts.Expected | None]] = {
    ("iwl", "after", "unrotated"): ("interleaved", "more"),
    ("iwl", "after", "rotated"): ("interleaved", "more"),
    ("icl", "few_shot", "unrotated"): ("blocked", "more"),
    ("icl", "few_shot", "rotated"): ("blocked", None),
    ("icl", "after", "unrotated"): ("interleaved", "alike"),
    ("icl", "after", "rotated"): ("interleaved", "more"),
}
OF_TRADE_OFF: dict[str, tuple[str, verdicts.Expected]] = {
    "generalisation": ("test_level", "less"),
    "retention": ("training_level", "more"),
}


def table(pools: list[Pool]) -> pd.DataFrame:
    """A row for every published number and for every difference that a claim is about, of every size and task with data for it.

    kind: `effect` (a difference of accuracies, or a rank correlation) or `mean`. holds: whether the claim does, of an effect that
    one is about. difference, with its interval, and agrees: ours − published, at the published size alone. See verdicts.py.
    """
    rows = [{"size": pool.size, "task": pool.task, **row} for pool in pools for row in _of_pool(pool)]
    found = pd.DataFrame(rows).reindex(columns=COLUMNS)
    return found.sort_values(["claim", "kind", "task"], kind="stable", ignore_index=True)


def _of_pool(pool: Pool) -> Iterator[dict]:
    if jobs := pool.not_metalearned():
        last = derive.congruent(derive.after_training(derive.iwl_only(pool.rows(jobs))))
        yield from _numbers(pool, "iwl", "after", last)
    if jobs := pool.metalearned("unrotated", "blocked"):
        rows = derive.metalearned(pool.rows(jobs))
        kept, _ = derive.meeting(rows, "unrotated")
        first = derive.few_shot(kept).astype({"rotation": str})
        first["curriculum"] = first.context_curriculum.astype(str)
        yield from _numbers(pool, "icl", "few_shot", first)
        last = derive.congruent(derive.after_training(kept))
        if len(last):
            yield from _numbers(pool, "icl", "after", last)
    for experiment in ABLATIONS:
        if found := pool.trade_off(experiment):
            yield from _trade_off(pool, experiment, found)
    if jobs := pool.jobs("llm"):
        yield from _language_models(pool.rows(jobs, "llm_accuracy"))


def _numbers(pool: Pool, model: str, measure: str, rows: pd.DataFrame) -> Iterator[dict]:
    """The differences between curricula, then each mean."""
    if rows.empty:
        return
    claim = {("iwl", "after"): 1, ("icl", "few_shot"): 2, ("icl", "after"): 3}[model, measure]
    what = f"{MODELS[model]}, {MEASURES[measure]}"
    both = rows[rows.curriculum.isin(["blocked", "interleaved"])]
    for rotation in NAMES if both.curriculum.nunique() == 2 else ():
        first, expected = DIFFERENCES[model, measure, rotation]
        second = "interleaved" if first == "blocked" else "blocked"
        found = effects.effect_size(both[both.rotation == rotation], "curriculum", reference={"curriculum": second}) if (
            both[both.rotation == rotation].curriculum.nunique() == 2
        ) else pd.DataFrame()  # fmt: skip
        for row in found.itertuples():
            label = f"{what}, {NAMES[rotation]}: {first} − {second}"
            yield _line(claim, "effect", label, effects.of_row(row, row.difference), row.over, expected)
    items_alike = (pool.task, measure) in published.ITEMS_ALIKE
    compared = derive.congruent(derive.items_alike(rows)) if items_alike else rows
    for row in _rule_like_first(effects.mean_interval(rows, ["rotation", "curriculum"])).itertuples():
        label = f"{what}, {NAMES[row.rotation]}, {row.curriculum}"
        ours = compared[(compared.rotation == row.rotation) & (compared.curriculum == row.curriculum)]
        beside = _beside(pool, model, measure, row.rotation, row.curriculum, ours)
        yield {**_line(claim, "mean", label, effects.of_row(row, row.mean), row.over), **beside}


def _rule_like_first(found: pd.DataFrame) -> pd.DataFrame:
    return found.sort_values("rotation", ascending=False, kind="stable")


def _beside(pool: Pool, model: str, measure: str, rotation: str, curriculum: str, ours: pd.DataFrame) -> dict:
    """The published mean of a condition, and at the published size how ours compares with it."""
    value = pool.published_value(model, measure, rotation, curriculum)
    if value is None:
        return {}
    shown = f"≤ {value.mean:g}" if value.at_most else f"{value.mean:.{value.decimals}f}"
    theirs = published.by_seed(pool.task, model, measure, rotation, curriculum)
    found: dict = {"published": shown, "published_sd": theirs.std(ddof=1) if len(theirs) > 1 else np.nan}
    if not pool.is_published_size:
        return found
    of_seeds = (ours.n_correct / ours.n_queries).groupby(ours.seed).mean().to_numpy()
    if len(theirs) < 2:
        return {**found, "difference": of_seeds.mean() - value.mean}
    difference = effects.difference(of_seeds, theirs)
    numbers = {"difference": difference.value, "difference_low": difference.low, "difference_high": difference.high}
    return {**found, **numbers, "agrees": verdicts.agrees(difference)}


def _trade_off(pool: Pool, experiment: str, found: tradeoff.TradeOff) -> Iterator[dict]:
    of_paper = pool.published_trade_off(ABLATIONS[experiment], found.retention_level)
    for (name, (column, expected)), known in zip(OF_TRADE_OFF.items(), of_paper, strict=True):
        frame = getattr(found, name)
        label = f"trade-off, {experiment.removeprefix('tradeoff_')}, {name}"
        rank, over = tradeoff.rank_correlation(frame, column)
        theirs = tradeoff.spearman(pd.Series(list(known)), pd.Series(list(known.values()))) if known else np.nan
        shown = "" if np.isnan(theirs) else f"{theirs:.2f}"
        if rank.n:
            line = _line(4, "effect", f"{label}: rank correlation with the level", rank, over, expected)
            if name == "retention" and len(found.unfinished()):
                line["holds"] += ", of unfinished learning"
            yield {**line, "published": shown}
        for row in effects.of_values(frame, [column]).itertuples():
            level = round(float(getattr(row, column)), 6)
            line = _line(4, "mean", f"{label}, level {level:g}", effects.of_row(row, row.mean), row.over)
            if level in known:
                line["published"] = f"{known[level]:.{published.TRADE_OFF_DECIMALS}f} ± {published.DIGITISED:g}"
                if pool.is_published_size:
                    line["difference"] = row.mean - known[level]
            yield line


def _language_models(rows: pd.DataFrame) -> Iterator[dict]:
    """Each model asked, whole answers; beside the published numbers the second digit alone. A language model has no seeds: the unit
    is the episode."""
    for (model, scoring, rotation), part in llm.by_model(rows):
        label = f"{model}, {scoring}, {NAMES[rotation]}"
        for one, other in llm.PAIRS:
            pair = part[part.context_curriculum.isin([one, other])]
            if pair.context_curriculum.nunique() == 2:
                found = effects.effect_size(pair, "context_curriculum", reference={"context_curriculum": other}).iloc[0]
                is_told = rotation == "unrotated" and not llm.is_ours(model)  # ours was metalearned on what it is asked
                expected: verdicts.Expected | None = "more" if is_told else None
                interval = effects.of_row(found, found.difference)
                line = _line(5, "effect", f"{label}: {one} − {other}", interval, found.over, expected)
                is_empty = expected and not llm.is_above_chance(pair, rotation)
                yield {**line, "holds": "not above chance"} if is_empty else line
        for row in effects.mean_interval(part, ["context_curriculum"]).itertuples():
            yield _line(5, "mean", f"{label}, {row.context_curriculum}", effects.of_row(row, row.mean), row.over)
    known = published.find(tasks.ASKED, "Llama 2 70B", "few_shot")
    second = rows.assign(n_correct=rows.n_second)  # published answers are graded on their second digit alone
    for (model, scoring, rotation), part in llm.by_model(second):
        if "llama-2-70b" not in model.lower() or scoring != "argmax":
            continue
        for row in effects.mean_interval(part, ["context_curriculum"]).itertuples():
            label = f"{model}, {scoring}, {NAMES[rotation]}, {row.context_curriculum}, second digit alone"
            theirs = known.get((rotation, row.context_curriculum))
            beside = {} if theirs is None else {"published": f"{theirs:.3f}", "difference": row.mean - theirs}
            yield {**_line(5, "mean", label, effects.of_row(row, row.mean), row.over), **beside}


def _line(claim: int, kind: str, what: str, found: Interval, over: str, expected: verdicts.Expected | None = None) -> dict:
    holds = verdicts.holds(found, expected) if expected else ""
    numbers = {"ours": found.value, "low": found.low, "high": found.high, "n": found.n, "over": over, "alike": found.alike}
    return {"claim": claim, "kind": kind, "what": what, **numbers, "holds": holds, "published": "", "agrees": ""}
