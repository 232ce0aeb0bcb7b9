import numpy as np
import pytest
import torch

import models
from data import Encoder
from engine.attention import answer_logits
from engine.ensemble import Batch, Ensemble
from tasks import make_task
from test import count_correct
from tests.conftest import built, configured, encoded

CPU = torch.device("cpu")


TASKS = {
    "grid": "--task grid --n_train 60",
    "category": "--task category --n_train 60 --n_val 3 --n_test 3 --n_task_dims 20 --n_symbols 4 --n_in_context 8",
}


def small_model(dtype=torch.float64, flags=TASKS["grid"]):
    config = configured(f"{flags} --n_layers 2 --n_heads 4 --d_model 16 --d_ff 32")
    return built(config, Encoder(config, make_task(config))).to(dtype)


def ensemble(model, seeds, learning_rate=1e-2, causal=False, **adam) -> Ensemble:
    weights = [models.draw_weights(model, s, 0.1) for s in seeds]
    return Ensemble(model, weights, learning_rate, causal=causal, device=CPU, **adam)


def batches(encoder, seeds, step, k=5) -> Batch:
    """Other data for every member and step."""
    parts = []
    for seed in seeds:
        e = encoder.episodes(seed, "metalearning", "unrotated", "blocked", 60)
        rows = slice(3 * step, 3 * step + 3)
        parts.append((e.context[rows], e.queries[rows, :k], e.answers[rows, :k]))
    return Batch.of_arrays(*map(np.stack, zip(*parts, strict=True)), device=CPU)


@pytest.mark.parametrize(("task", "k"), [("grid", 1), ("grid", 5), ("category", 1), ("category", 4)])
@pytest.mark.parametrize("lm_task", ["masked", "causal"])
def test_together_equals_alone(task, k, lm_task):
    flags, seeds = f"{TASKS[task]} --lm_task {lm_task}", [0, 1, 2]
    encoder, model = encoded(flags), small_model(flags=flags)
    together = ensemble(model, seeds, causal=lm_task == "causal")
    alone = [ensemble(model, [seed], causal=lm_task == "causal") for seed in seeds]
    for step in range(20):
        losses = together.step(batches(encoder, seeds, step, k))  # [3, 3, K]
        for member, seed in enumerate(seeds):
            loss = alone[member].step(batches(encoder, [seed], step, k))[0]
            assert (loss - losses[member]).abs().max() < 1e-10
    for member in range(3):
        for name, tensor in alone[member].weights(0).items():
            assert (tensor - together.weights(member)[name]).abs().max() < 1e-10, name
    assert (together.weights(0)["lm_head.weight"] - together.weights(1)["lm_head.weight"]).abs().max() > 0.01


@pytest.mark.usefixtures("norms_in_full_precision")
def test_a_step_by_hand():
    """Against Adam written out, on the plain mean loss of one model."""
    encoder, model = encoded("--task grid --n_train 60"), small_model()
    trained, batch = ensemble(model, [0], learning_rate=1e-3), batches(encoder, [0], 0)
    before = trained.weights(0)
    losses = trained.step(batch)
    plain = small_model()
    plain.load_state_dict(before)
    logits = answer_logits(plain, batch.context[0], batch.queries[0], 2, causal=False)  # [3, 5, 2, V]
    log_p = logits.log_softmax(-1).gather(-1, batch.answers[0][..., None])[..., 0]
    assert (losses[0] + log_p.mean(-1)).abs().max() < 1e-12
    (-log_p.mean()).backward()
    slow = ensemble(model, [0], learning_rate=1e-3)
    slow.step(batch, rate=0.25)
    shrunk = ensemble(model, [0], learning_rate=1e-3, weight_decay=0.5)
    shrunk.step(batch, rate=0.25)
    for name, p in plain.named_parameters():
        # first step of Adam: both moments, corrected for their bias, are the gradient and its square
        change = 1e-3 * p.grad / (p.grad.abs() + 1e-8)
        assert (trained.weights(0)[name] - (before[name] - change)).abs().max() < 1e-9, name
        assert (slow.weights(0)[name] - (before[name] - 0.25 * change)).abs().max() < 1e-9, name
        decay = 0.25 * 1e-3 * 0.5 * before[name]
        assert (shrunk.weights(0)[name] - (before[name] - decay - 0.25 * change)).abs().max() < 1e-9, name


