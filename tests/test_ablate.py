"""Ablations against the slow path of ablated_slowly.py; their draws, and what they do to training."""

import dataclasses
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

import models
from ablate import attention_dropout
from data import Encoder
from engine.ensemble import Batch, Ensemble
from finetune import Finetuning, plan
from flags.stages import stages_of
from pretrain import Metalearning
from runs.records import Recorder
from tasks import make_task
from test import count_correct, count_correct_ablated
from tests.ablated_slowly import CPU, TASKS, Setting, draw_of
from tests.conftest import TINY, built, configured


@pytest.fixture(params=list(TASKS))
def setting(request, norms_in_full_precision):
    return Setting(TASKS[request.param])


@pytest.mark.parametrize(("kind", "levels"), [("mask", [0.3, 0.6]), ("gaussian", [0.5, 4.0]), ("bernoulli", [0.2, 0.9])])
def test_same_function_as_flat_sequences(setting, kind, levels):
    draws = setting.ablation(kind).draw_all(2, [("ablation", 0), ("ablation", 1)])
    logits, ensemble = setting.ours(kind, draws, levels)
    slow = torch.stack(
        [
            torch.stack(
                [
                    torch.stack([setting.slowly(kind, m, draw_of(draws, kind, m, g), levels[g], q) for q in range(3)])
                    for g in range(2)
                ]
            )
            for m in range(2)
        ]
    )  # [2, G, Q, T, V]
    assert (logits - slow).abs().max() < 1e-10
    plain = setting.ours(kind, draws, [0.0, 0.0])[0]
    assert (logits - plain).abs().max() > 1e-3, "the ablation must do something"
    # gradients: into the weights that made the clean context as well
    target = torch.linspace(-1, 1, logits[1].numel(), dtype=torch.float64).reshape(logits[1].shape)
    (logits[1] * target).sum().backward()
    setting.plain.zero_grad()
    total = sum(
        (setting.slowly(kind, 1, draw_of(draws, kind, 1, g), levels[g], q) * target[g, q]).sum() for g in range(2) for q in range(3)
    )
    total.backward()
    for name, parameter in setting.plain.named_parameters():
        ours = ensemble.parameters[name].grad[1]
        assert (ours - parameter.grad).abs().max() <= 1e-10 * max(1, parameter.grad.abs().max()), name


@pytest.mark.parametrize("kind", ["mask", "gaussian", "bernoulli"])
def test_level_zero_is_the_plain_pass(setting, kind):
    draws = setting.ablation(kind).draw_all(1, [("a",), ("b",)])
    logits, ensemble = setting.ours(kind, draws, [0.0])
    parts = (np.stack([getattr(e, part) for e in setting.episodes]) for part in ("context", "queries", "answers"))
    plain = ensemble.logits(Batch.of_arrays(*parts, CPU))[:, 0, :3]
    assert (logits[:, 0] - plain).abs().max() < 1e-10


def test_with_every_example_hidden_no_example_matters(setting):
    draws = setting.ablation("mask").draw_all(1, [("a",), ("b",)])
    logits, _ = setting.ours("mask", draws, [1.0])
    inside = setting.examples >= 0
    for e in setting.episodes:
        e.context[0, inside] = np.roll(e.context[0, inside], 1)
    changed, _ = setting.ours("mask", draws, [1.0])
    assert (logits - changed).abs().max() < 1e-12


def test_examples_by_hand():
    """One word of preface and items of six tokens; the separator closes each."""
    s = Setting(TASKS["grid"])
    assert s.examples.tolist() == [0] + [j for i in range(9) for j in [i] * 5 + [-1]]
    comma = Setting(TASKS["grid with prefaces"])  # "( red , dog ) : 1 3 ," : the comma inside is no separator
    text = comma.encoder.text(comma.episodes[0].context[0]).split(" ")
    ends = np.flatnonzero(comma.examples == -1)
    assert len(ends) == 9
    assert all(text[i] == "," for i in ends)
    assert all(text[i - 1].isdigit() and text[i - 2].isdigit() for i in ends)


