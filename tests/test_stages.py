"""Metalearning through stages, at a size of seconds."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import torch

import models
from data import Encoder
from engine.attention import answer_logits
from engine.rounds import OldState, Rounds
from engine.seeds import SeedProgress
from flags.stages import stages_of
from pretrain import Metalearning, metalearn
from runs.records import Recorder
from tasks import make_task
from tests.conftest import TINY, built, configured

CPU = torch.device("cpu")
# In the first stage two of six seeds reach the bar after four updates, and the others miss it.
STAGES = (
    {"n_in_context": 4, "n_layers": 1, "queries_per_episode": 2, "pretrain_bs": 20, "pretrain_steps": 8, "bar": 0.35},
    {"n_layers": 1, "pretrain_steps": 7, "bar": 0.4},
)
LAST = "--test_every 1 --print_every 4 --pretrain_steps 10 --keep_by loss --readout_steps 6"
OF_TASK = {"category": "--n_labels 4 --readout_lr 0.001", "grid": ""}


def staged(flags: str = "", stages=STAGES, task: str = "category"):
    """The configuration of a tiny job with stages, and its episodes."""
    config = dataclasses.replace(configured(f"{TINY[task]} {LAST} {OF_TASK[task]} {flags}"), stages=stages)
    return config, Encoder(config, make_task(config))


def metalearned(folder, config, encoder, job=None):
    """The tables that metalearning leaves, and the kept weights of each seed."""
    job = job or Recorder(folder, config.defining_values(), {}, {}, save_minutes=10)
    metalearn(config, encoder, {}, job, CPU)
    job.close()
    model = built(config, encoder)
    kept = {seed: models.load_weights(job.checkpoints / f"best_seed{seed}.safetensors", model) for seed in config.seeds}
    return pd.read_csv(folder / "pretrain_accuracy.csv"), pd.read_csv(folder / "pretrain_loss.csv"), kept


def recorder(folder) -> Recorder:
    return Recorder(folder, {}, {}, {}, save_minutes=10)


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_every_stage_has_its_rows_and_ends_at_its_bar(tmp_path):
    """Steps begin anew in each stage. 4 episodes have 48 novel queries with 4 study items, and 32 with 8."""
    config, encoder = staged("--n_runs 6")
    accuracy, losses, _ = metalearned(tmp_path, config, encoder)
    n_steps = {1: 8, 2: 7, 3: 10}
    ends = []
    for (seed, stage), rows in accuracy[accuracy.subset == "novel"].groupby(["seed", "stage"]):
        assert set(rows.n_queries) == {48 if stage == 1 else 32}
        passed = rows.n_correct >= {1: 0.35, 2: 0.4, 3: 2}[stage] * rows.n_queries
        last = rows.step.max()
        assert rows.step.tolist() == list(range(last + 1))
        assert not passed[:-1].any()
        assert passed.iloc[-1] or last == n_steps[stage]
        ends.append((stage, int(last)))
        written = losses[(losses.seed == seed) & (losses.stage == stage)].step
        assert sorted(set(written)) == sorted({*range(4, last + 1, 4), *([last] if last else [])})
    assert len(ends) == 3 * 6
    assert {last for stage, last in ends if stage == 1} == {4, 8}, "other bars are needed"


def test_what_reaches_the_bar_waits_and_goes_on_to_the_next_stage(tmp_path):
    """The weights of that validation, whatever the others do after it, and although an earlier model had a lower loss."""
    config, encoder = staged("--n_runs 6")
    first, second, _ = stages_of(config)
    run = Metalearning(first, encoder, {}, list(config.seeds), CPU)
    for seed in run.active:
        seed.kept_loss = 0.0
    job = recorder(tmp_path / "all")
    run.run(job, job.save)
    job.close()
    rows = pd.read_csv(job.folder / "pretrain_accuracy.csv").query("subset == 'novel'")
    assert not rows.is_best.any()
    ends = rows[rows.n_correct >= 0.35 * 48].groupby("seed").step.max()
    assert 0 < len(ends) < 6, "other bars are needed"
    for seed in config.seeds:
        alone = Metalearning(first, encoder, {}, [seed], CPU)
        for _ in range(ends.get(seed, 0)):
            alone._update()
        for name, tensor in alone.ensemble.weights(0).items():
            assert (tensor - run.kept[seed][name]).abs().max() < 1e-4, name
    entered = Metalearning(second, encoder, run.kept, list(config.seeds), CPU)
    for member, seed in enumerate(config.seeds):
        assert same(entered.ensemble.weights(member), run.kept[seed])


def test_a_seed_is_the_same_alone_and_in_company_through_all_stages(tmp_path):
    config, encoder = staged("--n_runs 3 --restarts 1")
    together, _, kept = metalearned(tmp_path / "together", config, encoder)
    alone, alone_encoder = staged("--seed 1 --restarts 1")
    rows, _, kept_alone = metalearned(tmp_path / "alone", alone, alone_encoder)
    columns = ["stage", "step", "epoch", "subset", "n_correct", "is_best"]
    assert rows[columns].to_numpy().tolist() == together.loc[together.seed == 1, columns].to_numpy().tolist()
    assert rows.loss.tolist() == pytest.approx(together.loss[together.seed == 1].tolist(), rel=1e-3)
    for name, tensor in kept_alone[1].items():
        assert (tensor - kept[1][name]).abs().max() < 1e-3, name


def test_a_seed_that_misses_its_bar_starts_with_the_first_stage_again(tmp_path, capsys):
    """No seed can reach these bars, so that of each seed later stages are in the last start alone."""
    stages = tuple({**stage, "bar": 1.0} for stage in STAGES)
    config, encoder = staged("--n_runs 2 --restarts 2 --print_every 1", stages)
    accuracy, losses, _ = metalearned(tmp_path / "job", config, encoder)
    steps = {1: list(range(25)), 2: list(range(15, 22)), 3: list(range(21, 31))}
    for (_, stage), rows in accuracy[accuracy.subset == "novel"].groupby(["seed", "stage"]):
        assert rows.step.tolist() == steps[stage]
    for (_, stage), rows in losses.groupby(["seed", "stage"]):
        assert sorted(set(rows.step)) == [step for step in steps[stage] if step]
    said = capsys.readouterr().err
    for stage, restart, what in ((1, 1, "it restarts"), (1, 2, "it restarts"), (2, 2, "it enters the next stage")):
        assert f"less than the 1.0 of stage {stage}: {what} (restart {restart} of at most 2)" in said
    assert said.count("it enters the next stage") == 2 * 2
    first, second, _ = stages_of(config)
    drawn = []
    for start in range(3):
        run = Metalearning(first, encoder, {}, [0, 1], CPU, start)
        drawn.append(run.ensemble.weights(1))
        assert same(drawn[start], models.initial_weights(run.model, config, encoder, 1, start))
    assert not any(same(one, other) for one, other in itertools.combinations(drawn, 2))
    trained = []
    for start in range(3):
        run = Metalearning(second, encoder, run.kept, [0, 1], CPU, start)
        run._update()
        trained.append(run.ensemble.weights(0)["lm_head.weight"])
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(trained, 2))


def test_seeds_go_their_own_ways_through_starts_and_stages(tmp_path):
    """A seed is in the second stage if it has reached the bar of the first, or in its last start. Nobody learns in the end."""
    config, encoder = staged("--n_runs 6 --restarts 2", STAGES[:1])
    accuracy, *_ = metalearned(tmp_path, config, encoder)
    went = set()
    for seed, rows in accuracy[accuracy.subset == "novel"].groupby("seed"):
        there = {stage: set(of_stage.step) for stage, of_stage in rows.groupby("stage")}
        for start in range(3):
            of_stage = rows[(rows.stage == 1) & (rows.step > 8 * start - (start == 0)) & (rows.step <= 8 * (start + 1))]
            passed = of_stage.n_correct.max() >= 0.35 * 48
            assert passed or of_stage.step.max() == 8 * (start + 1)
            goes_on = passed or start == 2
            went.add((start, goes_on))
            assert {10 * start + k for k in range(1, 11)} & there[2] == {10 * start + k for k in range(1, 11) if goes_on}, seed
    assert {(0, True), (0, False), (2, True)} <= went, "other bars are needed"


def test_the_kept_model_of_a_seed_is_that_of_its_own_starts_stages(tmp_path):
    """In its second start alone a seed gets to the last stage. There it is as after the same updates one by one, from the weights
    that the second start's first stage kept."""
    config, encoder = staged("--restarts 1", ({**STAGES[0], "bar": 1.0},))
    accuracy, _, kept = metalearned(tmp_path, config, encoder)
    best = accuracy[accuracy.is_best == 1].groupby("stage").step.max()
    of_second = accuracy[(accuracy.stage == 1) & (accuracy.step > 8) & (accuracy.is_best == 1)].step
    run = Metalearning(stages_of(config)[0], encoder, {}, [0], CPU, start=1)
    for _ in range(of_second.max() - 8):
        run._update()
    run = Metalearning(stages_of(config)[1], encoder, {0: run.ensemble.weights(0)}, [0], CPU, start=1)
    for _ in range(best[2] - 10):
        run._update()
    assert same(run.ensemble.weights(0), kept[0])


