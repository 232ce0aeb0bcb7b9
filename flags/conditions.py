"""The conditions that a job has, by its flags: what it trains or asks, what its tables hold, and what a report looks for there."""

from __future__ import annotations

from itertools import product

from flags.config import Config
from tasks import ROTATIONS, entry_of


def of_episodes(task: str) -> list[tuple[str, str]]:
    """Return rotation and context curriculum of all test episodes that a task has."""
    return list(product(ROTATIONS, entry_of(task).curricula))


def inits(config: Config) -> tuple[str, ...]:
    """Return what finetuning starts from."""
    return (config.init, "random") if config.with_iwl_only and config.init != "random" else (config.init,)


def rotations(config: Config) -> tuple[str, ...]:
    """Return the rotations of the episodes that are finetuned on."""
    return config.condition[:1] if config.test_one_rot_cond else ROTATIONS


def contexts(config: Config, step_curriculum: str) -> tuple[str, ...]:
    """Return the context curricula that are finetuned on with a step curriculum."""
    return (step_curriculum,) if config.congruent_only else entry_of(config.task).curricula


def untested(config: Config) -> str:
    """Return the context curriculum that was metalearned, if no step curriculum is finetuned on with it; else nothing."""
    is_metalearned = config.n_epochs > 0 or bool(config.base_seeds)  # else nothing is known of loaded weights
    tested = [context for steps in config.step_curricula for context in contexts(config, steps)]
    return config.condition[1] if is_metalearned and config.condition[1] not in tested else ""


def asked(config: Config) -> list[tuple[str, str]]:
    """Return rotation and context curriculum of what a language model is asked: all eight, unless flags name one or the other."""
    chosen = ROTATIONS if config.pt_rot_cond is None else (config.pt_rot_cond,)
    return list(product(chosen, entry_of(config.task).curricula if config.pt_cond is None else (config.pt_cond,)))
