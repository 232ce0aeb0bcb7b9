"""Decoders that are no Llama: the path under vmap against the plain models of transformers, one flat sequence a query."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import models
from engine.attention import answer_logits
from engine.decoder import check_shares_context
from engine.ensemble import Batch, Ensemble
from flags.decoders import DECODERS
from tests.ablated_slowly import Setting, draw_of
from tests.conftest import TINY, configured, encoded
from tests.program import run_main

CPU = torch.device("cpu")
OTHERS = [name for name in DECODERS if name != "llama2"]
SIZES = "--n_layers 3 --n_heads 2 --d_model 16 --d_ff 32 --n_train 4 --real_words"


def weights_of(model, seed):
    """Weights with biases and norms that differ from 0 and 1, so that none goes unnoticed."""
    rng = torch.Generator().manual_seed(seed)
    return {name: w + 0.1 * torch.randn(w.shape, generator=rng) for name, w in models.draw_weights(model, seed, 0.3).items()}


def flat_logits(plain, context, queries, n_answer, causal):
    """The logits [B, K, T, V] of a plain model, a flat sequence a query."""
    flat = torch.cat([context[:, None].expand(-1, queries.shape[1], -1), queries], dim=2)
    end = flat.shape[2] - int(causal)
    return plain(input_ids=flat.flatten(0, 1)).logits[:, end - n_answer : end].unflatten(0, flat.shape[:2])


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("lm_task", ["masked", "causal"])
@pytest.mark.parametrize("n_members", [1, 2])
def test_logits_and_steps_are_those_of_the_plain_model(name, lm_task, n_members):
    flags = f"--model_name {name} --lm_task {lm_task} {SIZES}"
    config, encoder = configured(flags), encoded(flags)
    model, architecture = models.model_of(config, encoder), models.architecture_of(config, encoder)
    weights = [weights_of(model, seed) for seed in range(n_members)]
    ensemble = Ensemble(model, weights, 1e-2, encoder.causal, CPU)
    episodes = [encoder.episodes(seed, "metalearning", "unrotated", "blocked", 2) for seed in range(n_members)]
    arrays = (np.stack([getattr(e, part) for e in episodes]) for part in ("context", "queries", "answers"))
    batch = Batch.of_arrays(*arrays, CPU)
    logits, losses = ensemble.logits(batch), ensemble.step(batch)
    for member in range(n_members):
        plain = models.with_attention("sdpa", name, **architecture)
        plain.load_state_dict(weights[member])
        tokens, answers = (batch.context[member], batch.queries[member], batch.answers.shape[3]), batch.answers[member]
        flat = flat_logits(plain, *tokens, encoder.causal)
        assert flat.abs().max() > 0.5
        assert (logits[member] - flat).abs().max() < 1e-4
        loss = torch.nn.functional.cross_entropy(flat.flatten(0, 2), answers.flatten())
        assert losses[member].mean().item() == pytest.approx(loss.item(), abs=1e-4)
        loss.backward()
        for parameter, one in plain.named_parameters():
            assert (ensemble.parameters[parameter].grad[member] - one.grad).abs().max() < 1e-4, parameter


@pytest.mark.parametrize(("kind", "level"), [("mask", 0.5), ("gaussian", 2.0), ("bernoulli", 0.5)])
def test_ablations_act(kind, level):
    """As in the slow path, by transformers' own masks and cache."""
    s = Setting("--task grid --model_name qwen3 --n_heads 2 --n_layers 2 --d_model 16 --d_ff 16 --n_test 2 --real_words")
    draws = s.ablation(kind).draw_all(2, [("a", 0), ("a", 1)])
    logits, _ = s.ours(kind, draws, [level, level])
    for member in range(2):
        slow = s.slowly(kind, member, draw_of(draws, kind, member, 1), level, 2)
        assert (logits[member, 1, 2] - slow).abs().max() < 1e-4


def test_a_decoder_whose_queries_see_each_other_is_refused():
    """A model of transformers that is left with an attention of its own."""
    flags = f"--model_name qwen3 {SIZES}"
    architecture = models.architecture_of(configured(flags), encoded(flags))
    check_shares_context(models.build("qwen3", **architecture))
    with pytest.raises(ValueError, match=r"Qwen3ForCausalLM does not call engine/attention\.py: its queries see each other"):
        check_shares_context(models.with_attention("eager", "qwen3", **architecture))


@pytest.mark.parametrize("name", OTHERS)
def test_layers_that_come_on_top_change_no_answer(name):
    flags = f"--model_name {name} {SIZES}"
    encoder = encoded(flags)
    small, large = (models.model_of(configured(f"{flags} --n_layers {n}"), encoder) for n in (2, 3))
    few = weights_of(small, 0)
    small.load_state_dict(few)
    large.load_state_dict(models.grown(few, large, 0))
    ids = torch.arange(9)
    few, many = (answer_logits(model, ids[None, :6], ids[None, None, 6:], 1, causal=False) for model in (small, large))
    assert torch.allclose(few, many, atol=1e-6)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--model_name gpt2", "--model_name gpt2: must be one of llama2, qwen3, gpt_neox"),
        ("--model_name qwen3 --weight_init matching", "--weight_init matching: is made for llama2; with --model_name qwen3 pass"),
        ("--model_name qwen3 --model_path m", "--model_path m: is for the published code, which has llama2 alone"),
    ],
)
def test_what_other_models_cannot_have(flags, message):
    done = run_main(*flags.split())
    assert done.returncode == 2
    assert done.stderr.startswith(f"main.py: error: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", OTHERS)
def test_a_job_from_metalearning_to_its_summary(name, tmp_path):
    few = "--congruent_only --test_one_rot_cond --step_cond interleaved --n_blocks 1 --n_steps_per_block 3 --n_val 2"
    ablated = "--ablation mask --ablation_level 0.5 --test_ablation_level_num 2 --test_repeats 1"
    done = run_main(*TINY["grid"].split(), *few.split(), *ablated.split(), "--model_name", name, "--out_dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    losses = pd.read_csv(tmp_path / "pretrain_loss.csv").groupby("step").loss.mean()
    assert losses.iloc[-1] < losses.iloc[0] - 0.1
    assert json.loads((tmp_path / "config.json").read_text())["flags"]["model_name"] == name
    kept = load_file(tmp_path / "checkpoints/best_seed0.safetensors")
    architecture = json.loads((tmp_path / "checkpoints/model.json").read_text())["architecture"]
    models.with_attention("sdpa", name, **architecture).load_state_dict(kept)  # the class of transformers takes them as they are
    assert set(pd.read_csv(tmp_path / "finetune_accuracy.csv").test_level) == {0, 0.5, 1}
    assert (tmp_path / "summary.json").exists()
