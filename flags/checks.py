"""Rules that join several flags: each failure is a BadInput, raised before anything is computed or written."""

from __future__ import annotations

from itertools import product
from math import perm
from typing import TYPE_CHECKING

import prompts
from flags.config import BadInput, Config
from flags.presets import EXPERIMENT_VALUES, TRADE_OFFS, without_effect
from tasks import CURRICULA, ROTATIONS
from tasks.grid import SIDE

if TYPE_CHECKING:
    from data import Encoder


def check(config: Config) -> None:
    """Raise BadInput for the first flag that cannot work with the others."""
    _check_model(config)
    _check_llm(config)
    if config.show and config.load_data_from:
        raise BadInput(
            "show", config.show, "draws episodes made from the flags; those of --load_data_from are readable as they are"
        )
    if config.experiment == "iwl_only" and (config.n_epochs or config.load_model_from):
        flag, value = ("n_epochs", config.n_epochs) if config.n_epochs else ("load_model_from", config.load_model_from)
        raise BadInput(flag, value, "--experiment iwl_only starts from random weights, without metalearning")
    for name, why in without_effect(vars(config)).items():
        if getattr(config, name):
            raise BadInput(name, getattr(config, name), f"{why}; leave the flag out")
    if config.unflipped_epochs and config.unflipped_epochs >= config.n_epochs:
        why = f"leaves none of --n_epochs {config.n_epochs} with flipped episodes"
        raise BadInput("unflipped_epochs", config.unflipped_epochs, why)
    if config.pt_cond is not None and config.pt_cond not in CURRICULA[config.task]:
        raise BadInput("pt_cond", config.pt_cond, f"the {config.task} task has {', '.join(CURRICULA[config.task])}")
    _check_ablation(config)
    if config.task == "grid":
        _check_grid(config)
        n_items = SIDE * SIDE
    else:
        _check_category(config)
        n_items = config.n_symbols**2
    _check_batches(config, n_items)


def check_episodes(config: Config, encoder: Encoder) -> None:
    """Raise BadInput if the episodes do not fit the model or the batches."""
    n_tokens = encoder.sequence_length(config.seed)
    if n_tokens > config.max_len:
        raise BadInput("max_len", config.max_len, f"a sequence has {n_tokens} tokens; pass at least that")
    if encoder.n_episodes("test") < config.n_test:
        raise BadInput("n_test", config.n_test, f"--load_data_from {config.load_data_from} has {encoder.n_episodes('test')}")
    example = encoder.episodes(config.seed, "validation", config.pt_rot_cond, config.pt_cond, 1)
    if config.ablation:
        try:
            for rotation, curriculum in product(ROTATIONS, CURRICULA[config.task]):
                encoder.examples(encoder.episodes(config.seed, "test", rotation, curriculum, config.n_test))
        except ValueError as error:
            raise BadInput("ablation", config.ablation, f"{config.load_data_from}: {error}") from None
    _check_queries(config, example.queries.shape[1])


def _check_model(config: Config) -> None:
    if config.model_dtype != "fp32" and config.experiment != "llm":
        raise BadInput(
            "model_dtype",
            config.model_dtype,
            "is for pretrained language models; training from scratch needs fp32: in 16 bits Adam's small updates round to nothing",
        )
    if config.d_model % config.n_heads:
        raise BadInput("n_heads", config.n_heads, f"must divide --d_model {config.d_model}")
    if config.d_model // config.n_heads % 2:
        width = config.d_model // config.n_heads
        raise BadInput(
            "n_heads",
            config.n_heads,
            f"leaves {width} numbers a head of --d_model {config.d_model}; rotary positions need an even number",
        )


def _check_llm(config: Config) -> None:
    """The experiment with a pretrained language model, and flags that only it has."""
    if config.experiment != "llm":
        for name in ("llm", "llama2_size", "use_quant", "chat_template", "llm_study", "test_gen"):
            if getattr(config, name):
                raise BadInput(name, getattr(config, name), f"is for --experiment llm, and this is {config.experiment}")
        return
    if bool(config.llm) == bool(config.llama2_size):
        what = "both are passed; leave one out" if config.llm else "--experiment llm takes a model: --llm NAME_OR_PATH"
        raise BadInput("llm", config.llm or "", what)
    if config.llama2_size and not config.cache_dir:
        raise BadInput("cache_dir", "", f"unset; name the folder that holds Llama-2-{config.llama2_size}-hf")
    for name, value, right in (
        ("task", "grid", "grid"),
        ("lm_task", "causal", "causal"),
        ("n_epochs", 0, 0),
        ("ablation", None, None),
    ):
        if getattr(config, name) != value:
            raise BadInput(name, getattr(config, name), f"--experiment llm has {right}")
    if config.n_runs > 1:
        raise BadInput("n_runs", config.n_runs, "a pretrained model has no seeds; more episodes are --n_val")
    for flag in ("load_model_from", "load_data_from", "model_path"):
        if getattr(config, flag):
            raise BadInput(flag, getattr(config, flag), "is not for --experiment llm")
    for word in config.scorings:
        if word not in ("argmax", "candidates", "generate"):
            raise BadInput("scoring", config.scoring, f"{word!r} is none of argmax, candidates, generate")


