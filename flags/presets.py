"""Values that `--preset`, `--task` and `--experiment` give to the flags that were not passed.

`Config`'s own defaults are the published grid settings with every switch off. On them lie the task's defaults, then the
preset's values, then the recipe's, then those of small trade-offs, then the experiment's. Here stand the values that
hold for any task; on each of them lie those of the task (see tasks/entry.py).
"""

from typing import Any

import tasks
from flags.ablations import ABLATIONS, N_SMALL, trade_offs

PRESETS = ("demo", "laptop", "paper")
SMALL = ("demo", "laptop")  # those that finetune less than the paper, and at fewer levels
# In-context learning emerges on it in minutes; elsewhere the grid, as published.
DEFAULT_TASK: dict[str | None, str] = {"demo": "category"}
TRADE_OFFS = tuple(trade_offs())
EXPERIMENTS = ("icl_iwl", "iwl_only", *TRADE_OFFS, "llm")

# The published model and task, with less finetuning.
_LAPTOP = {"n_test": 4, "congruent_only": True, "with_iwl_only": True, "n_steps_per_block": 500}
# Smaller models and tasks.
_DEMO = {"n_heads": 4, "congruent_only": True, "with_iwl_only": True}
PRESET_VALUES: dict[str, dict[str, Any]] = {"paper": {"seed": 1, "n_runs": 10}, "laptop": _LAPTOP, "demo": _DEMO}

# How metalearning goes, at any size: the published way, and one in which in-context learning appears sooner and more surely
# (docs/emergence.md). Of the robust recipe these are the settings of its last stage, and of the start from random weights.
_PUBLISHED = {
    "queries_per_episode": 1,
    "pretrain_bs": 256,
    "warmup_steps": 0,
    "adam_beta2": 0.999,
    "init_scale": 0.02,
    "weight_init": "normal",
    "readout_steps": 0,
    "lr_schedule": "constant",
    "pretrain_steps": None,
    "keep_by": "accuracy",
    "restarts": 0,
}
_ROBUST = {
    "pretrain_lr": 1e-3,
    "lr_schedule": "linear",
    "warmup_steps": 50,
    "adam_beta2": 0.98,
    "init_scale": 0.1,
    "weight_init": "looking_back",
    "readout_steps": 50,
    "keep_by": "loss",
    "stop_early": False,
    "restarts": 2,
    "test_every": 50,
    "print_every": 50,
}
# The demo's small tasks are learned at a higher rate, without the readout first and without heads that look back: in the category
# task these take the few-shot blocking advantage away (docs/emergence.md).
_ROBUST_DEMO = {
    "pretrain_lr": 3e-3,
    "warmup_steps": 100,
    "readout_steps": 0,
    "pretrain_steps": None,
    "keep_by": "accuracy",
    "restarts": 2,
}
RECIPES: dict[str, dict[str, Any]] = {"published": _PUBLISHED, "robust": _ROBUST}
DEFAULT_RECIPE: dict[str | None, str] = {"demo": "robust", "laptop": "robust"}

_TRADE_OFF = {
    "pt_cond": "interleaved",
    "n_epochs": 0,
    "stop_early": False,
    "test_one_rot_cond": True,
    "congruent_only": True,
    "step_cond": "interleaved",
    "with_iwl_only": False,
    "ablation_level": None,
}
EXPERIMENT_VALUES: dict[str, dict[str, Any]] = {
    "icl_iwl": {},
    "iwl_only": {"n_epochs": 0, "with_iwl_only": False},
    **{experiment: {**_TRADE_OFF, "ablation": ablation} for experiment, ablation in trade_offs().items()},
    "llm": {  # the published episodes, at any size
        "p_flip_xy": 0.0,
        "n_test": 10,
        "n_runs": 1,
        "lm_task": "causal",
        "n_epochs": 0,
        "n_blocks": 0,
        "with_iwl_only": False,
        "pt_rot_cond": None,
        "pt_cond": None,
    },
}

# The published trade-offs finetune longer; the demo's need less, at a higher rate.
_LONGER = {"n_steps_per_block": 2000}
_SHORTER = {"n_steps_per_block": 200, "finetune_lr": 3e-4}


def values(preset: str | None, task: str, experiment: str, recipe: str | None, n_epochs: int | None = None) -> dict[str, Any]:
    """Return values of flags that were not passed, where they differ from `Config`'s defaults. `n_epochs`: None if not passed."""
    entry = tasks.entry_of(task)
    longer, shorter, levels = {}, {}, {}
    if experiment in TRADE_OFFS:
        tested = _levels(preset, experiment)
        longer, shorter = _LONGER | entry.trade_off, _SHORTER | entry.trade_off_demo if preset == "demo" else {}
        levels = {"test_ablation_level_max": tested[-1], "test_ablation_level_num": len(tested)}
    of_preset = PRESET_VALUES[preset] | entry.presets.get(preset, {}) if preset else {}
    recipe = recipe or DEFAULT_RECIPE.get(preset)
    of_recipe = RECIPES[recipe] | entry.recipes.get(recipe, {}) if recipe else {}
    of_recipe = of_recipe | (_ROBUST_DEMO | entry.robust_demo if (preset, recipe) == ("demo", "robust") else {})
    found = {**entry.defaults, **longer, **of_preset, **of_recipe, **shorter, **EXPERIMENT_VALUES[experiment], **levels}
    if (n_epochs is not None or found.get("n_epochs") == 0) and found.get("pretrain_steps"):
        found["pretrain_steps"] = None  # the epochs that were asked for
    return found


def stages(preset: str | None, task: str, recipe: str | None) -> tuple[dict[str, Any], ...]:
    """The stages that a recipe has before the last; none without a recipe. A stage ends when novel accuracy in validation reaches
    its bar, or after its updates. What it does not name is as in the last one."""
    recipe = recipe or DEFAULT_RECIPE.get(preset)
    return tasks.entry_of(task).stages.get(recipe, ()) if recipe else ()


def without_effect(flags: dict[str, Any]) -> dict[str, str]:
    """Return the flags of the robust recipe that have no effect in such a job, and why: they are 0, and refused if passed."""
    why = dict.fromkeys(("readout_steps", "stage_steps"), no_start(flags)) if no_start(flags) else {}
    if flags.get("n_epochs") == 0:
        why["restarts"] = "--n_epochs 0 leaves no metalearning to restart"
    if flags.get("load_model_from") is not None:
        why["restarts"] = "--load_model_from has no other weights for a restart"
    return why


def no_start(flags: dict[str, Any]) -> str:
    """Say why metalearning starts from no random weights in a job with these flags; empty if it does."""
    if flags.get("n_epochs") == 0:
        return "--n_epochs 0 turns metalearning off"
    return "--load_model_from replaces random weights" if flags.get("load_model_from") is not None else ""


# Initial weights of metalearning: without such a start the preset's values are recorded, and others refused.
OF_START = ("init_scale", "weight_init")


def _levels(preset: str | None, experiment: str) -> tuple[float, ...]:
    """Return the levels that a trade-off experiment tests at, the lowest first."""
    kind = ABLATIONS[trade_offs()[experiment]]
    n = N_SMALL if preset in SMALL else kind.n
    return tuple(kind.highest * i / (n - 1) for i in range(n))


def training_levels(preset: str | None, task: str, experiment: str) -> tuple[float, ...]:
    """Return the levels that a trade-off experiment trains at, a job each, the lowest first."""
    return _levels(preset, experiment)[: tasks.entry_of(task).trained_levels]
