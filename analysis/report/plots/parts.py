"""Parts that several figures share: bars with intervals, curves with bands, and marks of published means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.report import style
from analysis.statistics.effects import Interval, band

Published = Mapping[tuple[str, str], Interval]
ON_RULE_LIKE = "chance on rule-like tasks"


def grouped_bars(
    axes: Axes,
    means: pd.DataFrame,
    x: str,
    hue: str,
    published: Published | None = None,
    labels: Mapping[str, str] | None = None,
    dots: pd.DataFrame | None = None,
    points: bool = False,
    hatched: Sequence[str] = (),
) -> None:
    """A bar (or, with `points`, a point) for each row of `means` (columns x, hue, mean, low, high): places by `x`, colours by
    `hue`, a context or step curriculum. published: means by (x, hue), with an interval where seeds are published. dots: a column
    `value` a seed, drawn small, with a line from hue to hue. hatched: the places whose bars are not ours."""
    places = [name for name in dict.fromkeys([*(labels or {}), *means[x]]) if (means[x] == name).any()]
    hues = [name for name in style.curriculum_colors() if (means[hue] == name).any()]
    width = 0.8 / max(1, len(hues))
    for k, name in enumerate(hues):
        rows = means[means[hue] == name].drop_duplicates(x).set_index(x).reindex(places)
        at = pd.Series([i + (k - (len(hues) - 1) / 2) * width for i in range(len(places))], index=places)
        there = rows["mean"].notna()
        rows, at = rows[there], at[there]
        error = [(rows["mean"] - rows.low).clip(lower=0), (rows.high - rows["mean"]).clip(lower=0)]  # NaN: none is drawn
        color = style.curriculum_colors()[name]
        if points:
            axes.plot(at, rows["mean"], "o", ms=7, color=color, label=name, markeredgecolor="0.2", markeredgewidth=0.6, zorder=5)
            axes.errorbar(at, rows["mean"], yerr=error, fmt="none", ecolor="0.1", capsize=6, elinewidth=1.2, zorder=7)
        else:
            bars = axes.bar(at, rows["mean"], width * 0.92, color=color, label=name, yerr=error, ecolor="0.2", capsize=3,
                            error_kw={"lw": 1, "zorder": 5}, edgecolor="0.2", linewidth=0.4)  # fmt: skip
            for place, bar in zip(at.index, bars, strict=True):
                bar.set_hatch("///" if place in hatched else None)
        for place, value, high in zip(at, rows["mean"], rows.high.fillna(rows["mean"]), strict=True):
            up = 9 if points else 4  # clear of a marker
            axes.annotate(f"{value:.2f}", (place, max(value, high)), (0, up), textcoords="offset points", ha="center", fontsize=7,
                          bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.8}, zorder=8)  # fmt: skip
        if published:
            aside = 0.36 * width  # where it hides neither point nor number
            for label in (label for label in at.index if (label, name) in published):
                _published(axes, at[label] + aside, published[label, name])
    if dots is not None:
        _seeds(axes, dots, x, hue, places, hues, width)
    if published and any((p, h) in published for p in places for h in hues):
        axes.scatter([], [], label=style.PUBLISHED_LABEL, **style.PUBLISHED)
    axes.set_xticks(range(len(places)), [(labels or {}).get(place, place) for place in places])
    axes.tick_params(axis="x", length=0)
    axes.set(ylim=(0, 1.16), ylabel="accuracy", yticks=[0, 0.25, 0.5, 0.75, 1], xlim=(-0.55, len(places) - 0.45))


def _published(axes: Axes, at: float, found: Interval) -> None:
    axes.scatter([at], [found.value], **style.PUBLISHED)
    if found.low == found.low:
        error = [[found.value - found.low], [found.high - found.value]]
        axes.errorbar([at], [found.value], yerr=error, fmt="none", ecolor="black", elinewidth=0.8, capsize=2, zorder=5.5)


def _seeds(axes: Axes, dots: pd.DataFrame, x: str, hue: str, places: Sequence[str], hues: Sequence[str], width: float) -> None:
    """A dot a seed, in the same order at every bar, and a thin line from bar to bar of a place."""
    seeds = sorted(dots.seed.unique())
    step = min(0.05, 0.4 * width / max(1, len(seeds)))
    for i, place in enumerate(places):
        there = dots[dots[x] == place].pivot_table(index="seed", columns=hue, values="value").reindex(columns=hues)
        for seed, values in there.iterrows():
            aside = (seeds.index(seed) - (len(seeds) - 1) / 2) * step
            at = [i + (k - (len(hues) - 1) / 2) * width + aside for k in range(len(hues))]
            axes.plot(at, values, "-", color="0.35", lw=0.5, alpha=0.5, zorder=3.5)
            axes.plot(at, values, ".", color="0.25", ms=3.5, alpha=0.7, zorder=4)


def forgotten_line(axes: Axes, n_groups: int) -> None:
    """Draw the accuracy of a model that answers only the group trained last."""
    label = "one of two groups forgotten" if n_groups == 2 else f"all but one of {n_groups} groups forgotten"
    axes.axhline(1 / n_groups, color="0.4", lw=0.9, ls="--", zorder=1, label=label)


def chance_line(axes: Axes, chance: float, label: str = "chance", **look: Any) -> None:
    """Plot a dotted line at the chance level. look: properties of the line that differ in a figure."""
    axes.axhline(chance, **{"color": "0.4", "lw": 0.9, "ls": ":", "zorder": 1, "label": label, **look})


def curve(
    axes: Axes,
    rows: pd.DataFrame,
    color: object,
    label: str | None,
    line: str = "-",
    width: float = 1.5,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> None:
    """The mean over seeds of `rows` (columns step, seed, value), with a band, within `bounds`, if there are several."""
    found = band(rows.pivot_table(index="seed", columns="step", values="value", observed=True), bounds)
    axes.plot(found.index, found["mean"], line, color=color, lw=width, label=label)
    if found.low.notna().any():
        axes.fill_between(found.index, found.low, found.high, color=color, alpha=0.2, lw=0)


def block_switches(axes: Axes, ends: Sequence[float]) -> None:
    """Draw a line at each step in `ends`, where another block begins."""
    for k, end in enumerate(ends):
        axes.axvline(end, color="0.55", lw=0.8, ls=(0, (1, 2)), zorder=0, label="another block begins" if k == 0 else None)


def nothing(axes: Axes, why: str) -> None:
    """Leave the panel empty but for a text that says why."""
    axes.text(0.5, 0.5, why, ha="center", va="center", color="0.4", transform=axes.transAxes)
    axes.set_axis_off()


def legend_below(figure: Figure, panels: Sequence[Axes], ncols: int = 6, title: str | None = None) -> None:
    """One legend for several panels, each label once."""
    handles: dict[str, Artist] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=ncols, title=title)
