"""A job's headline numbers: a dictionary, a table, and the picture beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks import chance, curricula

CONDITION = ["init", "rotation", "context_curriculum", "step_curriculum"]
PARTS = {"metalearning", "few_shot", "after_training", "chance"}  # of a job that trained
Summary = dict[str, Any]


def read(folder: Path) -> Summary:
    """The summary that a finished job left. Raises ValueError if it is damaged."""
    found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    if not isinstance(found, dict) or not ("llm" in found or found.keys() >= PARTS):
        raise ValueError(f"{folder / 'summary.json'}: is not the summary of a job")
    return found


def summarise(folder: Path) -> Summary:
    """The headline numbers of the tables in a job's folder; all are accuracies from 0 to 1.

    metalearning: a row a seed. It has the kept model's validation accuracy and its step in the last stage. It also has the
    stage's start (1 of 1 without a restart), and the updates of all stages.
    few_shot: novel accuracy before any update, over all episodes and seeds.
    after_training: study accuracy at the last step, of each group, and their mean (groups count alike, whatever their size).
    Tests of ablated contexts are left out (see analysis/measures/tradeoff.py).
    """
    from analysis.jobs import tables
    from analysis.measures import emergence

    validation, tests = tables.read(folder, "pretrain_accuracy"), tables.read(folder, "finetune_accuracy")
    tests = tests[tests.test_level == 0.0].copy()
    for table in (validation, tests):
        table["accuracy"] = table.n_correct / table.n_queries
    flags = read_flags(folder)
    rows, validation = [], emergence.with_updates(validation, flags)
    for seed, of_seed in validation.groupby("seed"):
        kept, last = emergence.kept(of_seed), emergence.of_last_stage(of_seed).iloc[-1]
        study = kept[kept.subset != "novel"]
        rows.append(
            {
                "seed": int(seed),
                "step": int(kept.step.iloc[0]),
                "n_steps": int(last.step),
                "start": int(kept.start.iloc[0]),
                "n_starts": int(last.start),
                "stages": emergence.updates_of_stages(of_seed),
                "novel": float(kept[kept.subset == "novel"].accuracy.iloc[0]),
                "study": float(study.n_correct.sum() / study.n_queries.sum()),
            }
        )
    few_shot, after = [], []
    if len(tests):
        first = tests[(tests.step == 0) & (tests.subset == "novel")]
        means = first.groupby(CONDITION[:3]).accuracy.mean()
        few_shot = [{**dict(zip(CONDITION, key, strict=False)), "accuracy": value} for key, value in means.items()]
        last = tests[(tests.step == tests.step.max()) & (tests.subset != "novel")]
        groups = last.groupby([*CONDITION, "subset"]).accuracy.mean().unstack()
        if tests.step.max() > 0:
            after = [
                {**dict(zip(CONDITION, key, strict=True)), **values.to_dict(), "accuracy": values.mean()}
                for key, values in groups.iterrows()
            ]
    return {"metalearning": rows, "few_shot": few_shot, "after_training": after, "chance": chance(flags)}


def read_flags(folder: Path) -> dict[str, Any]:
    """The flags of the job in a folder."""
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["flags"]


def table(found: Summary) -> str:
    """The summary as text."""
    if "llm" in found:
        from analysis.measures import llm

        return llm.table(found["llm"])
    parts = []
    if any(row["n_steps"] for row in found["metalearning"]):
        parts.append("Metalearning: accuracy of the kept model on validation episodes")
        parts += [
            f"  seed {row['seed']:<4} novel {row['novel']:.3f}   study {row['study']:.3f}   step {row['step']} of {row['n_steps']}"
            + (f", start {row['start']} of {row['n_starts']}" if row.get("n_starts", 1) > 1 else "")
            + (f" (stages: {' + '.join(map(str, row['stages']))} updates)" if len(row.get("stages", ())) > 1 else "")
            for row in found["metalearning"]
        ]
        parts.append("")
    if found["few_shot"]:
        chance = f"(chance on unrotated tasks: {found['chance']:.3f})"
        parts.append(f"Few-shot: accuracy on novel items before any update, by context curriculum {chance}")
        parts += [*_pivot(found["few_shot"]), ""]
    if found["after_training"]:
        parts += [
            "After training: accuracy on study items at the last step, mean of the groups, by context curriculum",
            *_pivot(found["after_training"]),
            "",
        ]
    if "expected" in found:  # not in those of earlier programs
        from analysis.measures import usual

        parts.append(usual.table(found["expected"]))
    return "\n".join(parts).rstrip()


def _pivot(rows: list[dict]) -> list[str]:
    """Accuracies as lines of text: a column a context curriculum, a line an init × rotation. Conditions whose steps
    follow another curriculum than their context make lines for each step curriculum."""
    congruent = all(row.get("step_curriculum") in (None, row["context_curriculum"]) for row in rows)
    keys = ["init", "rotation"] if congruent else ["init", "rotation", "step_curriculum"]
    heads = ["init", "rotation"] if congruent else ["init", "rotation", "steps"]
    columns = [name for name in curricula() if any(row["context_curriculum"] == name for row in rows)]
    value = {(*(row[key] for key in keys), row["context_curriculum"]): row["accuracy"] for row in rows}
    lines = sorted({key[:-1] for key in value}, key=lambda line: (line[0], line[1] != "unrotated", line[2:]))
    out = ["  " + "".join(f"{head:<13}" for head in heads) + "".join(f"{name:>13}" for name in columns)]
    for line in lines:
        numbers = (value.get((*line, name)) for name in columns)
        cells = (f"{'–' if number is None else f'{number:.3f}':>13}" for number in numbers)
        out.append("  " + "".join(f"{word:<13}" for word in line) + "".join(cells))
    return out
