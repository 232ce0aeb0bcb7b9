"""Models of many architectures: each gives the numbers of plain passes, or is refused in one line."""

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as hf

from engine.ensemble import DivergedError
from flags.config import BadInput
from llm import evaluate
from llm.generation import generate
from llm.scoring import Pace, score
from tests.llm.conftest import ONE, SIZE, Loaded, run, save, tokenizer_in

WINDOW = {"sliding_window": 16, "num_key_value_heads": 2, "head_dim": 8}
MAMBA = {"mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False}
SHARED = {
    "GPT2": {},
    "GPTNeoX": {},
    "OPT": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "Qwen2": {"num_key_value_heads": 2},
    "Gemma2": WINDOW,  # the context is longer than its window
    "Mistral": WINDOW,
    "Falcon": {"alibi": True},
    "Bert": {"is_decoder": True},
}
FLAT = {
    "Mamba": {"state_size": 4},
    "RecurrentGemma": {"num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 16, "num_key_value_heads": 1},
    "Jamba": {"num_key_value_heads": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, **MAMBA},
    "OpenAIGPT": {},
}


def architecture(name, words, **more):
    return getattr(hf, f"{name}Config")(**{**SIZE, **more, "vocab_size": len(tokenizer_in(words))})


def prefer_digits(model, tokenizer) -> None:
    """Make the digits of answers the likeliest tokens everywhere, so that a random model answers some questions rightly."""
    digits = [tokenizer(f" {i}").input_ids[-1] for i in range(5)]
    others = [i for i in range(len(tokenizer)) if i not in digits]
    model.get_output_embeddings().weight[others] = 0


@pytest.mark.parametrize("name", [*SHARED, *FLAT])
def test_a_model_of_any_architecture_gives_the_numbers_of_plain_passes(name, words, tmp_path, capsys):
    config = architecture(name, words, **SHARED.get(name, FLAT.get(name)))
    one = Loaded(save(tmp_path / "model", config, tokenizer_in(words)), "--scoring argmax,generate")
    said = capsys.readouterr().err
    assert one.pace.shared == (name in SHARED)
    assert ("every answer is run as a flat sequence" in said) == (name in FLAT)
    assert said.count("\n") == (name in FLAT)
    places = evaluate.locations_of("unrotated")[:4]
    episodes = [one.prompter.answers(question, places) for question in one.questions[:2]]
    for answers, scores in zip(episodes, score(one.model, episodes, one.pace), strict=True):
        for answer, scored in zip(answers, scores, strict=True):
            np.testing.assert_allclose(scored.log_p, one.log_p(answer.ids)[answer.scored - 1 :], atol=1e-4)
    prompts = one.prompter.ids([one.questions[0].prompt, one.questions[1].prompt, "red"])
    assert generate(one.model, one.tokenizer, prompts, 4, 1, one.pace) == [one.greedy(ids, 4) for ids in prompts]


@pytest.mark.parametrize("name", ["Bert", "Roberta"])
def test_a_model_that_sees_what_follows_is_refused(name, words, tmp_path, capsys):
    save(tmp_path / "model", architecture(name, words, initializer_range=0.02), tokenizer_in(words))
    assert run(tmp_path / "model", tmp_path / "job") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"main.py: error: --llm {tmp_path}/model: is not causal")
    assert said.count("\n") == 1
    assert not (tmp_path / "job").exists()


def test_where_a_cache_gives_other_numbers_flat_sequences_are_used(words, tmp_path, capsys):
    """Phi-3's rotary embedding is another one beyond a length, here one between the shared context and the whole: what is in
    the cache was then turned otherwise than in a plain pass."""
    factors = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [8.0] * 4}
    config = architecture("Phi3", words, num_key_value_heads=2, original_max_position_embeddings=512, rope_parameters=factors)
    folder = save(tmp_path / "model", config, tokenizer_in(words))
    assert Loaded(folder).pace.shared
    length = max(len(answer.ids) for answer in Loaded(folder).samples[0])
    config.original_max_position_embeddings = length - 3
    config.rope_parameters["original_max_position_embeddings"] = length - 3
    folder = save(tmp_path / "other", config, tokenizer_in(words))
    capsys.readouterr()
    assert not Loaded(folder).pace.shared
    assert "with its cache, log-probabilities differ by" in capsys.readouterr().err


def test_a_job_without_a_cache_counts_what_plain_passes_find(words, tmp_path):
    config = architecture("Mamba", words, state_size=4)
    folder = save(tmp_path / "model", config, tokenizer_in(words), lambda model: prefer_digits(model, tokenizer_in(words)))
    assert run(folder, tmp_path / "job", ONE) == 0
    one, right = Loaded(folder), []
    for question in one.questions:
        answer = one.prompter.answers(question, [question.location])[0]
        with torch.no_grad():
            logits = one.model(input_ids=torch.tensor([answer.ids])).logits[0]
        right.append([int(logits[i - 1].argmax()) == answer.ids[i] for i in (-2, -1)])  # a token each
    rows = pd.read_csv(tmp_path / "job/llm_accuracy.csv")
    counts = rows[["n_correct", "n_first", "n_second", "n_queries"]].sum().tolist()
    assert counts == [sum(map(all, right)), *np.sum(right, axis=0), 16]
    assert 0 < sum(counts[1:3]) < 32


def test_numbers_that_are_not_finite_are_no_table_of_zeros(words, tmp_path, capsys):
    def enlarge(model):
        model.lm_head.weight.mul_(1e6)

    config = architecture("Llama", words)
    folder = save(tmp_path / "model", config, tokenizer_in(words), enlarge)
    Loaded(folder)  # well in 32 bits
    assert run(folder, tmp_path / "job", "--model_dtype fp16") == 2
    said = capsys.readouterr().err
    assert said.startswith("main.py: error: --model_dtype fp16: log-probabilities of the model are not finite")
    assert said.count("\n") == 1
    assert not (tmp_path / "job").exists()


def test_a_number_that_is_not_finite_later_ends_the_job_in_one_line(words, tmp_path, capsys):
    one = Loaded(save(tmp_path / "model", architecture("Llama", words), tokenizer_in(words)))
    answers = one.prompter.answers(one.questions[0], [(0, 0), (1, 1)])
    for broken in (float("nan"), float("inf")):
        with torch.no_grad():
            one.model.get_output_embeddings().weight[answers[1].ids[-1]] = broken
        for shared in (True, False):
            with pytest.raises(DivergedError, match="not finite in float32"):
                score(one.model, [answers], Pace(shared=shared))
    with pytest.raises(DivergedError):
        generate(one.model, one.tokenizer, [[5, 6]], 2, 2, Pace())


def test_a_generation_that_goes_its_own_way_is_refused(words, tmp_path):
    """XLM's generation writes a mask behind the prompt."""
    config = hf.XLMConfig(vocab_size=len(tokenizer_in(words)), emb_dim=32, n_layers=2, n_heads=4, causal=True, pad_index=1)
    folder = save(tmp_path / "model", config, tokenizer_in(words))
    assert not Loaded(folder, "--scoring argmax").pace.shared
    with pytest.raises(BadInput, match="leave generate out of --scoring"):
        Loaded(folder, "--scoring argmax,generate")