def test_at_first_the_readout_alone_is_trained():
    """Six updates of each start of the first stage, from a readout of zeros; then everything, with a new Adam."""
    config, encoder = staged("--n_runs 2")
    first, second, _ = stages_of(config)
    run = Metalearning(first, encoder, {}, [0, 1], CPU)
    before = run.ensemble.weights(1)
    assert not before["lm_head.weight"].any()
    for step in range(6):
        run._update()
        now = run.ensemble.weights(1)
        assert {name for name in now if not torch.equal(now[name], before[name])} == {"lm_head.weight"}, step
    run._update()
    after = run.ensemble.weights(1)
    changed = {name for name in after if not torch.equal(after[name], now[name])}
    assert changed == after.keys()
    # an Adam's first update moves each weight by its rate, whatever the size of its gradient
    moved = (after["lm_head.weight"] - now["lm_head.weight"]).abs()
    assert moved.max() == pytest.approx(0.01, rel=1e-3)
    later = Metalearning(second, encoder, dict(enumerate(map(run.ensemble.weights, range(2)))), [0, 1], CPU)
    entered = later.ensemble.weights(0)
    later._update()
    assert {name for name, tensor in later.ensemble.weights(0).items() if not torch.equal(tensor, entered[name])} == entered.keys()


def test_warm_up_and_falling_rate_come_after_the_readouts_updates():
    """Eleven updates: three of the readout, two of warm-up, and then eight that would end at 0 with a twelfth."""
    flags = "--pretrain_lr 0.02 --readout_steps 3 --readout_lr 0.05 --warmup_steps 2 --lr_schedule linear"
    config, encoder = staged(f"{flags} --pretrain_steps 11 --restarts 1", ())
    run = Metalearning(stages_of(config)[0], encoder, {}, [0], CPU)
    for start in range(2):
        rates = []
        for run.step in range(start * 11, start * 11 + 11):
            rates.append(0.02 * run.rate())
        falling = [0.02 * k / 7 for k in range(6, 0, -1)]
        assert rates == pytest.approx([0.05] * 3 + [0.01, 0.02] + falling)
        run.step += 1
        run = Metalearning(stages_of(config)[0], encoder, {}, [0], CPU, start=1)


