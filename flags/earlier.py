"""Flags that a job of an earlier program recorded, in today's words."""

from __future__ import annotations

from typing import Any

from flags.config import Config

# Adam and the initial weights of finetuning were once those of metalearning.
TAKEN_FROM = {"finetune_beta2": "adam_beta2", "iwl_init_scale": "init_scale"}


def in_todays_words(flags: dict[str, Any]) -> dict[str, Any]:
    """Return recorded flags with those that came later, where an earlier flag decided them, and without those that did nothing."""
    found = dict(flags)
    for name, earlier in TAKEN_FROM.items():
        if name not in found and earlier in found:
            found[name] = found[earlier]
    if not found.get("unflipped_epochs"):  # flipped episodes are left out by stages now
        found.pop("unflipped_epochs", None)
    return found


def unrecorded(config: Config) -> dict[str, Any]:
    """Return what flags that an earlier program did not know are in its job, if that is the job of `config`: their defaults. It had
    no stages, whatever the limit of their updates."""
    defaults = Config().defining_values()
    return defaults if config.stages else {**defaults, "stage_steps": config.stage_steps}
