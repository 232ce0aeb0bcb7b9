"""Emergence of in-context learning by setting: a row is a command; docs/emergence.md has the table and figure.

python benchmarks/emergence.py ROW ...       metalearn these rows (--seeds 0 1 2), one after the other, and write the table anew
python benchmarks/emergence.py --list        the rows and their commands
python benchmarks/emergence.py --write       write the table anew from docs/emergence.csv and benchmarks/runs/

Every row is a laptop job without finetuning, with the flags that it names. The times are CPU time on one thread.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from analysis.jobs import tables  # noqa: E402
from analysis.measures import emergence  # noqa: E402
from analysis.measures.summary import read, read_flags  # noqa: E402
from analysis.report import style  # noqa: E402
from tasks import chance  # noqa: E402

RESULTS, TABLE, PAGE = ROOT / "benchmarks/runs", ROOT / "docs/emergence.csv", ROOT / "docs/emergence.md"
SERIES = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000"]  # Okabe & Ito
LEFT_CHANCE = {"grid": 0.10, "category": 0.60}  # five standard errors above chance, and more
CONTEXTS = ("blocked", "interleaved")
COMMON = "--n_blocks 0 --no_with_iwl_only --restarts 0 --threads 1"  # the rows tell how surely one start learns in context

# A stage alone: the flags that its task's entry has for it (tasks/*_entry.py).
_FIRST = {
    "category": "--n_layers 2 --n_in_context 8 --queries_per_episode 16 --pretrain_bs 1024 --pretrain_steps 3000",
    "grid": "--n_layers 3 --p_flip_xy 0 --pretrain_steps 400",
}
_INDEPENDENT, _LOOKING_BACK = "--weight_init normal --readout_steps 0", "--weight_init looking_back --readout_steps 50"
_OF_FIRST = "benchmarks/runs/grid-first/seed_{seed}/checkpoints/best_seed{seed}.safetensors"
_FLIPS = f"--load_model_from {_OF_FIRST} --n_layers 3 --pretrain_steps 1500"
_LARGE = "--pretrain_bs 1920"

# Rows: the whole recipe of a task; its first stage with what changes it; the grid's stage with flips, from the first one's weights.
ROWS = {
    "category": ("category", ""),
    "category-first": ("category", _FIRST["category"]),
    "category-first-small-weights": ("category", f"{_FIRST['category']} --init_scale 0.02"),
    "category-first-published-adam": ("category", f"{_FIRST['category']} --init_scale 0.02 --adam_beta2 0.999 --pretrain_lr 3e-4"),
    "category-first-matching": ("category", f"{_FIRST['category']} --weight_init matching"),
    "category-first-looking-back": ("category", f"{_FIRST['category']} {_LOOKING_BACK}"),
    "category-first-looking-back-alone": ("category", f"{_FIRST['category']} --weight_init looking_back"),
    "category-first-readout-first": ("category", f"{_FIRST['category']} --readout_steps 50"),
    "category-first-3e-3": (
        "category", f"{_FIRST['category']} --n_layers 4 --queries_per_episode 4 --pretrain_bs 256 --pretrain_lr 3e-3"
    ),
    "category-looking-back": ("category", _LOOKING_BACK),
    "grid": ("grid", ""),
    "grid-first": ("grid", _FIRST["grid"]),
    "grid-first-independent": ("grid", f"{_FIRST['grid']} {_INDEPENDENT} --pretrain_steps 2500"),
    "grid-first-3e-3": ("grid", f"{_FIRST['grid']} {_INDEPENDENT} --pretrain_lr 3e-3 --pretrain_steps 1800"),
    "grid-flips": ("grid", f"{_FLIPS} {_LARGE}"),
    "grid-flips-640": ("grid", _FLIPS),
    "grid-flips-640-2e-3": ("grid", f"{_FLIPS} --pretrain_lr 2e-3"),
    "grid-flips-640-5e-4": ("grid", f"{_FLIPS} --pretrain_lr 5e-4"),
    "grid-flips-640-6-layers": ("grid", f"{_FLIPS} --n_layers 6"),
    "grid-flips-640-12-layers": ("grid", f"{_FLIPS} --n_layers 12 --pretrain_lr 5e-4"),
    "grid-flips-640-beta2": ("grid", f"{_FLIPS} --adam_beta2 0.999"),
}  # fmt: skip


def command(row: str, seed: int) -> list[str]:
    task, flags = ROWS[row]
    flags = flags.format(seed=seed) + (" --lr_schedule constant" if "-" in row and row != "category-looking-back" else "")
    words = f"main.py --preset laptop --task {task} {flags} {COMMON} --seed {seed} --out_dir benchmarks/runs/{row}/seed_{seed}"
    return words.split()


def run(row: str, seed: int) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([sys.executable, *command(row, seed)], cwd=ROOT, check=True)
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    (RESULTS / row / f"seed_{seed}" / "cpu_seconds").write_text(f"{cpu:.0f}\n", encoding="utf-8")


def runs_of(row: str) -> list[Path]:
    """The folders of a row's runs, also of stopped ones, that were validated."""
    return [folder for folder in sorted((RESULTS / row).glob("seed_*")) if tables.find(folder, "pretrain_accuracy").exists()]


