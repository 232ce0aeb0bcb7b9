"""Models of other architectures, tiny and random, saved as any other, and a job that asks one in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerFast
from transformers.utils import logging

import main
from llm import loading
from llm.checks import check_prompts
from llm.probe import probe
from llm.prompt import Prompter
from tests import llm_models
from tests.conftest import configured, encoded

GRID = "--real_words --generate_all --p_flip_xy 0 --preface_id 3 --sep_id 1 --n_val 1 --threads 1 --num_beams 1"
ONE = "--pt_rot_cond unrotated --pt_cond blocked"
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512}
SIZE |= {"intermediate_size": 64, "initializer_range": 0.1, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}


@pytest.fixture(scope="session")
def words(tmp_path_factory) -> Path:
    """A saved byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("words")
    llm_models.tokenizer("bytes").save_pretrained(folder)
    return folder


def tokenizer_in(folder: Path) -> PreTrainedTokenizerFast:
    """A tokenizer of its own for a test to change."""
    return AutoTokenizer.from_pretrained(folder)


def save(folder: Path, config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast, change=None) -> Path:
    """A random model of this configuration with a tokenizer; `change` is called with the model first."""
    logging.disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if change:
        with torch.no_grad():
            change(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Loaded:
    """A model as main.py loads it, with all that a test asks it with. Raises BadInput."""

    def __init__(self, folder: Path, flags: str = ""):
        text = f"--llm {folder} {GRID} {ONE} {flags}"
        self.config, self.encoder = configured(text), encoded(text)
        self.tokenizer = loading.load_tokenizer(self.config)
        self.prompter = Prompter(self.config, self.encoder, self.tokenizer)
        self.samples = check_prompts(self.config, self.encoder, self.prompter, self.tokenizer)
        self.model = loading.load_model(self.config)
        self.pace = probe(self.config, self.model, self.tokenizer, self.samples)
        episodes = self.encoder.episodes(0, "validation", "unrotated", "blocked", 1)
        self.questions = self.prompter.questions(episodes, 0)

    def log_p(self, ids: tuple[int, ...]) -> torch.Tensor:
        """Of each token but the first, given those before it: one plain pass of Hugging Face's model."""
        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1].double()
        return logits.log_softmax(-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]

    def greedy(self, ids: list[int], n_new: int) -> str:
        """Return what follows, the likeliest token at a time, without a cache."""
        said = list(ids)
        with torch.no_grad():
            while len(said) < len(ids) + n_new and (len(said) == len(ids) or said[-1] != self.tokenizer.eos_token_id):
                said.append(int(self.model(input_ids=torch.tensor([said]), use_cache=False).logits[0, -1].argmax()))
        return self.tokenizer.decode(said[len(ids) :], skip_special_tokens=True)


def run(folder: Path, out: Path, flags: str = "") -> int:
    """A whole job that asks the model, in this process; returns its exit status."""
    return main.main(f"--llm {folder} --out_dir {out} {GRID} {flags}".split())