def test_draws_have_their_statistics():
    s = Setting(TASKS["grid"])
    uniforms = s.ablation("mask").draw(4000, "x")
    assert uniforms.shape == (4000, 9)
    assert (uniforms < 0.3).mean(0) == pytest.approx(np.full(9, 0.3), abs=0.03)
    noise = s.ablation("gaussian").draw(200, "x")
    assert noise.shape == (2, 2, 200, 54, 8)
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1] == pytest.approx(0, abs=0.01)
    zeroed = s.ablation("bernoulli").draw(200, "x")
    assert (zeroed < 0.7).mean() == pytest.approx(0.7, abs=0.01)
    assert (s.ablation("mask").draw(3, "x") == uniforms[:3]).all()
    assert (s.ablation("mask").draw(3, "y") != uniforms[:3]).any()


@pytest.mark.parametrize("kind", ["mask", "gaussian", "bernoulli"])
def test_counts_at_levels_against_the_slow_path(kind, monkeypatch):
    """All levels and repeats, cut into passes of few variants, counted by hand."""
    import test

    monkeypatch.setattr(test, "TOKENS_AT_ONCE", 1000)
    s = Setting(TASKS["category"])
    levels, repeats, keys = (0.4, 0.8), 3, [("a", 0), ("a", 1)]
    ensemble = Ensemble(s.model, s.weights, 1e-3, s.encoder.causal, CPU)
    n_correct, n_queries = count_correct_ablated(ensemble, s.episodes, s.ablation(kind), levels, repeats, keys)
    assert n_queries.tolist() == [[[12, 12, 24]] * 2] * 2
    draws = s.ablation(kind).draw_all(repeats, keys)
    for member, e in enumerate(s.episodes):
        for v, level in enumerate(levels):
            right = np.zeros(3, dtype=int)
            for query in range(16):
                for repeat in range(repeats):
                    logits = s.slowly(kind, member, draw_of(draws, kind, member, repeat), level, query)
                    right[e.subset[0, query]] += int(logits.argmax(-1).tolist() == e.answers[0, query].tolist())
            assert n_correct[member, v].tolist() == right.tolist()
    at_zero, _ = count_correct_ablated(ensemble, s.episodes, s.ablation(kind), (0.0,), 1, keys)
    assert at_zero[:, 0].tolist() == count_correct(ensemble, s.episodes)[0][:, 0].tolist()


ABLATED = {
    "mask": "--ablation mask --ablation_level 0.4 --max_members 30",  # hidden examples: 30 // 5 members in an ensemble
    "gaussian": "--ablation gaussian --ablation_level 2 --test_ablation_level_max 4",
    "bernoulli": "--ablation bernoulli --ablation_level 0.5",
    "dropout": "--attention_dropout 0.3",
}


def losses_of(task, flags, folder, members=slice(None)):
    """The rows of finetune_loss.csv of one ensemble, and its accuracies."""
    config = dataclasses.replace(configured(f"{TINY[task]} {flags}"), finetune_lr=0.01)
    encoder = Encoder(config, make_task(config))
    model = built(config, encoder)
    chosen = plan(config)[0][members]
    weights = [models.draw_weights(model, 0, 0.1)] * len(chosen)
    job = Recorder(folder, {}, {}, {}, save_minutes=10)
    run = Finetuning(config, encoder, chosen, Ensemble(model, weights, 0.01, encoder.causal, CPU), 0)
    job.start("finetuning", run.n_steps, 0)
    run.run(job)
    job.close()
    return (folder / "finetune_loss.csv").read_bytes(), pd.read_csv(folder / "finetune_accuracy.csv")


