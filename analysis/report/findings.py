"""Sentences about a section's numbers: effect, 95 % interval, units, and whether the paper's finding holds here."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.measures import derive, tradeoff
from analysis.measures.tradeoff import TradeOff
from analysis.report import verdicts
from analysis.statistics import effects
from analysis.statistics.effects import Interval, counted

NAMES = {"unrotated": "rule-like tasks", "rotated": "rotated tasks"}


def number(value: float) -> str:
    """Return a number of a sentence: two decimals, or more where these are zeros; no 0 before them, and a true minus sign."""
    text = next((text for text in (f"{abs(value):.{n}f}" for n in (2, 3, 4)) if float(text)), "0.00")
    text = text[1:] if text.startswith("0.") else text
    return f"−{text}" if value < 0 and float(text) else text


def interval(found: Interval, over: str) -> str:
    """Return an interval in words, or the reason why a number has none."""
    if found.alike:
        return f"all alike, {counted(found.n, over)}"
    if np.isnan(found.low):
        return f"{counted(found.n, over)}, no interval"
    return f"95 % t interval {number(found.low)} to {number(found.high)}, {counted(found.n, over)}"


def sentence(subject: str, means: dict[str, float], found: Interval, over: str, expected: verdicts.Expected | None) -> str:
    """One sentence on the difference of the first and the second of two means."""
    said = ", ".join(f"{name} {number(value)}" for name, value in means.items())
    if expected is None:
        return f"{subject}: {said}; difference {number(found.value)} ({interval(found, over)})."
    return f"{subject}: {said}; difference {number(found.value)} ({interval(found, over)}): {_judged(found, expected)}."


def _judged(found: Interval, expected: verdicts.Expected) -> str:
    verdict = {"yes": _expectation(expected), "no": f"not {_expectation(expected)}", "not settled": "not settled"}
    return verdict[verdicts.holds(found, expected)]


def _expectation(expected: verdicts.Expected) -> str:
    return "alike" if expected == "alike" else f"{expected} than 0"


def differences(
    rows: pd.DataFrame,
    subject: str,
    expected: dict[str, verdicts.Expected | None],
    pair: tuple[str, str],
    factor: str = "curriculum",
    same_episodes: bool = False,
) -> Iterator[str]:
    """A sentence for each rotation of `expected` that has both levels of a pair: the first − the second."""
    for rotation, of_rotation in expected.items():
        there = rows[(rows.rotation.astype(str) == rotation) & rows[factor].isin(pair)].astype({factor: str})
        if there[factor].nunique() < 2:
            continue
        row = effects.effect_size(there, factor, reference={factor: pair[1]}, same_episodes=same_episodes).iloc[0]
        means = effects.mean_interval(there, [factor]).set_index(factor)["mean"]
        found = effects.of_row(row, row.difference)
        yield sentence(f"{subject}, {NAMES[rotation]}", {name: means[name] for name in pair}, found, row.over, of_rotation)


def of_novel(first: pd.DataFrame, last: pd.DataFrame) -> Iterator[str]:
    """Say what finetuning on study items does to novel ones, by rotation. first, last: novel queries before and after it."""
    for rotation, of_rotation in last.groupby("rotation", sort=False):
        of_first = first[first.rotation == rotation]
        told = []
        for curriculum in ("blocked", "interleaved"):
            before, after = (rows[rows.curriculum == curriculum] for rows in (of_first, of_rotation))
            if len(before) and len(after):
                means = [effects.mean_interval(rows, ["curriculum"])["mean"].iloc[0] for rows in (before, after)]
                told.append(f"{curriculum} {number(means[0])} before and {number(means[1])} after")
        if told:
            yield f"Novel items before and after finetuning, {NAMES[rotation]}: {'; '.join(told)}."


def of_advantage(first: pd.DataFrame, rotation: str, curriculum: str) -> Iterator[str]:
    """Say whether models metalearned on another condition have a few-shot blocking advantage on it."""
    there = first[first.rotation == rotation]
    if there.curriculum.nunique() < 2:
        return
    row = effects.effect_size(there, "curriculum", reference={"curriculum": "interleaved"}).iloc[0]
    found = effects.of_row(row, row.difference)
    said = {"yes": "a", "no": "no", "not settled": "no settled"}[verdicts.holds(found, "more")]
    who, show = ("Models", "show") if row.over == "seeds" else ("The one model", "shows")
    of = f"metalearned on {rotation}, {curriculum} contexts ({counted(found.n, row.over)})"
    yield f"{who} {of} {show} {said} few-shot blocking advantage on {NAMES[rotation]}."


def of_one_model(rows: pd.DataFrame) -> Iterator[str]:
    """Yield what intervals over episodes do not say, if the rows have a single seed."""
    if rows.seed.nunique() == 1:
        yield "All of it is of one model: the intervals are over its episodes, and say nothing of other models."


def not_above_chance(subject: str, rotation: str, contexts: tuple[str, ...], chance: float) -> str:
    """Say that no answers were above the chance level, so that a difference would mean nothing."""
    return f"{subject}, {NAMES[rotation]}, {' and '.join(contexts)}: not shown to be above the chance level of {number(chance)}."


def of_trade_off(found: TradeOff) -> Iterator[str]:
    """Yield rank correlations of generalisation, errors and retention with the level, and the levels where little was learned."""
    errors = found.mean_errors()
    for what, frame, level, expected in (
        ("Generalisation and the level at the test", found.generalisation, "test_level", "less"),
        ("Errors (mean training loss) and the level while training", errors, "training_level", None),
        ("Retention and the level while training", found.retention, "training_level", "more"),
    ):
        rank, over = tradeoff.rank_correlation(frame, level)
        n_levels = tradeoff.comparable(frame, level)[level].nunique()
        if not rank.n:
            yield f"{what}: fewer than three levels can be compared, so there is no rank correlation."
            continue
        told = f"{what}: Spearman's ρ {number(rank.value)} over {n_levels} levels ({interval(rank, over)})"
        yield f"{told}: {_judged(rank, expected)}." if expected else f"{told}."
        if over != found.units:
            yield f"{what}: that is of one base model, the only one with all levels."
    largest = tradeoff.comparable(errors, "training_level").groupby("training_level").value.mean()
    if len(largest) and largest.idxmax() not in (largest.index.min(), largest.index.max()):
        last = f"{number(largest.iloc[-1])} at level {largest.index[-1]:g}"
        yield f"Errors are largest at level {largest.idxmax():g} ({number(largest.max())}), and fall to {last}."
    if found.units == "episodes":
        yield "All of it is of one base model: the intervals are over its episodes, and say nothing of other models."
    low = found.unfinished()
    if len(low):
        said = ", ".join(f"{number(value)} at level {level:g}" for level, value in low.items())
        where = f"Tested at the level trained at, study items end below .90 at some levels ({said})"
        yield f"{where}: retention there is of unfinished learning."


def of_emergence(novel: pd.DataFrame) -> Iterator[str]:
    """Yield how many models answer more than .9 of the last stage's novel validation queries, and after how many updates.

    Models from random weights and those that go on from metalearned ones (`is_loaded`) are told apart.
    """
    accuracy = novel.assign(accuracy=novel.n_correct / novel.n_queries)
    by = ["pt_rotation", "pt_curriculum", "seed"]
    for is_loaded, rows in accuracy.groupby("is_loaded"):
        of_seed = rows.groupby(by, observed=True)
        last = rows[rows.stage == of_seed.stage.transform("max")]
        reached = last[last.accuracy > 0.9].groupby(by, observed=True).updates.min()
        answer = "answers" if len(reached) == 1 else "answer"
        said = f"{len(reached)} of {of_seed.ngroups} {answer} more than .9 of the last stage's novel queries"
        if len(reached) and not reached.max():
            said += " from the beginning"
        elif len(reached):
            between = f"{reached.min():,}" if reached.min() == reached.max() else f"{reached.min():,} to {reached.max():,}"
            said += f", first after {between} updates"
        yield f"Models from {'metalearned' if is_loaded else 'random'} weights: {said}."


def of_groups(rows: pd.DataFrame) -> Iterator[str]:
    """Yield the mean accuracy of each group after blocked training, a sentence a rotation."""
    last = derive.congruent(rows)
    last = last[last.curriculum == "blocked"].astype({"subset": str})
    for rotation, of_rotation in last.groupby("rotation", sort=False):
        means = effects.mean_interval(of_rotation, ["subset"]).set_index("subset")["mean"]
        said = ", ".join(f"group {subset.removeprefix('study_')} {number(value)}" for subset, value in means.items())
        yield f"After blocked training, {NAMES[rotation]}: {said}."
