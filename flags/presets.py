"""What `--preset`, `--task` and `--experiment` make of the flags that were not passed.

`Config`'s own defaults are the published grid settings with every switch off. On them lie the paper's values for the
task, then the preset's, then the recipe's, then those of small trade-offs, then the experiment's.
"""

from typing import Any

PRESETS = ("demo", "laptop", "paper")
DEFAULT_TASK = {"demo": "category"}  # in-context learning emerges on it in minutes; elsewhere the grid, as published
TRADE_OFFS = ("tradeoff_mask", "tradeoff_noise")
EXPERIMENTS = ("icl_iwl", "iwl_only", *TRADE_OFFS, "llm")

# The paper's values that are no switches: they hold without a preset as well.
PAPER_VALUES: dict[str, dict[str, Any]] = {
    "grid": {},
    "category": {
        "n_symbols": 8,
        "max_len": 320,
        "n_layers": 4,
        "n_epochs": 20,
        "pretrain_lr": 1e-4,
        "finetune_lr": 1e-5,
        "finetune_bs": 32,
    },
}

# Smaller models, and the robust recipe.
_SMALL = {
    "n_heads": 4,
    "print_every": 50,
    "test_every": 50,
    "congruent_only": True,
    "with_iwl_only": True,
}
# Without flips: with them the model has to find out which digit is the colour's as well, which takes twice as long at best.
# Finetuned at the published rate: at a higher one, what is answered in context is lost in blocked training. A batch holds all nine
# study items, so that interleaved training gets there in half of the published steps.
_SMALL_GRID = {
    **_SMALL,
    "n_layers": 3,
    "stop_early": True,
    "real_words": True,
    "generate_all": True,
    "p_flip_xy": 0.0,
    "finetune_bs": 9,
}
_SMALL_CATEGORY = {
    **_SMALL,
    "n_layers": 2,
    "rope_theta": 100.0,
    "n_task_dims": 120,
    "n_symbols": 4,
    "n_in_context": 8,
    "max_len": 64,
    "n_train": 14000,
    "finetune_lr": 3e-4,
    "finetune_bs": 8,
}

PRESET_VALUES: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {
        "grid": {"seed": 1, "n_runs": 10, "real_words": True, "generate_all": True, "stop_early": True},
        "category": {"seed": 1, "n_runs": 10},
    },
    "laptop": {
        "grid": {**_SMALL_GRID, "n_train": 12000, "n_epochs": 6, "n_val": 100, "n_test": 10, "n_steps_per_block": 500},
        "category": {
            **_SMALL_CATEGORY,
            "n_epochs": 12,
            "n_val": 100,
            "n_test": 10,
            "n_steps_per_block": 400,
            "finetune_lr": 1.5e-4,  # at the demo's rate one of six seeds lost a tenth of the rule-like items when blocked
        },
    },
    "demo": {
        "grid": {**_SMALL_GRID, "n_train": 12000, "n_epochs": 6, "n_val": 40, "n_test": 5, "n_steps_per_block": 300},
        "category": {**_SMALL_CATEGORY, "n_epochs": 7, "n_val": 100, "n_test": 10, "n_steps_per_block": 200},
    },
}

# How metalearning goes, at any size: the published way, and one in which in-context learning appears sooner and more surely
# (docs/emergence.md). Architecture, data and the queries of a start are the preset's.
_PUBLISHED = {
    "queries_per_episode": 1,
    "pretrain_bs": 256,
    "warmup_steps": 0,
    "adam_beta2": 0.999,
    "init_scale": 0.02,
    "weight_init": "normal",
    "lr_schedule": "constant",
    "restarts": 0,
    "unflipped_epochs": 0,
}
# On the grid a model that can answer without flips learns to tell them from the context, most seeds in as many updates again; one
# that meets both from the beginning does not in four times as many (docs/emergence.md).
_ROBUST = {"pretrain_lr": 3e-3, "warmup_steps": 100, "adam_beta2": 0.98, "init_scale": 0.1, "restarts": 2}
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "published": {"grid": {**_PUBLISHED, "pretrain_lr": 1e-3}, "category": {**_PUBLISHED, "pretrain_lr": 1e-4}},
    "robust": {
        "grid": {**_ROBUST, "queries_per_episode": 5, "pretrain_bs": 1280, "weight_init": "matching", "unflipped_epochs": 20},
        "category": {**_ROBUST, "queries_per_episode": 4, "pretrain_bs": 1024, "lr_schedule": "linear"},
    },
}
DEFAULT_RECIPE = {"demo": "robust", "laptop": "robust"}