@pytest.mark.parametrize("task", ["grid", "category"])
@pytest.mark.parametrize("kind", list(ABLATED))
def test_how_often_it_is_tested_changes_no_byte(task, kind, tmp_path):
    flags = f"{ABLATED[kind]} --test_ablation_level_num 3 --test_repeats 2"
    often, accuracy = losses_of(task, f"{flags} --finetune_test_every 1", tmp_path / "often")
    seldom, _ = losses_of(task, f"{flags} --finetune_test_every 100", tmp_path / "seldom")
    assert often == seldom
    without, _ = losses_of(task, "", tmp_path / "without")
    assert without != often, "it must do something"
    levels = {"mask": [0, 0.4, 0.5, 1], "gaussian": [0, 2, 4], "bernoulli": [0, 0.5, 1], "dropout": [0]}[kind]
    assert sorted(set(accuracy.test_level)) == levels
    plain = accuracy[accuracy.test_level == 0].groupby("subset").n_queries.first()
    for level in levels[1:]:
        ablated = accuracy[accuracy.test_level == level].groupby("subset").n_queries.first()
        assert (ablated == 2 * plain).all()


@pytest.mark.parametrize("kind", list(ABLATED))
def test_company_changes_no_draw(kind, tmp_path):
    together, _ = losses_of("grid", ABLATED[kind], tmp_path / "together", slice(0, 3))
    alone, _ = losses_of("grid", ABLATED[kind], tmp_path / "alone", slice(1, 2))
    rows = [line.split(",") for line in together.decode().splitlines()]
    expected = [line.split(",") for line in alone.decode().splitlines()[1:]]
    found = [row for row in rows if row[:6] == expected[0][:6]]
    assert [float(row[-1]) for row in found] == pytest.approx([float(row[-1]) for row in expected], rel=1e-3)


@pytest.mark.parametrize("task", ["grid", "category"])
@pytest.mark.parametrize("kind", ["mask", "bernoulli"])
def test_items_share_a_context_of_which_nothing_is_left(task, kind, tmp_path):
    """At level 1 no draw matters. Just below it every draw of these hides as much, and each item has a variant of its own."""
    of_level = {}
    for level in ("1", "0.9999999"):
        flags = f"--ablation {kind} --ablation_level {level} --test_ablation_level_num 1 --max_members 1000"
        of_level[level], _ = losses_of(task, flags, tmp_path / level, slice(0, 3))
    shared, own = ([line.split(",") for line in found.decode().splitlines()[1:]] for found in of_level.values())
    assert [row[:-1] for row in shared] == [row[:-1] for row in own]
    assert [float(row[-1]) for row in shared] == pytest.approx([float(row[-1]) for row in own], rel=1e-3)


@pytest.mark.parametrize("kind", ["mask", "gaussian", "bernoulli"])
def test_no_two_draws_are_the_same(kind):
    """Over members, steps and purposes every key is another; within a batch every query has draws of its own."""
    config = configured(f"{TINY['grid']} --n_runs 2 {ABLATED[kind]} --max_members 1000")
    encoder = Encoder(config, make_task(config))
    model = built(config, encoder)
    keys = []
    for members in plan(config):
        run = Finetuning(config, encoder, members, Ensemble(model, [models.draw_weights(model, 0, 0.1)], 0.01, False, CPU), 0)
        for run.step in range(3):
            for purpose in ("ablation", "test ablation", "attention dropout"):
                keys += run._keys(purpose)
    n_members = sum(map(len, plan(config)))
    assert n_members > 60
    assert len(set(keys)) == len(keys) == n_members * 9
    draws = run.ablation.draw_all(5, run._keys("ablation")[:4])
    of_queries = draws if kind == "mask" else draws.transpose(0, 3, 1, 2, 4, 5)  # [members, queries, …]
    assert len({part.tobytes() for member in of_queries for part in member}) == 4 * 5


