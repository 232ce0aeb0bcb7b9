"""Language models in context: blocked against interleaved, and aligned against misaligned, by rotation and model."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

from analysis.measures.llm import PAIRS, means
from analysis.report import style
from analysis.report.plots import parts


def draw(rows: pd.DataFrame, published: dict[str, parts.Published], path: Path) -> None:
    """`rows` of `llm_accuracy`. published: (rotation, curriculum) → mean, by model; drawn as models of their own."""
    found = means(rows)
    found["name"] = found.model + " (" + found.scoring + ")"
    others = [
        {"name": f"{model}, published", "rotation": rotation, "context_curriculum": curriculum, "mean": mean}
        for model, of_model in published.items()
        for (rotation, curriculum), mean in of_model.items()
    ]
    found = pd.concat([found, pd.DataFrame(others)], ignore_index=True)
    names = list(dict.fromkeys(found.name))
    hatched = [name for name in names if name.endswith(", published")]
    labels = {name: name.replace(" (", "\n(").replace(", ", "\n") for name in names}
    with style.ours():
        figure, panels = plt.subplots(2, 2, figsize=(max(9, 1.4 * len(names) * 2), 6.6), layout="constrained")
        for i, rotation in enumerate(style.ROTATION_LABELS):
            for j, pair in enumerate(PAIRS):
                there = found[(found.rotation == rotation) & found.context_curriculum.isin(pair)]
                if there.empty:
                    parts.nothing(panels[i, j], "not asked")
                    continue
                parts.grouped_bars(panels[i, j], there, "name", "context_curriculum", None, labels, hatched=hatched)
                parts.chance_line(panels[i, j], 1 / 25 if rotation == "unrotated" else 1 / 81)
                panels[i, j].set_title(f"{'rule-like' if rotation == 'unrotated' else 'rotated'}: {pair[0]} and {pair[1]}")
                panels[i, j].set_ylabel("accuracy on novel items")
        parts.legend_below(figure, list(panels.flat), 5)
        figure.suptitle(
            "Language models on the grid task, in context (95 % t intervals over episodes; hatched: published, without intervals)",
            fontsize=10,
        )
        style.save(figure, path)
