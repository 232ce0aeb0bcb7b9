"""Picture of a trade-off, tradeoff.png: generalisation falls and retention rises as in-context learning is ablated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.measures.tradeoff import TradeOff
from analysis.report import style
from analysis.report.plots import parts
from analysis.statistics.effects import of_values
from flags.ablations import ABLATIONS

Means = Mapping[float, float]


def plot_trade_off(found: TradeOff, path: Path, published: tuple[Means, Means] = ({}, {}), size: str = "") -> None:
    """Plot the four measures of a trade-off experiment, to `path` with the endings .pdf and .png. published: generalisation and
    retention by level."""
    label = ABLATIONS[found.ablation].label
    levels = sorted(found.learning.training_level.unique())
    colors = dict(zip(levels, plt.get_cmap("viridis")(np.linspace(0, 0.9, len(levels))), strict=True))
    with style.ours():
        figure, axes = plt.subplots(1, 4, figsize=(15, 3.9), layout="constrained")
        _bars(axes[0], found.generalisation, "test_level", "0.55", published[0])
        parts.chance_line(axes[0], found.chance, color="0.2", lw=0.8, zorder=2)
        axes[0].set(title="Generalisation: novel items, few-shot", xlabel="level at the test\n" + label)
        _curves(axes[1], found.learning, colors)
        axes[1].set(
            title="Learning: study items, tested at the training level", xlabel="updates", ylabel="accuracy", ylim=(-0.03, 1.03)
        )
        _curves(axes[2], found.errors, colors)
        axes[2].set(title="Errors: training loss", xlabel="updates", ylabel="loss (nats per token)")
        highest = f"tested at level {found.retention_level:g}"
        _bars(axes[3], found.retention, "training_level", [colors[level] for level in levels], published[1])
        axes[3].set(title=f"Retention: study items, {highest}", xlabel="level while training\n" + label)
        of = f"mean and 95 % t interval over {found.n_units} {found.units}{', fewer at some levels' if found.is_uneven else ''}"
        style.title(figure, f"{found.task} task{size}, rule-like, interleaved (bars: {of})", 10)
        parts.legend_below(figure, list(axes), 14, title="lines: level while training")
        style.save(figure, path)


def _bars(axes: Axes, frame: pd.DataFrame, level: str, color: object, published: Means) -> None:
    means = of_values(frame, [level])
    places = range(len(means))
    shown = [(place, published[value]) for place, value in zip(places, means[level].round(6), strict=True) if value in published]
    if shown:
        axes.scatter(*zip(*shown, strict=True), label=style.PUBLISHED_LABEL, **style.PUBLISHED)
    error = [means["mean"] - means.low, means.high - means["mean"]]
    axes.bar(places, means["mean"], 0.75, color=color, yerr=error, ecolor="0.2", capsize=2, error_kw={"lw": 0.8})
    axes.set_xticks(places, [f"{value:g}" for value in means[level]])
    axes.set(ylabel="accuracy", ylim=(0, 1.08))


def _curves(axes: Axes, frame: pd.DataFrame, colors: dict[float, object]) -> None:
    means = frame.groupby(["training_level", "step"], as_index=False).value.mean()
    for level, part in means.groupby("training_level"):
        width = 2.8 - 1.8 * list(colors).index(level) / max(1, len(colors) - 1)  # thinner ones on top: none is hidden
        axes.plot(part.step, part.value, color=colors[level], lw=width, label=f"{level:g}")