def watched(ensemble):
    """The ablations that an ensemble is trained and asked with from now on: two lists, one entry a batch."""
    trained, asked, step, correct = [], [], ensemble.step, ensemble.correct

    def watched_step(batch, *rate):
        trained.append(batch.ablations)
        return step(batch, *rate)

    def watched_correct(batch):
        asked.append(batch.ablations)
        return correct(batch)

    ensemble.step, ensemble.correct = watched_step, watched_correct
    return trained, asked


@pytest.mark.parametrize(("kind", "name", "axis"), [("mask", "bias", 1), ("bernoulli", "keep", 4), ("gaussian", "noise", 4)])
def test_an_update_has_one_variant_only_where_nothing_is_left(kind, name, axis):
    """Noise of level 1 leaves something, and zeroed values of level .5 as well."""
    n_variants = {}
    for level in (0.5, 1):
        config = configured(f"{TINY['grid']} --ablation {kind} --ablation_level {level} --max_members 1000 --finetune_bs 5")
        encoder = Encoder(config, make_task(config))
        model, members = built(config, encoder), plan(config)[0][:2]
        run = Finetuning(config, encoder, members, Ensemble(model, [models.draw_weights(model, 0, 0.1)] * 2, 0.01, False, CPU), 0)
        trained, _ = watched(run.ensemble)
        run.update(0, 0, "A")
        n_variants[level] = trained[0][name].shape[axis]
    assert n_variants == {0.5: 5, 1: 5 if kind == "gaussian" else 1}


@pytest.mark.parametrize(("kind", "name"), [("gaussian", "noise"), ("bernoulli", "keep"), ("dropout", "factors")])
def test_every_update_and_every_test_meets_draws_of_its_own(kind, name, tmp_path):
    """No layer and head of any member has the same disturbance in two updates, for two queries, or in training and in a test."""
    more = "--test_ablation_level_num 1 --test_repeats 5 --n_blocks 1 --n_steps_per_block 3 --finetune_test_every 1"
    config = configured(f"{TINY['grid']} {ABLATED[kind]} {more}")
    encoder = Encoder(config, make_task(config))
    model, members = built(config, encoder), plan(config)[0][:2]
    run = Finetuning(config, encoder, members, Ensemble(model, [models.draw_weights(model, 0, 0.1)] * 2, 0.01, False, CPU), 0)
    trained, asked = watched(run.ensemble)
    job = Recorder(tmp_path / "job", {}, {}, {}, save_minutes=10)
    job.start("finetuning", run.n_steps, 0)
    run.run(job)
    job.close()
    met = [batch[name] for batch in (*trained, *asked) if name in batch]  # [N, layers, 1, heads, …]; the last two are of one draw
    assert len(met) == (3 if kind == "dropout" else 3 + 4)
    assert not any(batch for batch in asked[::2])  # tests at level 0 come first
    draws = [part.numpy().tobytes() for batch in met for part in batch.flatten(0, -3)]
    assert len(set(draws)) == len(draws) == 2 * 2 * 2 * {"gaussian": 7 * 5, "bernoulli": 7 * 5, "dropout": 3}[kind]


