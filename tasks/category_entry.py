"""The category task's line in the registry: what category.py is, and the values that its flags have."""

from tasks.entry import Entry

# The paper's values that are no switches.
_DEFAULTS = {
    "n_symbols": 8,
    "max_len": 320,
    "n_layers": 4,
    "n_epochs": 20,
    "pretrain_lr": 1e-4,
    "finetune_lr": 1e-5,
    "finetune_bs": 32,
}
_DEMO = {
    "n_layers": 2,
    "rope_theta": 100.0,
    "n_task_dims": 120,
    "n_symbols": 4,
    "n_in_context": 8,
    "max_len": 64,
    "n_train": 14000,
    "n_epochs": 7,
    "finetune_lr": 1e-4,
    "finetune_bs": 8,
    "n_steps_per_block": 200,
}
_INDEPENDENT = {"weight_init": "normal", "readout_steps": 0}
_SMALL_BATCH = {"queries_per_episode": 16, "pretrain_bs": 1024}
_STAGES = (
    {"n_in_context": 8, "n_layers": 2, "lr_schedule": "constant", "bar": 0.9, "pretrain_steps": 3000, **_SMALL_BATCH},
    {"n_layers": 2, "lr_schedule": "constant", "bar": 0.9, "pretrain_steps": 1000},
)

ENTRY = Entry(
    made_by="tasks.category:CategoryTask",
    curricula=("blocked", "interleaved"),
    n_groups=lambda flags: flags["n_labels_per_task"],
    n_items=lambda flags: flags["n_symbols"] ** 2,
    chance=lambda flags, rotation: 1 / flags["n_labels_per_task"],
    flags=None,
    legend="a, b: novel items with the label of A, of B.  First dimension to the right, second upwards.",
    script="cat",
    defaults=_DEFAULTS,
    presets={"demo": _DEMO},
    recipes={
        "published": {"pretrain_lr": 1e-4},
        "robust": {"queries_per_episode": 8, "pretrain_bs": 512, "pretrain_steps": 400, **_INDEPENDENT},
    },
    robust_demo={"queries_per_episode": 4, "pretrain_bs": 1024, "weight_init": "normal"},
    stages={"robust": _STAGES},
)
