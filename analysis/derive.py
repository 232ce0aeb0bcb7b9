"""The old name of `analysis.measures.derive`, which keeps working."""

from analysis.measures.derive import (
    CONDITION,
    EPISODE,
    after_training,
    by_seed,
    composite,
    congruent,
    criterion,
    few_shot,
    few_shot_by_steps,
    forgetting,
    items_alike,
    iwl_only,
    learning_curves,
    losses,
    meet_criterion,
    meeting,
    metalearned,
)
from analysis.statistics.effects import band

__all__ = [
    "CONDITION",
    "EPISODE",
    "after_training",
    "band",
    "by_seed",
    "composite",
    "congruent",
    "criterion",
    "few_shot",
    "few_shot_by_steps",
    "forgetting",
    "items_alike",
    "iwl_only",
    "learning_curves",
    "losses",
    "meet_criterion",
    "meeting",
    "metalearned",
]
