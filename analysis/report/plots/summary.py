"""Picture of a job, summary.png: metalearning, few-shot, after training, and how groups A and B are learned and forgotten."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.jobs import tables
from analysis.measures import emergence
from analysis.measures.summary import Summary, read_flags
from analysis.report import style
from analysis.report.plots import parts


def plot_summary(folder: Path, found: Summary) -> None:
    """Plot the picture of a job from its tables and its summary into its folder."""
    tests, validation = tables.read(folder, "finetune_accuracy"), tables.read(folder, "pretrain_accuracy")
    tests = tests[tests.test_level == 0.0].copy()
    for table in (tests, validation):
        table["accuracy"] = table.n_correct / table.n_queries
    curves = _congruent(tests) if found["after_training"] else []
    metalearned = validation.step.max() > 0
    with style.ours():
        rows = 2 if curves else 1
        figure = plt.figure(figsize=(11, 3.3 * rows), layout="constrained")
        halves = figure.subfigures(rows, 1, squeeze=False)[:, 0]
        top = halves[0].subplots(1, 3)
        _metalearning(top[0], emergence.with_updates(validation, read_flags(folder))) if metalearned else parts.nothing(
            top[0], "no metalearning\n(in-weight learning only)"
        )
        _few_shot(top[1], found)
        _after_training(top[2], found)
        if curves:
            bottom = halves[1].subplots(1, len(curves), sharey=True, squeeze=False)[0]
            for axes, (title, curve) in zip(bottom, curves, strict=True):
                _learning_curve(axes, title, curve)
            bottom[0].set_ylabel("accuracy")
            bottom[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
            halves[1].suptitle(
                "Finetuning on rule-like tasks (mean over episodes and seeds; dotted: another block begins)", fontsize=10
            )
        style.save_png(figure, folder / "summary.png")


def _metalearning(axes: Axes, validation: pd.DataFrame) -> None:
    novel, study = validation[validation.subset == "novel"], validation[validation.subset != "novel"]
    for name, part, color in (("study", study, "0.75"), ("novel", novel, style.GROUP_COLORS["novel"])):
        sums = part.groupby(["seed", "updates"])[["n_correct", "n_queries"]].sum()
        accuracy = (sums.n_correct / sums.n_queries).unstack("seed")
        for k, seed in enumerate(accuracy):
            of_seed = accuracy[seed].dropna()
            axes.plot(of_seed.index, of_seed, color=color, lw=1.2, label=name if k == 0 else None)
    axes.set(title="Metalearning: validation", xlabel="updates", ylabel="accuracy", ylim=(-0.03, 1.03))
    axes.legend(loc="upper left")


def _few_shot(axes: Axes, found: Summary) -> None:
    rows = [row for row in found["few_shot"] if row["init"] != "random"] or found["few_shot"]
    _bars(axes, rows, ["init", "rotation"], "context_curriculum")
    parts.chance_line(axes, found["chance"], parts.ON_RULE_LIKE, lw=0.8, zorder=3)
    axes.set(title="Few-shot: novel items", ylabel="accuracy", ylim=(0, 1.12))
    _legend_below(axes)


def _after_training(axes: Axes, found: Summary) -> None:
    rows = [row for row in found["after_training"] if row["context_curriculum"] == row["step_curriculum"]]
    if not rows:
        parts.nothing(axes, "no finetuning")
        return
    _bars(axes, rows, ["init", "rotation"], "step_curriculum")
    parts.forgotten_line(axes, sum(name.startswith("study_") for name in rows[0]))
    axes.set(title="After training: study items", ylabel="accuracy", ylim=(0, 1.12))
    _legend_below(axes)


def _bars(axes: Axes, rows: list[dict], by: list[str], color: str) -> None:
    """A cluster of bars for each combination of `by`; the bars of a cluster differ in colour."""
    if not rows:
        parts.nothing(axes, "nothing tested")
        return
    order = {"metalearned": 0, "loaded": 0, "random": 1, "unrotated": 0, "rotated": 1}
    clusters = sorted({tuple(row[name] for name in by) for row in rows}, key=lambda key: [order[name] for name in key])
    colors = [name for name in style.curriculum_colors() if any(row[color] == name for row in rows)]
    width = 0.8 / len(colors)
    for k, name in enumerate(colors):
        height = {tuple(row[part] for part in by): row["accuracy"] for row in rows if row[color] == name}
        places = [i + (k - (len(colors) - 1) / 2) * width for i in range(len(clusters))]
        heights = [height.get(key, 0) for key in clusters]
        bars = axes.bar(places, heights, width * 0.92, color=style.curriculum_colors()[name], label=name)
        axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=1)
    axes.set_xticks(
        range(len(clusters)), [f"{style.INIT_LABELS[init]}\n{style.ROTATION_LABELS[rotation]}" for init, rotation in clusters]
    )
    axes.tick_params(axis="x", labelsize=8, length=0)


def _legend_below(axes: Axes) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.26), ncols=3, handlelength=1, columnspacing=1)


def _congruent(tests: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Title and curves of each init × congruent curriculum on rule-like tasks (on rotated ones if the job has no others)."""
    rotation = "unrotated" if (tests.rotation == "unrotated").any() else tests.rotation.iloc[0]
    same = tests.context_curriculum.astype(str) == tests.step_curriculum.astype(str)
    chosen = tests[same & (tests.rotation == rotation)]
    return [
        (f"{style.INIT_LABELS[init]}, {curriculum}", part)
        for (init, curriculum), part in chosen.groupby(["init", "step_curriculum"])
    ]


def _learning_curve(axes: Axes, title: str, curve: pd.DataFrame) -> None:
    means = curve.groupby(["subset", "step"]).accuracy.mean().unstack("subset")
    for subset in [name for name in style.GROUP_COLORS if name in means]:
        line = "--" if subset == "novel" else "-"
        axes.plot(means.index, means[subset], line, color=style.GROUP_COLORS[subset], lw=1.4, label=style.SUBSET_LABELS[subset])
    for end in sorted(curve.groupby("block").step.max())[:-1]:
        axes.axvline(end, color="0.6", lw=0.8, ls=":")
    axes.set(title=title, xlabel="updates", ylim=(-0.03, 1.03))
