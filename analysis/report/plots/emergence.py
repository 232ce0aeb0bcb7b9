"""Emergence of in-context learning: accuracy on novel items of validation episodes over metalearning, a line a seed."""

from __future__ import annotations

from itertools import cycle, product
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

import tasks
from analysis.report import style
from analysis.report.plots import parts

# Colours that no curriculum and no group has, and lines that differ in grey as well; more seeds than these share them.
LINES = [(color, line) for line in ("-", "--", ":") for color in ("#332288", "#CC79A7", "#999933", "#000000")]


def plot_emergence(rows: pd.DataFrame, chance: float, title: str, path: Path) -> None:
    """Draw `rows` of `pretrain_accuracy` with their `updates`; a panel a metalearned condition. A stroke: a stage begins."""
    novel = rows[rows.subset == "novel"]
    there = {(str(r), str(c)) for r, c in zip(novel.pt_rotation, novel.pt_curriculum, strict=True)}
    conditions = [condition for condition in product(tasks.ROTATIONS, tasks.curricula()) if condition in there]
    look = dict(zip(sorted(novel.seed.unique()), cycle(LINES), strict=False))  # the same in every panel
    columns = min(4, len(conditions))
    lines = -(-len(conditions) // columns)
    with style.ours():
        size = (max(5.5, 3.6 * columns), 3.0 * lines + 0.9)
        figure, panels = plt.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False, sharey=True)
        for axes in panels.flat[len(conditions) :]:
            axes.set_axis_off()
        for axes, condition in zip(panels.flat, conditions, strict=False):
            there = novel[(novel.pt_rotation == condition[0]) & (novel.pt_curriculum == condition[1])]
            for seed, of_seed in there.groupby("seed"):
                color, line = look[seed]
                of_seed = of_seed.sort_values(["stage", "updates"])
                accuracy = of_seed.n_correct / of_seed.n_queries
                axes.plot(of_seed.updates, accuracy, line, color=color, lw=1.4, label=f"seed {seed}")
                begins = (of_seed.stage.diff() > 0).to_numpy()
                axes.plot(of_seed.updates[begins], accuracy[begins], "|", color=color, ms=12, mew=1.4)
            parts.chance_line(axes, chance)
            axes.axhline(0.9, color="0.7", lw=0.8, ls="--", zorder=0, label="the .9 criterion's height")
            axes.set(title=" ".join(condition), xlabel="updates", ylim=(-0.03, 1.05))
        for axes in panels[:, 0]:
            axes.set_ylabel("accuracy on novel items\nof validation episodes")
        parts.legend_below(figure, list(panels.flat[: len(conditions)]), 6)
        style.title(figure, title, 11)
        style.save(figure, path)
