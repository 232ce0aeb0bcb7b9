"""Askers of a job's questions: of a model that is loaded here, or of a server's; checked on questions that will be asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llm import evaluate, loading
from llm.checks import check_prompts
from llm.prompt import Prompter, ServerPrompter

if TYPE_CHECKING:
    from data import Encoder
    from flags.config import Config

Prepared = tuple[Prompter, Callable[[], evaluate.Asker]]


def prepared(config: Config, encoder: Encoder) -> Prepared:
    """Return what writes the questions, and a function that makes ready what answers them: it loads weights, or asks a server."""
    return _server(config, encoder) if config.llm_api else _local(config, encoder)


def _server(config: Config, encoder: Encoder) -> Prepared:
    from llm.api import Server

    prompter = ServerPrompter(config, encoder)

    def ready() -> Server:
        server = Server(config, prompter)
        server.probe(lambda: evaluate.longest_question(config, encoder, prompter))
        return server

    return prompter, ready


def _local(config: Config, encoder: Encoder) -> Prepared:
    from llm.local import LocalModel
    from llm.probe import probe

    tokenizer = loading.load_tokenizer(config)
    prompter = Prompter(config, encoder, tokenizer)
    samples = check_prompts(config, encoder, prompter, tokenizer)

    def ready() -> LocalModel:
        model = loading.load_model(config)
        return LocalModel(config, prompter, model, tokenizer, probe(config, model, tokenizer, samples))

    return prompter, ready