def validations(folder: Path) -> pd.DataFrame:
    """Return a job's validations on novel items, with the updates before each."""
    rows = emergence.with_updates(tables.read(folder, "pretrain_accuracy", finished=False), read_flags(folder))
    return rows[rows.subset == "novel"]


def measure(row: str, folder: Path) -> dict:
    """A line of the table, of a run that ended or was stopped: when novel accuracy left chance, when .95, and the kept model."""
    flags, novel = read_flags(folder), validations(folder)
    accuracy, updates = (novel.n_correct / novel.n_queries).to_numpy(), novel.updates.to_numpy()

    def first(threshold: float) -> int | None:
        above = accuracy >= threshold
        return int(updates[above.argmax()]) if above.any() else None

    kept, cpu = emergence.kept(novel).iloc[0], folder / "cpu_seconds"
    return {
        "row": row,
        "seed": flags["seed"],
        "leaves_chance": first(LEFT_CHANCE[flags["task"]]),
        "reaches_.95": first(0.95),
        "kept": round(kept.n_correct / kept.n_queries, 4),
        "loss": kept.loss,
        "stages": " + ".join(map(str, novel.groupby("stage").step.max())),
        **few_shot(folder),
        "cpu_seconds": int(cpu.read_text(encoding="utf-8")) if cpu.exists() else None,
    }


def few_shot(folder: Path) -> dict[str, float]:
    """Accuracy on novel items of rule-like test episodes, by context curriculum; nothing of a stopped run."""
    if not (folder / "summary.json").exists():
        return {}
    rows = [row for row in read(folder)["few_shot"] if (row["init"], row["rotation"]) == ("metalearned", "unrotated")]
    return {row["context_curriculum"]: round(row["accuracy"], 3) for row in rows if row["context_curriculum"] in CONTEXTS}


def gather() -> pd.DataFrame:
    """Return the table as it was, with the rows that benchmarks/runs/ holds in place of the old ones."""
    lines = pd.read_csv(TABLE).to_dict("records") if TABLE.exists() else []
    known = {(line["row"], line["seed"]): line for line in lines}
    known |= {(row, line["seed"]): line for row in ROWS for folder in runs_of(row) for line in [measure(row, folder)]}
    order = list(ROWS)
    lines = sorted(known.values(), key=lambda line: (order.index(line["row"]), line["seed"]))
    columns = ["row", "seed", "leaves_chance", "reaches_.95", "kept", "loss", "stages", *CONTEXTS, "cpu_seconds"]
    return (
        pd.DataFrame(lines).reindex(columns=columns).astype(dict.fromkeys(("leaves_chance", "reaches_.95", "cpu_seconds"), "Int64"))
    )


