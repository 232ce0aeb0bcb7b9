"""Few-shot accuracy on every context curriculum × rotation."""

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

KEY = ["rotation", "context_curriculum"]


def plot_few_shot(rows: pd.DataFrame, chance: float, published: parts.Published, title: str, path: Path) -> None:
    """Draw `rows` of `finetune_accuracy`, of one metalearned condition."""
    first = derive.few_shot(rows).astype(dict.fromkeys(KEY, str))
    with style.ours():
        figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
        parts.grouped_bars(axes, mean_interval(first, KEY), *KEY, published, style.ROTATION_LABELS, derive.by_seed(first, KEY))
        parts.chance_line(axes, chance, parts.ON_RULE_LIKE)
        axes.set_ylabel("accuracy on novel items")
        axes.set_title(f"{title}\n{style.of_seeds(first.seed.nunique())}")
        parts.legend_below(figure, [axes], 6)
        style.save(figure, path)
