"""Tiny language models with real tokenizers, saved as any other: what tests and benchmarks ask in the place of a large one."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llm.prompt import Prompter
from tests.conftest import configured, encoded

GRID = (
    "--experiment llm --real_words --generate_all --p_flip_xy 0 --preface_id 7 --sep_id 1 --test_preface_id 4 "
    "--n_train 300 --n_val 4 --n_test 1"
)
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)


def texts(n: int, words: PreTrainedTokenizerFast | None = None) -> list[str]:
    """Metalearning episodes with one query each and its answer, as a model with this tokenizer will be asked."""
    flags = GRID + (" --chat_template" if words is not None and words.chat_template else "")
    encoder = encoded(flags)
    prompter = Prompter(configured(flags), encoder, words or PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE())))
    episodes = encoder.episodes(0, "metalearning", "unrotated", "blocked", n)
    asked = [prompter.questions(episodes, i)[i % 16] for i in range(n)]
    return [f"{question.prompt} {question.location[0]} {question.location[1]}" for question in asked]


def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """bytes: byte-level BPE, a space belongs to the word after it, no BOS. pieces: SentencePiece-style BPE that splits " 3" in
    two (as Llama 2's does) and begins with a BOS. chat: bytes with a chat template that writes a BOS itself."""
    digits = [f" {x} {y}" for x in range(9) for y in range(9)]
    corpus = [*texts(100), *digits]
    special = ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
    made = Tokenizer(models.BPE())
    if kind == "pieces":
        made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Digits(individual_digits=True)])
        made.decoder = decoders.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special)
    else:
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    made.train_from_iterator(corpus, trainer)
    if kind == "pieces":
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    if kind == "chat":
        fast.chat_template = CHAT
    return fast


def model(vocab_size: int, positions: int = 512) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=positions, bos_token_id=0, eos_token_id=1, pad_token_id=None,
        initializer_range=0.1,  # large enough for answers to depend on what is asked
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config)


def train(language_model: LlamaForCausalLM, words: PreTrainedTokenizerFast, steps: int) -> None:
    """Next-token prediction on grid texts: enough to write answers where answers belong, some of them right."""
    rows = [torch.tensor(words(text, add_special_tokens=not words.chat_template).input_ids) for text in texts(200, words)]
    optimizer = torch.optim.Adam(language_model.parameters(), lr=3e-3)
    for step in range(steps):
        chosen = rows[step * 16 % 192 :][:16]
        ids = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=0)
        labels = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=-100)
        loss = language_model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def save(folder: Path, kind: str, steps: int = 0, positions: int = 512) -> Path:
    """A model with its tokenizer, as from the hub."""
    words = tokenizer(kind)
    made = model(len(words), positions)
    train(made, words, steps)
    made.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