def test_every_metalearning_update_drops_other_attention_weights():
    config = configured(f"{TINY['grid']} --n_train 3 --n_runs 2 --attention_dropout 0.3")
    encoder = Encoder(config, make_task(config))
    model = built(config, encoder)
    weights = models.draw_weights(model, 0, 0.1)
    run = Metalearning(stages_of(config)[0], encoder, dict.fromkeys(config.seeds, weights), list(config.seeds), CPU)
    trained, _ = watched(run.ensemble)
    while run.step < run.n_steps:  # two updates an epoch, of 55 and 20 queries; three epochs
        run._update()
    own = [part[..., :5, :5] for batch in trained for part in batch["factors"].flatten(0, 3)]
    draws = {part.numpy().tobytes() for part in own}
    assert len(own) > 200
    assert len(draws) > 0.99 * len(own)  # of 2²⁵ patterns few come twice by chance


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
def test_the_last_separator_is_read_anew_and_its_own_values_are_left_alone(kind):
    """With nothing left of what stands before it in the context, answers still depend on it, as on any token of the query."""
    s = Setting(TASKS["grid"])
    ablation = s.ablation(kind)
    context, queries = (np.stack([getattr(e, part)[0] for e in s.episodes]) for part in ("context", "queries"))
    queries, levels = queries[:, None, :3], np.array([1.1])
    contexts, own, changed = ablation.batch(context, queries, ablation.draw_all(1, [("a",), ("b",)]), levels)
    assert contexts.shape[-1] == context.shape[1] - 1
    assert (own[..., 0] == s.encoder.vocabulary["<sep>"]).all()
    assert (own[..., 1:] == queries).all()
    for disturbed in changed.values():
        assert disturbed.shape[-2] == context.shape[1] - 1
    if kind == "bernoulli":
        assert not changed["keep"].any()
        ensemble = Ensemble(s.model, s.weights, 1e-3, False, CPU)
        answers = np.zeros((*own.shape[:3], 2), int)
        logits = ensemble.logits(Batch.of_arrays(contexts, own, answers, CPU, **changed))
        own[..., 0] = s.encoder.vocabulary[":"]
        other = ensemble.logits(Batch.of_arrays(contexts, own, answers, CPU, **changed))
        assert (logits - other).abs().max() > 1e-3


def test_attention_dropout_by_hand():
    """Factors are 0 or 1 / (1 - p); with all of them 1 the explicit path is the fused one."""
    s = Setting(TASKS["grid"])
    context = np.stack([e.context for e in s.episodes])
    queries = np.stack([e.queries for e in s.episodes])
    answers = np.stack([e.answers for e in s.episodes])
    factors = attention_dropout(0.25, [("a",), ("b",)], s.model.config, context, queries)
    assert factors.shape == (2, 2, 1, 2, 55 + 25 * 5, 55 + 5)
    assert factors.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (factors == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    ensemble = Ensemble(s.model, s.weights, 1e-3, False, CPU)
    plain = ensemble.logits(Batch.of_arrays(context, queries, answers, CPU))
    ones = ensemble.logits(Batch.of_arrays(context, queries, answers, CPU, factors=torch.ones_like(factors)))
    assert (plain - ones).abs().max() < 1e-10
    dropped = ensemble.logits(Batch.of_arrays(context, queries, answers, CPU, factors=factors))
    assert (plain - dropped).abs().max() > 1e-3


def test_attention_dropout_is_that_of_flat_sequences(monkeypatch):
    """Against Hugging Face's own attention, whose dropout multiplies by the same factors: of every layer, head, row and column."""
    s = Setting(TASKS["grid"])
    s.plain.set_attn_implementation("eager")
    context = np.stack([e.context for e in s.episodes])
    queries, answers = (np.stack([getattr(e, part)[:, :3] for e in s.episodes]) for part in ("queries", "answers"))
    factors = attention_dropout(0.3, [("a",), ("b",)], s.model.config, context, queries)  # [2, layers, 1, heads, C + 3·L, C + L]
    ours = Ensemble(s.model, s.weights, 1e-3, False, CPU).logits(Batch.of_arrays(context, queries, answers, CPU, factors=factors))
    n, length = context.shape[2], queries.shape[3]
    for member, query in product(range(2), range(3)):
        s.plain.load_state_dict(s.weights[member])
        rows = [*range(n), *range(n + query * length, n + (query + 1) * length)]
        of_layers = iter(factors[member][..., rows, :])
        monkeypatch.setattr(torch.nn.functional, "dropout", lambda weights, rest=of_layers, **_: weights * next(rest))
        ids = torch.from_numpy(np.concatenate([context[member, 0], queries[member, 0, query]]).astype(int))[None]
        with torch.no_grad():
            flat = s.plain(input_ids=ids, use_cache=False).logits[0, -2:]
        assert (ours[member, 0, query] - flat).abs().max() < 1e-5
        assert next(of_layers, None) is None
