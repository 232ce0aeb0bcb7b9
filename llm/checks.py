"""Checks of a tokenizer and a model's configuration before weights are loaded: on prompts that will be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flags.config import BadInput, Config
from llm import evaluate, loading
from runs.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from data import Encoder
    from llm.prompt import Answer, Prompter


def check_prompts(config: Config, encoder: Encoder, prompter: Prompter, tokenizer: PreTrainedTokenizerBase) -> list[list[Answer]]:
    """Return an answer to each question of the first episodes (`evaluate.samples`). Raises BadInput if the tokenizer or the
    model cannot take what will be asked."""
    check_answers(config, tokenizer, evaluate.different_answers(config, encoder, prompter))
    samples = evaluate.samples(config, encoder, prompter)
    check_tokens(config, tokenizer, [answer for of_condition in samples for answer in of_condition])
    limit = position_limit(config)
    longest = evaluate.longest_sequence(config, encoder, prompter, limit)
    if limit is not None and longest > limit:
        flag, value, _ = loading.name_of(config)
        raise BadInput(flag, value, f"has {limit} positions; a context with a query and its answer takes {longest}")
    return samples


def position_limit(config: Config) -> int | None:
    """Return how many tokens the model's configuration allows; None if it does not say."""
    text = loading.load_config(config).get_text_config(decoder=True)
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx", "max_target_positions")
    return next((limit for name in names if isinstance(limit := getattr(text, name, None), int) and limit > 0), None)


def check_tokens(
    config: Config, tokenizer: PreTrainedTokenizerBase, answers: Sequence[Answer], model: PreTrainedModel | None = None
) -> None:
    """Raise BadInput if the tokenizer has ids for which the model has no embedding: ordinary ones, or added ones that the
    answers need. Without the model, its configuration gives the number of embeddings."""
    flag, value, _ = loading.name_of(config)
    if model is not None:
        n_embeddings = model.get_input_embeddings().weight.shape[0]
    else:
        n_embeddings = getattr(loading.load_config(config).get_text_config(decoder=True), "vocab_size", None)
    if not isinstance(n_embeddings, int):
        return
    ordinary = set(tokenizer.get_vocab().values()) - set(getattr(tokenizer, "added_tokens_decoder", ()))
    highest = max({*ordinary, *(token for answer in answers for token in answer.ids)})
    if highest >= n_embeddings:
        raise BadInput(flag, value, f"its tokenizer has token ids up to {highest}, its embeddings end at {n_embeddings - 1}")


def check_answers(config: Config, tokenizer: PreTrainedTokenizerBase, answers: Sequence[Answer]) -> None:
    """Raise BadInput if the tokenizer writes two of the different answers to one question alike."""
    flag, value, _ = loading.name_of(config)
    if len({answer.ids for answer in answers}) < len(answers):
        raise BadInput(flag, value, "its tokenizer writes different answers with the same tokens")
    unknown = tokenizer.unk_token_id
    if unknown is not None and any(unknown in answer.ids for answer in answers):
        say(f"main.py: --{flag} {value}: its tokenizer does not know all that the prompt is written with")