@pytest.mark.parametrize("task", ["grid", "category"])
def test_a_grown_model_answers_alike_and_then_trains_its_new_layers(task, tmp_path):
    config, encoder = staged("--n_layers 4", ({"n_layers": 2, "pretrain_steps": 9},), task)
    first, last = stages_of(config)
    small = Metalearning(first, encoder, {}, [0], CPU)
    for _ in range(9):
        small._update()
    weights = small.ensemble.weights(0)
    large = Metalearning(last, encoder, {0: weights}, [0], CPU)
    grown = large.ensemble.weights(0)
    assert same({name: grown[name] for name in weights}, weights)
    assert len(grown) == len(weights) + 2 * 9
    e = encoder.episodes(0, "validation", "unrotated", "blocked", 4)
    tokens = [torch.from_numpy(x.astype(int)) for x in (e.context, e.queries)]
    logits = []
    for run, of_model in ((small, weights), (large, grown)):
        run.model.load_state_dict(of_model)
        with torch.no_grad():
            logits.append(answer_logits(run.model, *tokens, e.answers.shape[2], causal=False))
    assert logits[0].std() > 0.1
    assert (logits[0] - logits[1]).abs().max() < 1e-6
    for _ in range(2):
        large._update()
    trained = large.ensemble.weights(0)
    for name in grown.keys() - weights.keys():
        assert not torch.equal(trained[name], grown[name]), name


