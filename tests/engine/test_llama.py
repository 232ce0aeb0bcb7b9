"""The stacked Llama against transformers' own class, member by member, and what its cutting into parts must not change."""

import numpy as np
import pytest
import torch
from torch.func import functional_call

import models
from ablate import attention_dropout, make_ablation, values_shape
from engine import batch as parts
from engine.attention import answer_logits
from engine.ensemble import Batch, Ensemble
from tests.conftest import built, configured, encoded

CPU = torch.device("cpu")
SIZES = "--n_train 60 --n_layers 3 --n_heads 4 --d_model 16 --d_ff 32"
TASKS = {
    "grid": f"--task grid {SIZES}",
    "category": f"--task category --n_val 3 --n_test 3 --n_task_dims 20 --n_symbols 4 --n_in_context 8 {SIZES}",
}
N_QUERIES = 6


def ensemble_of(task: str, n_members: int, lm_task: str, dtype=torch.float64) -> Ensemble:
    flags = f"{TASKS[task]} --lm_task {lm_task}"
    encoder = encoded(flags)
    model = built(configured(flags), encoder).to(dtype)
    weights = [{name: w.to(dtype) for name, w in models.draw_weights(model, seed, 0.3).items()} for seed in range(n_members)]
    return Ensemble(model, weights, 1e-2, encoder.causal, CPU)


def batch_of(task: str, n_members: int, lm_task: str, ensemble: Ensemble, kind: str = "", n_contexts: int = 2) -> Batch:
    """Two contexts a member and six queries each, or two variants of one context with three queries each."""
    encoder = encoded(f"{TASKS[task]} --lm_task {lm_task}")
    many = [encoder.episodes(seed, "metalearning", "unrotated", "blocked", 60) for seed in range(n_members)]
    context, queries, answers = (
        np.stack([getattr(e, part)[:n_contexts] for e in many]) for part in ("context", "queries", "answers")
    )
    queries, answers, changed = queries[:, :, :N_QUERIES], answers[:, :, :N_QUERIES], {}
    keys = [("a", member) for member in range(n_members)]
    kinds = set(kind.split())
    for name in kinds - {"factors"}:
        ablation = make_ablation(name, encoder.examples(many[0]), values_shape(ensemble.model.config))
        on_variants = queries[:, 0].reshape(n_members, 2, N_QUERIES // 2, -1)
        levels = np.array([0.4, 0.7])
        context, queries, changed = ablation.batch(context[:, 0], on_variants, ablation.draw_all(2, keys), levels)
        answers = answers[:, 0].reshape(*queries.shape[:3], -1)
    if "factors" in kinds:
        changed["factors"] = attention_dropout(0.3, keys, ensemble.model.config, context, queries).to(torch.float64)
    return Batch.of_arrays(context, queries, answers, CPU, **changed)


@pytest.mark.usefixtures("norms_in_full_precision")
@pytest.mark.parametrize("task", ["grid", "category"])
@pytest.mark.parametrize("lm_task", ["masked", "causal"])
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("kind", ["", "mask", "gaussian", "bernoulli", "factors", "gaussian factors", "bernoulli factors"])
def test_logits_and_gradients_are_those_of_transformers(task, lm_task, n_members, kind, monkeypatch):
    """Also where rows are cut and queries are asked in several bundles."""
    monkeypatch.setattr("engine.shared_context.ROWS", 20)
    monkeypatch.setattr("engine.shared_context.OWN", 10)
    ensemble = ensemble_of(task, n_members, lm_task)
    batch = batch_of(task, n_members, lm_task, ensemble, kind)
    logits = ensemble.logits(batch)
    target = torch.linspace(-1, 1, logits.numel(), dtype=torch.float64).view_as(logits).sin()
    (logits * target).sum().backward()
    for member in range(n_members):
        own = {name: w.double().requires_grad_() for name, w in ensemble.weights(member).items()}

        def forward(own=own, **inputs):
            return functional_call(ensemble.model, own, kwargs=inputs)

        changed = {name: tensor[member] for name, tensor in batch.ablations.items()}
        context, queries, n_answer = batch.context[member], batch.queries[member], batch.answers.shape[3]
        plain = answer_logits(forward, context, queries, n_answer, ensemble.causal, **changed)
        assert plain.abs().max() > 0.5
        assert (logits[member] - plain).abs().max() < 1e-10
        gradients = torch.autograd.grad((plain * target[member]).sum(), list(own.values()))
        for name, gradient in zip(own, gradients, strict=True):
            ours = ensemble.parameters[name].grad[member]
            assert (ours - gradient).abs().max() <= 1e-10 * max(1, gradient.abs().max()), name


@pytest.mark.parametrize("kind", ["", "mask", "gaussian", "factors"])
def test_parts_change_results_to_float_error_alone(kind, monkeypatch):
    """All at once, and a part for every member and context."""
    found = []
    for tokens in (2**20, 1):
        monkeypatch.setattr(parts, "TOKENS", tokens)
        ensemble = ensemble_of("grid", 3, "masked")
        batch = batch_of("grid", 3, "masked", ensemble, kind)
        assert len(parts.parts_of(batch)) == (1 if tokens > 1 else 3 * batch.context.shape[1])
        losses = torch.stack([ensemble.step(batch) for _ in range(3)])
        found.append((losses, ensemble.correct(batch), ensemble.weights(2)))
    (losses, right, weights), (others, other_right, other_weights) = found
    assert (losses - others).abs().max() < 1e-10
    assert torch.equal(right, other_right)
    assert all((weights[name] - other_weights[name]).abs().max() < 1e-8 for name in weights)


@pytest.mark.parametrize(("n_members", "n_contexts"), [(5, 1), (1, 5)])
def test_threads_change_no_byte(n_members, n_contexts, monkeypatch):
    monkeypatch.setattr(parts, "TOKENS", 1)
    found = []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        ensemble = ensemble_of("grid", n_members, "masked", torch.float32)
        batch = batch_of("grid", n_members, "masked", ensemble, n_contexts=n_contexts)
        losses = [ensemble.step(batch) for _ in range(3)]
        assert torch.get_num_threads() == n_threads
        found.append(torch.stack(losses).numpy().tobytes() + ensemble.correct(batch).numpy().tobytes())
    assert found[0] == found[1] == found[2]


def test_the_embedding_of_pad_is_never_trained():
    ensemble = ensemble_of("grid", 2, "masked")
    batch = batch_of("grid", 2, "masked", ensemble)
    batch.context[:, :, :3] = ensemble.model.config.pad_token_id
    before = ensemble.weights(1)
    ensemble.step(batch)
    changed = (ensemble.weights(1)["model.embed_tokens.weight"] != before["model.embed_tokens.weight"]).any(1)
    assert changed[batch.context[1].unique()].tolist() == [False] + [True] * (len(batch.context[1].unique()) - 1)
