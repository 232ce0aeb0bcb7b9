"""The main figure, of one task and init: few-shot, after training, accuracy and loss over finetuning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from analysis.measures import derive
from analysis.report import style
from analysis.report.plots import parts
from analysis.statistics.effects import mean_interval

KEY = ["rotation", "curriculum"]


@dataclass(frozen=True)
class Data:
    """Numbers of the figure, all of one condition and init.

    accuracy, loss: rows of `finetune_accuracy` and `finetune_loss`. chance: the chance level on rule-like tasks.
    published_few_shot, published_after: published means by (rotation, curriculum).
    """

    accuracy: pd.DataFrame
    loss: pd.DataFrame
    chance: float
    published_few_shot: parts.Published
    published_after: parts.Published


def plot_main_figure(data: Data, title: str, path: Path) -> None:
    """Plot to `path` with the endings .pdf and .png. Congruent curricula; nothing is plotted of phases that are missing."""
    rows = data.accuracy
    first = derive.congruent(derive.few_shot_by_steps(rows))
    last, loss = derive.congruent(derive.after_training(rows)), derive.congruent(data.loss)
    curves = derive.congruent(rows)
    conditions = [(r, c) for r in style.ROTATION_LABELS for c in ("blocked", "interleaved") if _pick(curves, r, c).size]
    trained = len(last) > 0
    highest = derive.losses(loss).value.max() if trained else 0
    with style.ours():
        figure = plt.figure(figsize=(11.5, 9.2) if trained else (6.5, 3.6), layout="constrained")
        grid = figure.add_gridspec(3 if trained else 1, 4)
        bars = figure.add_subplot(grid[0, :2] if trained else grid[0, :])
        parts.grouped_bars(bars, mean_interval(first, KEY), *KEY, data.published_few_shot, style.ROTATION_LABELS, _dots(first))
        bars.set_title("Few-shot: novel items, before any update")
        parts.chance_line(bars, data.chance, parts.ON_RULE_LIKE)
        panels = [bars]
        if trained:
            after = figure.add_subplot(grid[0, 2:])
            panels.append(after)
            means = mean_interval(last, KEY)
            parts.grouped_bars(after, means, *KEY, data.published_after, style.ROTATION_LABELS, _dots(last), points=True)
            after.set_title("After training: study items, mean of the groups")
            parts.forgotten_line(after, last.subset.nunique())
        for k, condition in enumerate(conditions if trained else []):
            axes = [figure.add_subplot(grid[row, k]) for row in (1, 2)]
            _accuracy(axes[0], _pick(curves, *condition))
            _loss(axes[1], _pick(loss, *condition), highest)
            axes[0].set_title(f"{'rule-like' if condition[0] == 'unrotated' else 'rotated'}, {condition[1]}")
            if k == 0:
                axes[0].set_ylabel("accuracy")
                axes[1].set_ylabel("training loss (nats per token)")
            panels += axes[:1]
        parts.legend_below(figure, panels, 5)
        style.title(figure, f"{title}\n{style.of_seeds(rows.seed.nunique())}", 11)
        style.save(figure, path)


def _pick(rows: pd.DataFrame, rotation: str, curriculum: str) -> pd.DataFrame:
    return rows[(rows.rotation == rotation) & (rows.curriculum == curriculum)]


def _dots(rows: pd.DataFrame) -> pd.DataFrame:
    return derive.by_seed(rows, KEY)


def _accuracy(axes: plt.Axes, rows: pd.DataFrame) -> None:
    curves = derive.learning_curves(rows)
    for subset, label in style.SUBSET_LABELS.items():
        part = curves[curves.subset == subset]
        if len(part):
            parts.curve(axes, part, style.GROUP_COLORS[subset], label, "--" if subset == "novel" else "-")
    _switches(axes, rows)
    axes.set(ylim=(-0.03, 1.05), xlabel="updates")


def _loss(axes: plt.Axes, rows: pd.DataFrame, top: float) -> None:
    parts.curve(axes, derive.losses(rows), "0.25", None, bounds=(0.0, np.inf))
    _switches(axes, rows)
    axes.set(xlabel="updates", ylim=(-0.03 * top, 1.05 * top))


def _switches(axes: plt.Axes, rows: pd.DataFrame) -> None:
    ends = sorted(rows.groupby("block").step.max())[:-1] if (rows.step_curriculum == "blocked").all() else []
    parts.block_switches(axes, ends)
