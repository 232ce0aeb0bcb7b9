"""Folders of jobs that were never run: the tables that a sweep would leave, with made-up counts of the paper's pattern.

For the report's benchmark and tests, which need more jobs than can be computed.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

import tasks
from analysis.jobs.tables import COLUMNS
from data import n_batches
from engine.streams import stream
from flags import conditions
from flags.command_line import parse
from flags.config import Config
from flags.stages import Stage, n_queries, stages_of


def write(flags: list[str]) -> Path:
    """The folder of a finished job with these flags, below the working folder; returns it."""
    config = parse(flags)
    folder = Path(config.out_dir)
    (folder / "checkpoints").mkdir(parents=True)
    recorded = {"flags": config.defining_values(), "execution": config.execution_values(), "environment": {"synthetic": True}}
    (folder / "config.json").write_text(json.dumps(recorded), encoding="utf-8")
    tables = _llm(config) if config.experiment == "llm" else _trained(config)
    for name, rows in tables.items():
        rows[list(COLUMNS[name])].to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    for seed in config.seeds:
        (folder / "checkpoints" / f"best_seed{seed}.safetensors").touch()
    (folder / "summary.json").write_text("{}", encoding="utf-8")
    return folder


def _trained(config: Config) -> dict[str, pd.DataFrame]:
    rng = stream("synthetic", str(config.out_dir))
    tests, losses = [], []
    for seed, condition in product(config.seeds, _conditions(config)):
        tests.append(_tests(config, seed, condition, rng))
        losses.append(_losses(config, seed, condition, rng))
    return {"finetune_accuracy": pd.concat(tests), "finetune_loss": pd.concat(losses), **_metalearning(config, rng)}


def _conditions(config: Config) -> list[tuple[str, str, str, str]]:
    pairs = [(context, steps) for steps in config.step_curricula for context in conditions.contexts(config, steps)]
    return [(*of, *pair) for *of, pair in product(conditions.inits(config), conditions.rotations(config), pairs)]


def _groups(config: Config) -> str:
    return "ABCD"[: tasks.entry_of(config.task).n_groups(vars(config))]


def _steps(config: Config, every: int) -> np.ndarray:
    steps = range(1, config.n_finetuning_steps + 1)
    return np.array([0, *(step for step in steps if step % every == 0 or step % config.n_steps_per_block == 0)])


def _grid(config: Config, seed: int, condition: tuple[str, str, str, str], steps: np.ndarray, **inner: list) -> pd.DataFrame:
    """All combinations of episode, step and `inner`, with the columns that say what they are of."""
    names = ["episode", "step", *inner]
    rows = pd.MultiIndex.from_product([range(config.n_test), steps, *inner.values()], names=names).to_frame(index=False)
    init, rotation, context, step_curriculum = condition
    rows = rows.assign(seed=seed, init=init, rotation=rotation, context_curriculum=context, step_curriculum=step_curriculum)
    block = (rows.step - 1) // config.n_steps_per_block
    groups = np.array(list(_groups(config)))
    names = groups[block.to_numpy() % len(groups)] if step_curriculum == "blocked" else "all"
    rows["trained_group"] = np.where(rows.step > 0, names, "")
    rows["block"] = block.where(rows.step > 0).astype("Int64")
    return rows


def _tests(config: Config, seed: int, condition: tuple[str, str, str, str], rng: np.random.Generator) -> pd.DataFrame:
    init, rotation, context, _ = condition
    levels, subsets = list(config.test_levels), _subsets(config)
    rows = _grid(config, seed, condition, _steps(config, config.finetune_test_every), test_level=levels, subset=subsets)
    sizes = {"study_A": 5, "study_B": 4} if config.task == "grid" else {}
    rows["n_queries"] = rows.subset.map(lambda name: 16 if name == "novel" else sizes.get(name, 8)) * np.where(
        rows.test_level > 0, config.test_repeats, 1
    )
    highest = max(levels[-1], 1e-9)
    in_context = init != "random" and rotation == "unrotated"
    skill = (0.99 if context in ("blocked", "aligned") else 0.5) if in_context else 0.0
    skill = skill * (1 - rows.test_level / highest)
    trained = rows.trained_group.isin(["all", ""]) | (rows.subset == "study_" + rows.trained_group)
    reach = 1 if not config.ablation else 0.3 + 0.7 * (config.ablation_level or 0) / highest
    weights = np.where(trained & (rows.subset != "novel") & (rows.step > 0), reach * (1 - np.exp(-rows.step / 300.0)), 0.0)
    p = np.maximum(skill, weights)
    rows["n_correct"] = rng.binomial(rows.n_queries, np.clip(p, tasks.chance(vars(config)) * (init != "random"), 1))
    return rows


def _losses(config: Config, seed: int, condition: tuple[str, str, str, str], rng: np.random.Generator) -> pd.DataFrame:
    rows = _grid(config, seed, condition, _steps(config, 10)[1:])
    rows["loss"] = np.exp(-rows.step / 400.0) * rng.uniform(0.8, 1.2, len(rows))
    return rows


def _metalearning(config: Config, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Validations of each stage, which climb from chance to .99, a little later for each seed, and losses, where a job has them."""
    validations, losses = [], []
    for stage in stages_of(config):
        per_epoch = n_batches(stage.config, config.n_train, n_queries(vars(config)))
        total = stage.n_steps(per_epoch)
        for seed in config.seeds:
            found, last = _validations(stage, seed, per_epoch, rng)
            validations += found
            steps = {*(step for step in _times(total, config.print_every, per_epoch) if step <= last), *([last] if last else [])}
            where = [(seed, stage.number, step, -(-step // per_epoch)) for step in sorted(steps)]
            losses += [(*step, subset, 1.0) for step in where for subset in _subsets(config)]
    rows = {"pretrain_accuracy": validations, "pretrain_loss": losses}
    return {name: pd.DataFrame(of, columns=list(COLUMNS[name])) for name, of in rows.items()}


def _validations(stage: Stage, seed: int, per_epoch: int, rng: np.random.Generator) -> tuple[list[tuple], int]:
    """The validations of a seed in a stage, and the step at which it ended."""
    config, total, subsets = stage.config, stage.n_steps(per_epoch), _subsets(stage.config)
    chance = tasks.chance(vars(config))
    rows, kept, least, stale, last = [], -1, float("inf"), 0, 0
    for last in _times(total, config.test_every, per_epoch, first=True):
        climb = 1 / (1 + np.exp(-(last - (0.3 + 0.05 * (seed % 5)) * total) / max(1, 0.05 * total)))
        right = rng.binomial(1000, chance + (0.99 - chance) * (climb if total else 0), len(subsets))
        loss = round(1.01 - climb + 0.01 * rng.random(), 4)
        is_best = loss < least if config.keep_by == "loss" else right[-1] > kept
        kept, least, stale = max(kept, right[-1]), min(least, loss), 0 if is_best else stale + 1
        where = (seed, stage.number, last, -(-last // per_epoch))
        rows += [(*where, *of, 1000, loss, int(is_best)) for of in zip(subsets, right, strict=True)]
        is_through = stale >= config.patience or (config.keep_by == "accuracy" and kept == 1000)
        if (stage.bar is not None and right[-1] >= stage.bar * 1000) or (config.stop_early and is_through):
            break
    return rows, last


def _subsets(config: Config) -> list[str]:
    return [*(f"study_{group}" for group in _groups(config)), "novel"]


def _times(total: int, every: int, per_epoch: int, first: bool = False) -> list[int]:
    """The updates after which a job writes: each multiple of `every`, the last of each epoch, and the last; with `first` also 0."""
    return [step for step in range(not first, total + 1) if step % every == 0 or step % per_epoch == 0 or step == total]


def _llm(config: Config) -> dict[str, pd.DataFrame]:
    rng = stream("synthetic", str(config.out_dir))
    names = ["rotation", "context_curriculum", "episode", "scoring"]
    of = product(conditions.asked(config), range(config.n_val), config.scorings)
    rows = pd.DataFrame([(*asked, episode, scoring) for asked, episode, scoring in of], columns=names)
    rows = rows.assign(model=config.model_label, subset="novel", n_queries=16)
    p = rows.context_curriculum.map({"blocked": 0.9, "interleaved": 0.8, "aligned": 0.95, "misaligned": 0.7})
    p = p * np.where(rows.rotation == "rotated", 0.25, 1)
    for name in ("n_correct", "n_first", "n_second"):
        rows[name] = rng.binomial(16, p)
    return {"llm_accuracy": rows}