def markdown(table: pd.DataFrame) -> str:
    """Return the table as Markdown, a line a row and seed."""
    heads = [
        "row",
        "seed",
        "leaves chance",
        "reaches .95",
        "kept: novel accuracy",
        "loss",
        "updates, by stage",
        "few-shot: blocked",
        "interleaved",
        "CPU min",
    ]
    out = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for line in table.itertuples(index=False):
        row, seed, left, reached, kept, loss, stages, *shots, cpu = line
        minutes = "–" if pd.isna(cpu) else f"{cpu / 60:.1f}"
        left, reached = ("–" if pd.isna(value) else f"{value}" for value in (left, reached))
        blocked, interleaved = ("–" if pd.isna(shot) else f"{shot:.2f}" for shot in shots)
        cells = (row, seed, left, reached, f"{kept:.3f}", f"{loss:.4f}", stages, blocked, interleaved, minutes)
        out.append(f"| {' | '.join(map(str, cells))} |")
    flags = [f"- `{row}`: `{flags}`" if flags else f"- `{row}`: the whole recipe" for row, (_, flags) in ROWS.items()]
    there = set(table.row)
    flags = [line for line, row in zip(flags, ROWS, strict=True) if row in there]
    return "\n".join([*out, "", "The rows' flags, beside `--preset laptop`:", "", *flags])


def plotted(task: str, whole: bool) -> list[str]:
    """The rows of a panel that have runs: the whole recipe, or the first stage and what changes it."""
    return [row for row in ROWS if ROWS[row][0] == task and (row == task) == whole and "-flips" not in row and runs_of(row)]


def plot(path: Path) -> None:
    """Novel validation accuracy over updates, a line a seed: the whole recipe and the first stage of each task."""
    panels = [(task, whole, plotted(task, whole)) for whole in (True, False) for task in ("category", "grid")]
    panels = [panel for panel in panels if panel[2]]
    columns = min(2, len(panels))
    lines = -(-len(panels) // 2)
    with style.ours():
        size = (6.5 * columns, 4.4 * lines)
        figure, grid = plt.subplots(lines, columns, figsize=size, layout="constrained", sharey=True, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (task, whole, rows) in zip(grid.flat, panels, strict=False):
            for number, row in enumerate(rows):
                for k, folder in enumerate(runs_of(row)):
                    novel = validations(folder)
                    color = SERIES[(k if whole else number) % len(SERIES)]
                    label = f"seed {read_flags(folder)['seed']}" if whole else row.removeprefix(f"{task}-")
                    accuracy, begins = (novel.n_correct / novel.n_queries).to_numpy(), (novel.stage.diff() > 0).to_numpy()
                    axes.plot(novel.updates, accuracy, color=color, lw=1.3, label=label if whole or k == 0 else None)
                    axes.plot(novel.updates[begins], accuracy[begins], "|", color=color, ms=12, mew=1.6)
            axes.axhline(chance({"task": task, "n_labels_per_task": 2}), color="0.4", lw=0.8, ls=":")
            axes.set(title=f"{task} task: {'the whole recipe' if whole else 'first stage'}", xlabel="updates", ylim=(-0.03, 1.03))
            axes.legend(loc="lower right")
        for axes in grid[:, 0]:
            axes.set_ylabel("accuracy on novel items of validation episodes\n(dotted: chance; stroke: a stage begins)")
        figure.savefig(path, dpi=110)
        plt.close(figure)


def write() -> None:
    table = gather()
    table.to_csv(TABLE, index=False)
    plot(PAGE.with_suffix(".png"))
    begin, end = "<!-- table -->", "<!-- end of table -->"
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{markdown(table)}\n{end}", text, flags=re.DOTALL), encoding="utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", choices=[[], *ROWS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if arguments.list:
        for row in ROWS:
            print(f"{row:<40} python {' '.join(command(row, arguments.seeds[0]))}")
        return
    for row in arguments.rows:
        for seed in arguments.seeds:
            run(row, seed)
    write()


if __name__ == "__main__":
    main()
