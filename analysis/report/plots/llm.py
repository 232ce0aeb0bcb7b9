"""The picture of a language model's job: accuracy by context curriculum and rotation, a panel a scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from analysis.measures.llm import chance
from analysis.report import style
from analysis.report.plots import parts


def plot_llm(rows: list[dict[str, Any]], path: Path) -> None:
    """Bars of the accuracy on novel items, from `analysis.measures.llm.summarise`; the dots are the coordinates alone."""
    novel = [row for row in rows if row["subset"] == "novel"]
    scorings = list(dict.fromkeys(row["scoring"] for row in novel))
    rotations = list(dict.fromkeys(row["rotation"] for row in novel))
    curricula = [name for name in style.curriculum_colors() if any(row["context_curriculum"] == name for row in novel)]
    width = 0.8 / len(curricula)
    with style.ours():
        size = (max(4.5, 1.2 + 3.4 * len(scorings)), 3.6)
        figure, panels = plt.subplots(1, len(scorings), figsize=size, layout="constrained", sharey=True, squeeze=False)
        for axes, scoring in zip(panels[0], scorings, strict=True):
            for k, curriculum in enumerate(curricula):
                there = [row for row in novel if (row["scoring"], row["context_curriculum"]) == (scoring, curriculum)]
                places = [rotations.index(row["rotation"]) + (k - (len(curricula) - 1) / 2) * width for row in there]
                color = style.curriculum_colors()[curriculum]
                bars = axes.bar(places, [row["accuracy"] for row in there], width * 0.92, color=color, label=curriculum)
                axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=1)
                for what, marker in (("first", "<"), ("second", ">")):
                    label = f"{what} coordinate alone" if k == len(curricula) - 1 else None
                    axes.scatter(places, [row[what] for row in there], marker=marker, s=14, color="0.25", zorder=3, label=label)
            parts.chance_line(axes, chance("unrotated"), parts.ON_RULE_LIKE, lw=0.8, zorder=2)
            axes.set_xticks(range(len(rotations)), [style.ROTATION_LABELS[name] for name in rotations])
            axes.set(title=f"scored by {scoring}", ylim=(0, 1.12))
        panels[0, 0].set_ylabel("accuracy on novel items, in context")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        style.save_png(figure, path)
