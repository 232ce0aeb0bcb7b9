"""The grid task's line in the registry: what grid.py is, and the values that its flags have."""

from tasks.entry import Entry

# The published model and task.
_WORDS = {"real_words": True, "generate_all": True}
# Without flips. Finetuned at the published rate: at a higher one, what is answered in context is lost in blocked training. A batch
# holds all nine study items, so that interleaved training gets there in half of the published steps.
_DEMO = {
    **_WORDS,
    "n_layers": 3,
    "p_flip_xy": 0.0,
    "finetune_bs": 9,
    "n_epochs": 6,
    "n_val": 40,
    "n_test": 5,
    "n_steps_per_block": 300,
}

# A start either answers nearly all items within 150 to 250 updates, or stays where one coordinate is known. A flip is one bit a
# context, so learning it takes many contexts a batch.
_STAGES = (
    {"p_flip_xy": 0.0, "n_layers": 3, "lr_schedule": "constant", "bar": 0.9, "pretrain_steps": 400},
    {"n_layers": 3, "pretrain_bs": 1920, "lr_schedule": "constant", "bar": 0.9, "pretrain_steps": 1500},
)

ENTRY = Entry(
    made_by="tasks.grid:GridTask",
    curricula=("aligned", "misaligned", "blocked", "interleaved"),
    n_groups=lambda flags: 2,
    n_items=lambda flags: 25,
    chance=lambda flags, rotation: 1 / (25 if rotation == "unrotated" else 81),  # places that an answer can name
    flags=None,
    legend="·: novel items, at the place that answers them.  x to the right, y upwards.",
    script="grid",
    presets={"paper": {**_WORDS, "stop_early": True}, "laptop": _WORDS, "demo": _DEMO},
    recipes={
        "published": {"pretrain_lr": 1e-3},
        "robust": {"queries_per_episode": 5, "pretrain_bs": 640, "pretrain_steps": 300, "restarts": 4},
    },
    robust_demo={
        "queries_per_episode": 5,
        "pretrain_bs": 1280,
        "weight_init": "matching",
        "lr_schedule": "constant",
        "stop_early": True,
    },
    stages={"robust": _STAGES},
    trade_off={"finetune_test_every": 200},
    trade_off_demo={"finetune_bs": 5},
    trained_levels=9,  # the published grid goes up to a mask of 0.8
)