def _check_ablation(config: Config) -> None:
    of_experiment = EXPERIMENT_VALUES[config.experiment].get("ablation", config.ablation)
    if config.ablation != of_experiment:
        raise BadInput("ablation", config.ablation, f"--experiment {config.experiment} is {of_experiment}")
    if config.ablation is None:
        return
    if config.experiment in TRADE_OFFS:
        if config.pt_rot_cond == "rotated":
            raise BadInput("pt_rot_cond", "rotated", "a trade-off is measured on rule-like, unrotated tasks")
        if config.with_iwl_only:
            raise BadInput("with_iwl_only", "", "a trade-off has metalearned models alone; leave the flag out")
        if not config.n_finetuning_steps:
            raise BadInput("n_blocks", config.n_blocks, "a trade-off needs finetuning, of at least a block and a step")
    if config.is_sweep and config.model_path:
        raise BadInput("model_path", config.model_path, "a trade-off at all levels has the weights of its base; leave the flag out")
    low, high = config.test_ablation_level_min, config.test_ablation_level_max
    if low > high:
        raise BadInput("test_ablation_level_min", low, f"must be at most --test_ablation_level_max {high}")
    if config.ablation == "gaussian":
        return
    for name, level in (("ablation_level", config.ablation_level), ("test_ablation_level_max", high)):
        if level is not None and level > 1:
            raise BadInput(name, level, f"is a probability with --ablation {config.ablation}: at most 1")


def _check_grid(config: Config) -> None:
    n_words = min(len(prompts.COLORS), len(prompts.ANIMALS))
    if config.real_words and config.n_symbols > n_words:
        raise BadInput("n_symbols", config.n_symbols, f"with --real_words there are {n_words} words for colours and animals")
    if config.real_words and config.n_positions > 1:
        raise BadInput("n_positions", config.n_positions, "must be 1 with --real_words")
    if config.generate_all and config.n_positions > 1:
        raise BadInput("n_positions", config.n_positions, "must be 1 with --generate_all")
    if config.n_positions > config.n_symbols:
        raise BadInput("n_positions", config.n_positions, f"a name takes different symbols, and --n_symbols is {config.n_symbols}")
    n_names = perm(config.n_symbols, config.n_positions)
    if n_names < SIDE:
        raise BadInput(
            "n_symbols",
            config.n_symbols,
            f"makes {n_names} names; an episode needs {SIDE} for its colours, and as many for its animals",
        )
    exist = perm(n_names, SIDE) ** 2
    held_out = 2 * len(CURRICULA["grid"]) * config.n_test + config.n_val
    strict_train, strict_test = config.strict_train or config.generate_all, config.strict_test or config.generate_all
    n_distinct = (config.n_train if strict_train else 0) + (held_out if strict_test else 0)
    if config.load_data_from:  # only n_test counts
        return
    if n_distinct > exist or (n_distinct == exist and not strict_train):
        parts = f"--n_train {config.n_train}, --n_val {config.n_val} and 8 conditions of --n_test {config.n_test}"
        raise BadInput("n_symbols", config.n_symbols, f"{n_distinct} different episodes are asked for ({parts}), {exist} exist")


def _check_category(config: Config) -> None:
    if config.n_symbols % 2:
        raise BadInput("n_symbols", config.n_symbols, "must be even for the category task: the boundary lies in the middle")
    if config.n_in_context % 4:
        raise BadInput("n_in_context", config.n_in_context, "must be a multiple of 4, the number of quadrants")
    if config.n_in_context >= config.n_symbols**2:
        raise BadInput(
            "n_in_context",
            config.n_in_context,
            f"must be less than n_symbols², {config.n_symbols**2}: novel items are needed as well",
        )
    if config.n_labels_per_task > config.n_labels:
        raise BadInput("n_labels_per_task", config.n_labels_per_task, f"there are only --n_labels {config.n_labels}")
    if config.n_labels_per_task == 4 and config.n_rel_dims == 1:
        raise BadInput("n_labels_per_task", 4, "needs --n_rel_dims 2: one dimension separates two labels")
    if config.n_distractors > config.n_task_dims - 2:
        raise BadInput(
            "n_distractors",
            config.n_distractors,
            f"leaves none of --n_task_dims {config.n_task_dims} for the two dimensions of an episode",
        )
    exist, held_out = config.n_task_dims * (config.n_task_dims - 1), config.n_val + config.n_test
    if held_out >= exist and not config.load_data_from:
        raise BadInput(
            "n_val", config.n_val,
            f"with --n_test {config.n_test} holds out {held_out} pairs of dimensions; "
            f"--n_task_dims {config.n_task_dims} has {exist}, and metalearning needs some",
        )  # fmt: skip


def _check_batches(config: Config, n_items: int) -> None:
    if not config.load_data_from:
        _check_queries(config, n_items)
    if config.n_epochs and config.pretrain_bs < config.queries_per_episode:
        raise BadInput(
            "pretrain_bs", config.pretrain_bs, f"must hold at least the --queries_per_episode {config.queries_per_episode}"
        )


def _check_queries(config: Config, n_queries: int) -> None:
    if n_queries % config.queries_per_episode:
        divisors = ", ".join(str(k) for k in range(1, n_queries + 1) if n_queries % k == 0)
        raise BadInput(
            "queries_per_episode", config.queries_per_episode, f"must divide the {n_queries} queries of an episode: {divisors}"
        )
