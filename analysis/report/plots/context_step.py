"""Context curriculum against step curriculum, 2 × 2 × rotation: which of the two does what."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

from analysis.measures import derive
from analysis.report import style
from analysis.report.plots import parts
from analysis.statistics.effects import mean_interval

KEY = ["context_curriculum", "step_curriculum"]
LABELS = {"blocked": "blocked\ncontext", "interleaved": "interleaved\ncontext"}


def plot_context_step(rows: pd.DataFrame, title: str, path: Path) -> None:
    """Draw `rows` of `finetune_accuracy`, of one condition and init, with all four pairs of blocked and interleaved."""
    last = derive.after_training(rows)
    last = last[last.context_curriculum.isin(list(LABELS))].astype(dict.fromkeys((*KEY, "rotation"), str))
    rotations = [name for name in style.ROTATION_LABELS if (last.rotation == name).any()]
    with style.ours():
        figure, panels = plt.subplots(1, len(rotations), figsize=(4.6 * len(rotations), 4.0), layout="constrained", squeeze=False)
        for axes, rotation in zip(panels[0], rotations, strict=True):
            there = last[last.rotation == rotation]
            parts.grouped_bars(axes, mean_interval(there, KEY), *KEY, None, LABELS, derive.by_seed(there, KEY))
            parts.forgotten_line(axes, there.subset.nunique())
            axes.set_title(style.ROTATION_LABELS[rotation].replace("\n", " "))
            axes.set_ylabel("accuracy on study items after training" if rotation == rotations[0] else "")
        style.title(figure, f"{title}\n{style.of_seeds(last.seed.nunique())}", 10)
        parts.legend_below(figure, panels[0], 4, title="step curriculum")
        style.save(figure, path)
