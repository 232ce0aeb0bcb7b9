"""The base that a job starts from, looked up on the disk: the one that its flags name, or that a trade-off experiment has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tasks
from flags import presets
from flags.base import Base, NoBase, find_base
from flags.config import BadInput
from flags.inherited import n_runs
from flags.resolve import preset_of, resolve, task_of


def with_default(passed: dict[str, Any]) -> dict[str, Any]:
    """Return the flags that were passed, those of a trade-off experiment with the folder that it starts from. Raises BadInput if
    that does not exist."""
    if passed.get("experiment") not in presets.TRADE_OFFS or "load_model_from" in passed:
        return passed
    return {**passed, "load_model_from": _default(preset_of(passed), passed)}


def base_of(passed: dict[str, Any]) -> Base | None:
    """Return the base that `--load_model_from` names; None without one. Raises BadInput if it cannot be started from."""
    if "load_model_from" not in passed:
        if "base_seed" in passed:
            raise BadInput("base_seed", passed["base_seed"], "chooses a seed of --load_model_from, which is missing")
        return None
    if "base_seed" in passed and passed.get("n_runs", 1) != 1:
        raise BadInput("n_runs", passed["n_runs"], "--base_seed chooses one seed; leave one of the two out")
    path = passed["load_model_from"]
    try:
        return find_base(Path(path), passed.get("base_seed"), n_runs(passed))
    except NoBase as error:
        raise BadInput("load_model_from", path, str(error)) from None
    except OSError as error:
        raise BadInput("load_model_from", path, f"cannot be read ({error.strerror or error})") from None


def check_vocabulary(passed: dict[str, Any], base: Base | None) -> None:
    """Raise BadInput if `--load_vocab` names other token ids than those that the base recorded."""
    if base is None or not base.flags or not passed.get("load_vocab"):
        return
    if _differs(Path(passed["load_vocab"]), base.weights[0].with_name("model.json")):
        why = f"has other ids than the base in {passed['load_model_from']}; leave the flag out"
        raise BadInput("load_vocab", passed["load_vocab"], why)


def _default(preset: str | None, passed: dict[str, Any]) -> str:
    """Return the folder of the job that a trade-off experiment starts from. Raises BadInput if it does not exist."""
    task = task_of(preset, passed)
    flags = {"preset": preset or "paper", "task": task, "pt_cond": "interleaved"}
    flags |= {"recipe": passed["recipe"]} if "recipe" in passed else {}
    folder = str(resolve(flags).folder.parent)  # of all seeds, however many share a job
    if not Path(folder).exists():
        command = " ".join(f"--{name} {value}" for name, value in flags.items())
        if preset in presets.SMALL:  # in so few updates they are only learned after blocked contexts
            made = resolve({**flags, "pt_cond": "blocked"}).folder
            blocked = "results/demo" if task == presets.DEFAULT_TASK.get(preset) else str(made.parent)
            command += f" --load_model_from {blocked} --pretrain_steps 150 --n_blocks 0"
        makers = f"this makes it: python main.py {command}"
        if script := tasks.entry_of(task).script:
            script = f"scripts/{script}_iwl_icl.sh"
            script += f" PRESET={preset}" if preset in presets.SMALL else ""
            script += f" --recipe {flags['recipe']}" if "recipe" in flags else ""
            makers = f"{script} makes it, or: python main.py {command}"
        raise BadInput("load_model_from", "", f"unset, and {folder} does not exist; {makers}")
    return folder


def _differs(vocabulary: Path, model: Path) -> bool:
    """Return True if a vocabulary file differs from the one that a base recorded in its model.json."""
    try:
        recorded = json.loads(model.read_text(encoding="utf-8"))["vocabulary"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    try:
        return json.loads(vocabulary.read_text(encoding="utf-8")) != recorded
    except (OSError, ValueError):
        return True