_TRADE_OFF = {
    "pt_cond": "interleaved",
    "n_epochs": 0,
    "stop_early": False,
    "test_one_rot_cond": True,
    "congruent_only": True,
    "with_iwl_only": False,
    "ablation_level": None,
}
EXPERIMENT_VALUES: dict[str, dict[str, Any]] = {
    "icl_iwl": {},
    "iwl_only": {"n_epochs": 0, "with_iwl_only": False},
    "tradeoff_mask": {**_TRADE_OFF, "ablation": "mask"},
    "tradeoff_noise": {**_TRADE_OFF, "ablation": "gaussian"},
    "llm": {
        "n_runs": 1,
        "lm_task": "causal",
        "n_epochs": 0,
        "n_blocks": 0,
        "with_iwl_only": False,
        "pt_rot_cond": None,
        "pt_cond": None,
    },
}

# The published trade-offs finetune longer; the small ones, of rule-like tasks alone, need less, at a higher rate.
_LONGER = {"grid": {"n_steps_per_block": 2000, "finetune_test_every": 200}, "category": {"n_steps_per_block": 2000}}
_SHORTER = {
    "grid": {"n_steps_per_block": 200, "finetune_lr": 3e-4, "finetune_bs": 5},
    "category": {"n_steps_per_block": 200, "finetune_lr": 3e-4},
}


def values(preset: str | None, task: str, experiment: str, recipe: str | None, n_epochs: int | None = None) -> dict[str, Any]:
    """The values of flags that were not passed, where they differ from `Config`'s defaults. `n_epochs`: if it was passed."""
    longer, shorter, levels = {}, {}, {}
    if experiment in TRADE_OFFS:
        tested = _levels(preset, experiment)
        longer, shorter = _LONGER[task], _SHORTER[task] if preset in ("demo", "laptop") else {}
        levels = {"test_ablation_level_max": tested[-1], "test_ablation_level_num": len(tested)}
    of_preset = PRESET_VALUES[preset][task] if preset else {}
    recipe = recipe or DEFAULT_RECIPE.get(preset)
    of_recipe = RECIPES[recipe][task] if recipe else {}
    found = {**PAPER_VALUES[task], **longer, **of_preset, **of_recipe, **shorter, **EXPERIMENT_VALUES[experiment], **levels}
    epochs = found.get("n_epochs") if n_epochs is None else n_epochs
    if "unflipped_epochs" in found and epochs is not None:
        found["unflipped_epochs"] = min(found["unflipped_epochs"], epochs // 2)
    return found


def without_effect(flags: dict[str, Any]) -> dict[str, str]:
    """The flags of the robust recipe that a job with these flags has no use for, and why: 0 in it, and refused if passed."""
    why = {}
    if flags.get("n_epochs") == 0:
        why["restarts"] = "--n_epochs 0 is no metalearning, which could start again"
        why["unflipped_epochs"] = "there is no metalearning"
    if flags.get("load_model_from") is not None:
        why["restarts"] = "--load_model_from has no other weights to start from"
        why["unflipped_epochs"] = "--load_model_from is no start from random weights"
    if flags.get("load_data_from") is not None:
        why["unflipped_epochs"] = "which episodes of --load_data_from are flipped is not known"
    if flags.get("p_flip_xy") in (0, 1):
        which = "no" if flags["p_flip_xy"] == 0 else "only"
        why["unflipped_epochs"] = f"--p_flip_xy {flags['p_flip_xy']:g} makes {which} flipped episodes"
    if flags.get("task") == "category":
        why["unflipped_epochs"] = "the category task has no flipped episodes to leave out"
    return why


def _levels(preset: str | None, experiment: str) -> tuple[float, ...]:
    """The levels that a trade-off experiment tests at, the lowest first."""
    highest, n = (8, 9) if experiment == "tradeoff_noise" else (1, 11)
    n = 5 if preset in ("demo", "laptop") else n
    return tuple(highest * i / (n - 1) for i in range(n))


def training_levels(preset: str | None, task: str, experiment: str) -> tuple[float, ...]:
    """Those of them that it trains at, a job each. The published grid goes up to a mask of 0.8."""
    levels = _levels(preset, experiment)
    return levels[:9] if task == "grid" else levels
