"""Language models in context: blocked against interleaved, and aligned against misaligned, by rotation and model."""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

from analysis.measures.llm import PAIRS, chance, means
from analysis.report import style
from analysis.report.plots import parts


def plot_language_models(rows: pd.DataFrame, published: dict[str, parts.Published], path: Path) -> None:
    """Draw `rows` of `llm_accuracy`. published: (rotation, curriculum) → mean, by model; plotted as models of their own."""
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
    labels = {name: _broken(name) for name in names}
    with style.ours():
        asked = found[~found.name.isin(hatched)]
        rotations = [name for name in style.ROTATION_LABELS if (asked.rotation == name).any()]
        pairs = [pair for pair in PAIRS if asked.context_curriculum.isin(pair).any()]
        size = (max(4.5 * len(pairs), 1.4 * len(names) * len(pairs)), 3.3 * len(rotations))
        figure, panels = plt.subplots(len(rotations), len(pairs), figsize=size, layout="constrained", squeeze=False)
        for i, rotation in enumerate(rotations):
            for j, pair in enumerate(pairs):
                there = found[(found.rotation == rotation) & found.context_curriculum.isin(pair)]
                parts.grouped_bars(panels[i, j], there, "name", "context_curriculum", None, labels, hatched=hatched)
                parts.chance_line(panels[i, j], chance(rotation), "chance of a whole answer")
                panels[i, j].set_title(f"{'rule-like' if rotation == 'unrotated' else 'rotated'}: {pair[0]} and {pair[1]}")
                panels[i, j].set_ylabel("accuracy on novel items")
        parts.legend_below(figure, list(panels.flat), 5)
        what = "95 % t intervals over episodes; hatched: published, without intervals"
        style.title(figure, f"Language models on the grid task, in context ({what})", 10)
        style.save(figure, path)


def _broken(name: str) -> str:
    """Return a model's name and scoring in lines that fit below its bars."""
    lines = name.removesuffix(", published").replace(" (", "\n(").splitlines()
    wrapped = [textwrap.fill(line.replace(".gguf", ""), 15, break_long_words=True) for line in lines]
    return "\n".join(wrapped) + ("\npublished" if name.endswith(", published") else "")
