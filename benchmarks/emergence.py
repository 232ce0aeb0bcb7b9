"""When does in-context learning emerge? Rows of settings, each a command; docs/emergence.md has the table and figure.

python benchmarks/emergence.py ROW ...       metalearn these rows (--seeds 0 1 2), one after the other, and write the table anew
python benchmarks/emergence.py --list        the rows and their commands
python benchmarks/emergence.py --write       write the table anew from docs/emergence.csv and benchmarks/runs/

Every row is a laptop job without finetuning, with the flags that it names. The times are CPU time on one thread, which a busy
machine does not change much.
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
from analysis.measures.summary import read_flags  # noqa: E402
from analysis.report import style  # noqa: E402

RESULTS, TABLE, PAGE = ROOT / "benchmarks/runs", ROOT / "docs/emergence.csv", ROOT / "docs/emergence.md"
LEFT_CHANCE = {"grid": 0.10, "category": 0.60}  # chance is .04 and .5; five standard errors above, and more
COMMON = "--n_blocks 0 --no_with_iwl_only --restarts 0 --threads 1"  # the rows tell how surely one start leads there

TEN = "--n_epochs 10"  # rows that were watched for longer than the preset's six epochs
AGAIN = "--n_task_dims 30 --n_train 40000"  # pairs of dimensions come again, with other labels
CONSTANT = "--n_epochs 4 --lr_schedule constant"
SCREEN = f"{AGAIN} {CONSTANT} --rope_theta 10"

# Each row changes the first one of its task.
ROWS = {
    "grid": ("grid", ""),
    "grid-2-layers": ("grid", f"--n_layers 2 {TEN}"),
    "grid-4-layers": ("grid", f"--n_layers 4 {TEN}"),
    "grid-2-heads": ("grid", f"--n_heads 2 {TEN}"),
    "grid-8-heads": ("grid", "--n_heads 8"),
    "grid-rope-100": ("grid", f"--rope_theta 100 {TEN}"),
    "grid-normal-init": ("grid", "--weight_init normal"),
    "grid-25-queries": ("grid", "--queries_per_episode 25"),
    "grid-128-episodes": ("grid", "--pretrain_bs 640"),
    "grid-rate-1e-3": ("grid", "--pretrain_lr 1e-3"),
    "grid-no-warm-up": ("grid", "--warmup_steps 0"),
    "grid-beta2-.999": ("grid", "--adam_beta2 0.999"),
    "grid-init-.02": ("grid", "--init_scale 0.02"),
    "grid-flips": ("grid", "--p_flip_xy 0.5 --unflipped_epochs 0 --n_epochs 18"),
    "grid-flips-later": ("grid", "--p_flip_xy 0.5 --unflipped_epochs 6 --n_epochs 14"),
    "grid-interleaved": ("grid", "--pt_cond interleaved"),
    "grid-4-layers-2-heads": ("grid", "--n_layers 4 --n_heads 2"),
    "grid-4-layers-init-.15": ("grid", f"--n_layers 4 --init_scale 0.15 {TEN}"),
    "grid-4-layers-rope-1e3": ("grid", "--n_layers 4 --rope_theta 1000"),
    "grid-4-layers-rope-100": ("grid", f"--n_layers 4 --rope_theta 100 {TEN}"),
    "grid-4-layers-rope-100-25-queries": ("grid", "--n_layers 4 --rope_theta 100 --queries_per_episode 25"),
    "grid-2-layers-rope-100": ("grid", "--n_layers 2 --rope_theta 100 --n_epochs 12"),
    "grid-2-layers-rope-100-width-128": ("grid", "--n_layers 2 --rope_theta 100 --d_model 128"),
    "grid-2-layers-rope-100-width-128-8-heads": ("grid", "--n_layers 2 --rope_theta 100 --d_model 128 --n_heads 8"),
    "grid-2-layers-rope-10": ("grid", "--n_layers 2 --rope_theta 10"),
    "category": ("category", ""),
    "category-constant-rate": ("category", "--lr_schedule constant"),
    "category-longer": ("category", "--n_epochs 24"),
    "category-decay": ("category", "--weight_decay 0.3"),
    "category-rope-10": ("category", "--rope_theta 10"),
    "category-200-dims": ("category", "--n_task_dims 200 --n_train 39000 --n_epochs 9"),
    "category-128-episodes": ("category", "--pretrain_bs 512 --n_epochs 6"),
    "category-16-queries": ("category", "--queries_per_episode 16"),
    "category-rate-1e-3": ("category", "--pretrain_lr 1e-3"),
    "category-no-warm-up": ("category", "--warmup_steps 0"),
    "category-beta2-.999": ("category", "--adam_beta2 0.999"),
    "category-init-.02": ("category", "--init_scale 0.02"),
    "category-rope-1e4": ("category", "--rope_theta 10000"),
    "category-8-heads": ("category", "--n_heads 8"),
    "category-1-layer": ("category", "--n_layers 1"),
    "category-4-layers": ("category", "--n_layers 4"),
    "category-matching-init": ("category", "--weight_init matching"),
    "category-published-recipe": ("category", "--recipe published"),
    "category-twice": ("category", "--rope_theta 10 --n_train 28000 --n_epochs 9"),
    "category-twice-constant-rate": ("category", "--rope_theta 10 --n_train 28000 --n_epochs 6 --lr_schedule constant"),
    "category-twice-longer": ("category", "--n_train 28000 --n_epochs 18"),
    "category-again": ("category", f"{AGAIN} --n_epochs 5 --rope_theta 10"),
    "category-again-rope-100": ("category", f"{AGAIN} --n_epochs 4"),
    "category-again-constant-rate": ("category", SCREEN),
    "category-again-60-dims": ("category", f"--n_task_dims 60 --n_train 40000 {CONSTANT} --rope_theta 10"),
    "category-again-rate-6e-3": ("category", f"{AGAIN} {CONSTANT} --pretrain_lr 6e-3"),
    "category-again-2-heads": ("category", f"{SCREEN} --n_heads 2"),
    "category-again-8-heads": ("category", f"{SCREEN} --n_heads 8"),
    "category-again-width-128": ("category", f"{SCREEN} --d_model 128"),
    "category-again-width-128-8-heads": ("category", f"{SCREEN} --d_model 128 --n_heads 8"),
    "category-again-matching-init": ("category", f"{SCREEN} --weight_init matching"),
}


def command(row: str, seed: int) -> list[str]:
    task, flags = ROWS[row]
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
    """Its rows on novel items, of the first start alone."""
    rows = tables.read(folder, "pretrain_accuracy")
    return rows[(rows.subset == "novel") & (rows.epoch <= read_flags(folder)["n_epochs"])]


def measure(row: str, folder: Path) -> dict:
    """A line of the table, of a run that ended or was stopped: when novel accuracy left chance, reached .9, and peaked."""
    flags = read_flags(folder)
    novel = validations(folder)
    accuracy = (novel.n_correct / novel.n_queries).to_numpy()
    step = novel.step.to_numpy()

    def first(threshold: float) -> int | None:
        above = accuracy > threshold
        return int(step[above.argmax()]) if above.any() else None

    cpu = folder / "cpu_seconds"
    return {
        "row": row,
        "seed": flags["seed"],
        "leaves_chance": first(LEFT_CHANCE[flags["task"]]),
        "reaches_.9": first(0.9),
        "peak": round(float(accuracy.max()), 3),
        "at": int(step[accuracy.argmax()]),
        "updates": int(step.max()),
        "queries_per_update": flags["pretrain_bs"],
        "cpu_seconds": int(cpu.read_text(encoding="utf-8")) if cpu.exists() else None,
    }


def gather() -> pd.DataFrame:
    """The table as it was, with what stands in benchmarks/runs/ instead where there is that."""
    lines = [] if not TABLE.exists() else pd.read_csv(TABLE).to_dict("records")
    known = {(line["row"], line["seed"]): line for line in lines}
    for row in ROWS:
        for folder in runs_of(row):
            line = measure(row, folder)
            before = known.get((line["row"], line["seed"]))
            if before is None or (folder / "summary.json").exists() or line["updates"] > before["updates"]:
                known[line["row"], line["seed"]] = line
    order = list(ROWS)
    lines = sorted(known.values(), key=lambda line: (order.index(line["row"]), line["seed"]))
    return pd.DataFrame(lines).astype(dict.fromkeys(("leaves_chance", "reaches_.9", "cpu_seconds"), "Int64"))


def markdown(table: pd.DataFrame) -> str:
    """A line a row: over its seeds, from the earliest to the latest."""

    def span(values: pd.Series) -> str:
        there = values.dropna()
        if there.empty:
            return "–"
        low, high = there.min(), there.max()
        text = f"{low:g}" if low == high else f"{low:g}–{high:g}"
        return text if len(there) == len(values) else f"{text} ({len(there)} of {len(values)})"

    out = [
        "| row | flags | seeds | leaves chance | reaches .9 | peak | updates | queries to .9 | CPU min to .9 |",
        "|" + "---|" * 9,
    ]
    for row, part in table.groupby("row", sort=False):
        to_9 = part["reaches_.9"].astype(float)
        queries = (to_9 * part.queries_per_update / 1e6).round(2)
        minutes = (to_9 / part.updates * part.cpu_seconds.astype(float) / 60).round(1)
        flags = f"`{ROWS[row][1]}`" if ROWS[row][1] else f"laptop, {ROWS[row][0]}"
        million = f"{span(queries)} M" if queries.notna().any() else "–"
        spans = [span(part[name]) for name in ("leaves_chance", "reaches_.9", "peak", "updates")]
        out.append(f"| {' | '.join(map(str, [row, flags, len(part), *spans, million, span(minutes)]))} |")
    return "\n".join(out)


def panel_of(row: str) -> str:
    """Where a row is drawn."""
    if ROWS[row][0] == "grid":
        return "grid task, other depths" if row.startswith(("grid-2-layers", "grid-4-layers")) else "grid task"
    comes_again = row.startswith(("category-twice", "category-again"))
    return "category task, pairs of dimensions that come again" if comes_again else "category task"


def draw(path: Path) -> None:
    """Novel validation accuracy over updates, a line a seed: in each panel the laptop preset, and rows that change it."""
    drawn = [row for row in ROWS if runs_of(row)]
    titles = list(dict.fromkeys(map(panel_of, drawn)))
    if not titles:
        return
    with style.ours():
        figure, panels = plt.subplots(2, 2, figsize=(13, 12), layout="constrained", sharey=True)
        for axes in panels.flat[len(titles) :]:
            axes.set_visible(False)
        for axes, title in zip(panels.flat, titles, strict=False):
            task = title.partition(" ")[0]
            rows = list(dict.fromkeys([task, *(row for row in drawn if panel_of(row) == title)]))
            colors = dict(zip(rows, plt.get_cmap("tab20").colors, strict=False))
            for row in rows:
                for k, folder in enumerate(runs_of(row)):
                    novel = validations(folder)
                    width = 2.0 if row == task else 1.0
                    label = row.removeprefix(f"{task}-") if row != task else "the laptop preset"
                    accuracy = novel.n_correct / novel.n_queries
                    axes.plot(novel.step, accuracy, color=colors[row], lw=width, label=label if k == 0 else None)
            axes.axhline(0.04 if task == "grid" else 0.5, color="0.4", lw=0.8, ls=":")
            axes.set(title=title, xlabel="updates", ylim=(-0.03, 1.03))
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=3)
        for axes in panels[:, 0]:
            axes.set_ylabel("accuracy on novel items of validation episodes\n(dotted: chance)")
        figure.savefig(path, dpi=110)
        plt.close(figure)


def write() -> None:
    table = gather()
    table.to_csv(TABLE, index=False)
    draw(PAGE.with_suffix(".png"))
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