def test_kept_is_the_lowest_loss_on_novel_queries_and_the_table_has_it(tmp_path):
    """The first strict minimum; the loss, counted again query by query in flat sequences from the kept weights."""
    config, encoder = staged("--n_runs 3 --pretrain_steps 30 --pretrain_lr 0.03", STAGES[:1])
    accuracy, _, kept = metalearned(tmp_path, config, encoder)
    model = built(config, encoder)
    rises = 0
    for seed in config.seeds:
        novel = accuracy[(accuracy.seed == seed) & (accuracy.stage == 2) & (accuracy.subset == "novel")]
        before = novel.loss.cummin().shift(fill_value=np.inf)
        assert ((novel.loss < before) == (novel.is_best == 1)).all()
        rises += int((novel.is_best == 0).sum())
        step = novel.step[novel.is_best == 1].max()
        rows = accuracy[(accuracy.seed == seed) & (accuracy.stage == 2) & (accuracy.step == step)].set_index("subset")
        model.load_state_dict(kept[seed])
        e = encoder.episodes(seed, "validation", "unrotated", "blocked", 4)
        losses = {subset: [] for subset in e.subsets}
        for i, q in itertools.product(range(4), range(16)):
            context, query = (torch.from_numpy(x.astype(int))[None] for x in (e.context[i], e.queries[i, q : q + 1]))
            with torch.no_grad():
                logits = answer_logits(model, context, query, 1, causal=False)[0, 0, 0].double()
            losses[e.subsets[e.subset[i, q]]].append(float(logits.logsumexp(0) - logits[int(e.answers[i, q, 0])]))
        for subset, of_subset in losses.items():
            assert len(of_subset) == rows.n_queries[subset]
            assert rows.loss[subset] == pytest.approx(np.mean(of_subset), rel=1e-4)
    assert rises, "other flags are needed"


def test_an_equal_loss_or_count_is_no_new_best():
    """Of the same loss the earlier model is kept, however many answers are right; by accuracy the other way round."""
    seed = SeedProgress(0)
    found = [seed.take(*of, "loss") for of in ((3, 0.5), (9, 0.5), (2, 0.25), (9, 0.4))]
    assert (found, seed.kept, seed.kept_loss, seed.best, seed.stale) == ([True, False, True, False], 2, 0.25, 9, 1)
    seed = SeedProgress(0)
    found = [seed.take(*of, "accuracy") for of in ((3, 0.5), (3, 0.1), (4, 0.9), (2, 0.0))]
    assert (found, seed.kept, seed.kept_loss, seed.best, seed.stale) == ([True, False, True, False], 4, 0.9, 4, 1)


class Killed(Exception):
    pass


class DyingRecorder(Recorder):
    """Saves after each update; dies right before, or right after, the first save that `kill` names; notes the name of each."""

    kill: object = None
    before = False

    def __init__(self, *of):
        super().__init__(*of, save_minutes=0)
        self.names = []

    def save_due(self):
        return True

    def save(self, tensors, state):
        self.names.append(tuple(state.get(name) for name in ("phase", "chunk", "start", "stage", "step")))
        if self.names[-1] == self.kill and self.before:
            raise Killed
        super().save(tensors, state)
        if self.names[-1] == self.kill:
            raise Killed


