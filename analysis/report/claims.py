"""The paper's claims and numbers beside ours: published | ours (95 % interval, n seeds) | published inside?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import confint_proportions_2indep

from analysis.measures import derive, llm, tradeoff
from analysis.report import published
from analysis.report.group import ABLATIONS, Group
from analysis.statistics import effects

COLUMNS = ["claim", "kind", "size", "task", "what", "published", "ours", "low", "high", "n_seeds", "published_inside"]
ENOUGH_SEEDS = 5
NAMES = {"unrotated": "rule-like", "rotated": "rotated"}
MODELS = {"iwl": "IWL only", "icl": "ICL + IWL"}
MEASURES = {"few_shot": "few-shot", "after": "after training"}


def table(groups: list[Group]) -> pd.DataFrame:
    """A row for every published number and for every difference that a claim is about, of every size and task with data for it.

    kind: `effect` (a difference of accuracies, or a rank correlation) or `mean`. published_inside: whether the published
    value lies in our interval: yes, no, or `too few` seeds; empty if there is none.
    """
    rows = [{"size": group.size, "task": group.task, **row} for group in groups for row in _of_group(group)]
    found = pd.DataFrame(rows).reindex(columns=COLUMNS)
    return found.sort_values(["claim", "kind", "task"], kind="stable", ignore_index=True)


def _of_group(group: Group) -> Iterator[dict]:
    if jobs := group.not_metalearned():
        last = derive.congruent(derive.after_training(derive.iwl_only(group.rows(jobs))))
        yield from _numbers(group, "iwl", "after", last)
    if jobs := group.metalearned("unrotated", "blocked"):
        rows = derive.metalearned(group.rows(jobs))
        kept, _ = derive.meeting(rows, "unrotated")
        first = derive.few_shot(kept).astype({"rotation": str})
        first["curriculum"] = first.context_curriculum.astype(str)
        yield from _numbers(group, "icl", "few_shot", first)
        last = derive.congruent(derive.after_training(kept))
        if len(last):
            yield from _numbers(group, "icl", "after", last)
    for experiment in ABLATIONS:
        if found := group.trade_off(experiment):
            yield from _trade_off(group, experiment, found)
    if jobs := group.jobs("llm"):
        yield from _language_models(group.rows(jobs, "llm_accuracy"))


def _numbers(group: Group, model: str, measure: str, rows: pd.DataFrame) -> Iterator[dict]:
    """The differences between curricula, then each mean."""
    if rows.empty:
        return
    claim = {("iwl", "after"): 1, ("icl", "few_shot"): 2, ("icl", "after"): 3}[model, measure]
    what = f"{MODELS[model]}, {MEASURES[measure]}"
    values = published.VALUES if group.has_published else []
    known = {(v.rotation, v.curriculum): v for v in values if (v.task, v.model, v.measure) == (group.task, model, measure)}
    sign, words = (-1, "blocked − interleaved") if measure == "few_shot" else (1, "interleaved − blocked")
    both = rows[rows.curriculum.isin(["blocked", "interleaved"])]
    if both.curriculum.nunique() == 2:
        found = effects.effect_size(both, "curriculum", "rotation")
        for row in _rule_like_first(found[found.rotation.isin(list(NAMES))]).itertuples():
            low, high = sorted((sign * row.low, sign * row.high))
            pair = [known.get((row.rotation, name)) for name in ("interleaved", "blocked")]
            there = pair[0] and pair[1] and not (pair[0].at_most or pair[1].at_most)
            difference = round(sign * (pair[0].mean - pair[1].mean), 6) if there else np.nan
            label = f"{what}, {NAMES[row.rotation]}: {words}"
            yield _line(claim, label, difference, sign * row.difference, low, high, row.n_seeds, kind="effect")
    for row in _rule_like_first(effects.mean_interval(rows, ["rotation", "curriculum"])).itertuples():
        value = known.get((row.rotation, row.curriculum))
        label = f"{what}, {NAMES[row.rotation]}, {row.curriculum}"
        interval = (row.mean, row.low, row.high, row.n_seeds)
        if value:
            yield _line(claim, label, value.mean, *interval, value.decimals, value.at_most)
        else:
            yield _line(claim, label, np.nan, *interval)


def _rule_like_first(found: pd.DataFrame) -> pd.DataFrame:
    return found.sort_values("rotation", ascending=False, kind="stable")


def _trade_off(group: Group, experiment: str, found: tradeoff.TradeOff) -> Iterator[dict]:
    of_paper = group.published_trade_off(ABLATIONS[experiment], found.retention_level)
    for name, column, known in zip(("generalisation", "retention"), ("test_level", "training_level"), of_paper, strict=True):
        frame = getattr(found, name)
        n_seeds = frame.seed.nunique()
        seeds_at = frame.groupby(column).seed.nunique()
        means = tradeoff.mean_and_interval(frame, [column])
        theirs = tradeoff.spearman(pd.Series(list(known)), pd.Series(list(known.values()))) if known else np.nan
        rank = tradeoff.spearman(means[column], means["mean"])
        label = f"trade-off, {experiment.removeprefix('tradeoff_')}, {name}"
        yield _line(4, f"{label}: rank correlation with the level", round(theirs, 3), rank, np.nan, np.nan, n_seeds, kind="effect")
        for row in means.itertuples():
            level = round(float(getattr(row, column)), 6)
            low, high = row.mean - row.half, row.mean + row.half
            n = int(seeds_at[getattr(row, column)])
            theirs = known.get(level, np.nan)
            yield _line(4, f"{label}, level {level:g}", theirs, row.mean, low, high, n, published.TRADE_OFF_DECIMALS)


def _language_models(rows: pd.DataFrame) -> Iterator[dict]:
    """Each model asked, whole answers; beside the published numbers the second digit alone. The unit is the query: there are no
    seeds."""
    for (model, scoring, rotation), part in llm.means(rows).groupby(["model", "scoring", "rotation"], sort=False):
        of = part.set_index("context_curriculum")
        label = f"{model}, {scoring}, {NAMES[rotation]}"
        for one, other in llm.PAIRS:
            if {one, other} <= set(of.index):
                counts = [int(of.loc[c, name]) for c in (one, other) for name in ("n_correct", "n_queries")]
                low, high = confint_proportions_2indep(*counts, compare="diff", method="newcomb")
                ours = of.loc[one, "mean"] - of.loc[other, "mean"]
                yield _line(5, f"{label}: {one} − {other}", np.nan, ours, low, high, None, kind="effect")
        for curriculum, row in of.iterrows():
            yield _line(5, f"{label}, {curriculum}", np.nan, row["mean"], row.low, row.high, None)
    second = llm.means(rows, "n_second")
    of_paper = second[second.model.str.contains("llama-2-70b", case=False) & (second.scoring == "argmax")]
    known = published.find("grid", "Llama 2 70B", "few_shot")
    for row in of_paper.itertuples():  # published answers are graded on their second digit alone
        theirs = known.get((row.rotation, row.context_curriculum), np.nan)
        label = f"{row.model}, {row.scoring}, {NAMES[row.rotation]}, {row.context_curriculum}, second digit alone"
        yield _line(5, label, theirs, row.mean, row.low, row.high, None)


def _line(
    claim: int,
    what: str,
    theirs: float,
    ours: float,
    low: float,
    high: float,
    n_seeds: int | None,
    decimals: int = 3,
    is_bound: bool = False,
    kind: str = "mean",
) -> dict:
    """Published numbers are rounded: a mean by half a unit of its last decimal, a difference of two by one."""
    rounding = 10.0**-decimals * (1 if kind == "effect" else 0.5)
    if np.isnan(theirs):
        inside = ""
    elif n_seeds is not None and n_seeds < ENOUGH_SEEDS:
        inside = "too few"
    elif np.isnan(low):
        inside = ""
    else:
        above = is_bound or theirs <= high + rounding
        inside = "yes" if (low - rounding <= theirs) and above else "no"
    shown = "" if np.isnan(theirs) else f"≤ {theirs:g}" if is_bound else f"{theirs:.{decimals}f}"
    return {
        "claim": claim, "kind": kind, "what": what, "published": shown, "ours": ours, "low": low, "high": high,
        "n_seeds": n_seeds, "published_inside": inside,
    }  # fmt: skip