def test_state_continues_exactly():
    encoder, model = encoded("--task grid --n_train 60"), small_model(dtype=torch.float32)
    one, other = ensemble(model, [0, 1]), ensemble(model, [5, 6])
    for step in range(3):
        one.step(batches(encoder, [0, 1], step))
    other.load_state({name: tensor.clone() for name, tensor in one.state().items()})
    for step in range(3, 6):
        assert torch.equal(one.step(batches(encoder, [0, 1], step)), other.step(batches(encoder, [0, 1], step)))
    assert all(torch.equal(one.state()[name], tensor) for name, tensor in other.state().items())


def test_keep_goes_on_with_some():
    encoder, model = encoded("--task grid --n_train 60"), small_model()
    three, one = ensemble(model, [0, 1, 2]), ensemble(model, [2])
    for step in range(2):
        three.step(batches(encoder, [0, 1, 2], step))
        one.step(batches(encoder, [2], step))
    three.keep([2])
    assert len(three) == 1
    for step in range(2, 4):
        assert (three.step(batches(encoder, [2], step)) - one.step(batches(encoder, [2], step))).abs().max() < 1e-10


@pytest.mark.parametrize("n_members", [1, 3])
def test_counts_against_a_loop(n_members, monkeypatch):
    """Counting by hand over flat predictions; also cut into passes of one episode each."""
    encoder = encoded("--task grid --n_val 4")
    model = small_model(dtype=torch.float32)
    seeds = list(range(n_members))
    trained = ensemble(model, seeds, learning_rate=3e-3)
    data = [encoder.episodes(seed, "validation", "unrotated", "blocked", 4) for seed in seeds]
    # teach it some answers, so that there are right ones
    batch = Batch.of_arrays(*(np.stack([getattr(e, p) for e in data]) for p in ("context", "queries", "answers")), device=CPU)
    for _ in range(60):
        trained.step(batch)
    n_correct, n_queries = count_correct(trained, data)
    assert n_queries[0, 0].tolist() == [5, 4, 16]
    assert 0 < n_correct.sum() < n_queries.sum()
    for member, episodes in enumerate(data):
        plain = small_model(dtype=torch.float32)
        plain.load_state_dict(trained.weights(member))
        for e in range(4):
            right = [0, 0, 0]
            for q in range(25):
                query = torch.from_numpy(episodes.queries[e, q].astype(int))[None, None]
                context = torch.from_numpy(episodes.context[e].astype(int))[None]
                predicted = answer_logits(plain, context, query, 2, causal=False)[0, 0].argmax(-1)
                right[episodes.subset[e, q]] += predicted.tolist() == episodes.answers[e, q].tolist()
            assert n_correct[member, e].tolist() == right
    monkeypatch.setattr("test.TOKENS_AT_ONCE", 1)
    assert (count_correct(trained, data)[0] == n_correct).all()


def test_golden_step():
    """Three updates of a fixed model on fixed data. If this changes, so does every result of the program: make sure that it
    was meant to, then write the new numbers here and say so in the release notes."""
    encoder, model = encoded(TASKS["grid"]), small_model()
    trained = ensemble(model, [0, 1], learning_rate=1e-3)
    losses = [trained.step(batches(encoder, [0, 1], step)).mean((1, 2)).tolist() for step in range(3)]
    golden = [[3.21028404, 3.54377919], [3.04073886, 3.33893564], [2.99652185, 3.42383184]]
    assert losses == [pytest.approx(pair, rel=1e-6) for pair in golden]