@pytest.mark.parametrize("before", [True, False])
def test_a_job_killed_inside_each_stage_and_between_two_leaves_the_same_bytes(tmp_path, before):
    """Four seeds, three of them at once, of which one passes the first stage sooner. In each start and stage: at the first save, in
    the middle, and at the last; and between stages, starts and chunks."""
    config, encoder = staged(
        "--n_runs 4 --max_members 3 --restarts 1 --pretrain_steps 5", (STAGES[0], {**STAGES[1], "pretrain_steps": 4})
    )
    job = DyingRecorder(tmp_path / "undisturbed", config.defining_values(), {}, {})
    metalearned(tmp_path / "undisturbed", config, encoder, job)
    within = [name for name in job.names if name[0] == "metalearning"]
    moments = [name for name in job.names if name[0] != "metalearning"]
    for _, of_stage in itertools.groupby(within, key=lambda name: name[1:4]):
        updates = list(of_stage)
        moments += [updates[0], updates[len(updates) // 2], updates[-1]]
    there = {name[1:4] for name in within}
    assert there >= {(0, 0, 1), (0, 0, 2), (0, 1, 1), (0, 1, 2), (0, 1, 3), (1, 0, 1)}, "other bars are needed"
    for kill in sorted(set(moments), key=job.names.index):
        job = DyingRecorder(tmp_path / "killed", config.defining_values(), {}, {})
        job.kill, job.before = kill, before
        with pytest.raises(Killed):
            metalearn(config, encoder, {}, job, CPU)
        job.close()
    metalearned(tmp_path / "killed", config, encoder)
    files = [*(tmp_path / "undisturbed").glob("*.csv"), *(tmp_path / "undisturbed").glob("checkpoints/best*")]
    assert len(files) == 4 + 4
    for path in files:
        assert path.read_bytes() == (tmp_path / "killed" / path.relative_to(tmp_path / "undisturbed")).read_bytes(), path.name


def test_no_held_out_pair_of_dimensions_is_metalearned_in_any_stage():
    """Of 20 · 19 ordered pairs, 300 are metalearned, so any other draw in a stage would show."""
    config, encoder = staged("--n_train 300 --n_val 60 --n_test 20")
    held_out = {tuple(p) for split, n in (("validation", 60), ("test", 20)) for p in encoder.task._dimension_pairs(0, split, n)}
    assert len(held_out) == 80
    for stage in stages_of(config):
        of_stage = encoder.of(stage.config)
        pairs = of_stage.task._dimension_pairs(0, "metalearning", 300)
        assert len({tuple(pair) for pair in pairs}) == 300
        assert held_out.isdisjoint(tuple(pair) for pair in pairs)
        run = Metalearning(stage, encoder, {}, [0], CPU)
        for context, pair in zip(run.episodes[0].context, pairs, strict=True):
            words = [word.split("_") for word in encoder.text(context).split(" ") if word.startswith("symbol_")]
            assert {int(dim) for _, dim, _ in words} == set(pair.tolist())
            assert len(words) == 2 * stage.config.n_in_context


def test_no_held_out_names_are_metalearned_in_any_stage():
    """Of the 14,400 ways to name an episode's colours and animals, all but 20 are drawn."""
    flags = "--real_words --generate_all --n_train 14200 --n_val 100 --n_test 10"
    config, encoder = staged(flags, ({"p_flip_xy": 0.0, "n_layers": 1, "pretrain_steps": 1}, {"n_layers": 1}), "grid")
    task = encoder.task

    def names(of, split, n, rotation="unrotated", curriculum="blocked"):
        return {row.tobytes() for row in of._episode_names(0, split, rotation, curriculum, n)}

    held_out = names(task, "validation", 100)
    for rotation, curriculum in itertools.product(("unrotated", "rotated"), task.curricula):
        held_out |= names(task, "test", 10, rotation, curriculum)
    assert len(held_out) == 180
    for stage in stages_of(config):
        of_stage = names(encoder.of(stage.config).task, "metalearning", 14200)
        assert len(of_stage) == 14200
        assert held_out.isdisjoint(of_stage)


def test_episodes_without_flips_are_the_same_but_for_their_answers():
    """Of a stage and of the last one: the same names and cells."""
    config, encoder = staged("--n_train 40", ({"p_flip_xy": 0.0},), "grid")
    first, last = (Metalearning(stage, encoder, {}, [0], CPU).episodes[0] for stage in stages_of(config))
    assert np.array_equal(first.queries, last.queries)
    is_flipped = (first.answers != last.answers).any((1, 2))
    assert 10 < is_flipped.sum() < 30
    assert np.array_equal(first.answers[is_flipped], last.answers[is_flipped][..., ::-1])


def test_a_state_of_a_program_that_started_one_stage_again_is_refused():
    """Of its seeds those that had passed were not told apart from those that had not begun."""
    state = {"phase": "metalearning", "stage": 1, "start": 1, "step": 9, "active": [{"seed": 1}], "stopped": []}
    with pytest.raises(OldState, match="pass --no_resume to start anew"):
        Rounds(2, 2, {}, [0, 1]).restore({}, state)
    rounds = Rounds(1, 2, {}, [0, 1])
    rounds.restore({"kept/0/a": torch.ones(1), "kept/1/a": torch.zeros(1)}, state)
    assert (rounds.going, sorted(rounds.kept)) == ([1], [0, 1])
