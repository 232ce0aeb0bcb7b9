"""Finetuning: the plan, and the rows that a real job leaves."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

import models
from data import Encoder, finetuning_batch
from engine.attention import answer_logits
from engine.ensemble import Ensemble
from finetune import Finetuning, finetune, plan
from flags.command_line import parse
from runs.checkpoint import Damaged
from runs.records import TABLES, Recorder
from tasks import make_task
from tests.conftest import TINY, built, configured


@pytest.mark.parametrize(
    ("flags", "conditions"),
    [
        ("--task grid", 2 * 4 * 2),
        ("--task category", 2 * 2 * 2),
        ("--task grid --congruent_only", 2 * 2),
        ("--task grid --congruent_only --test_one_rot_cond", 2),
        ("--task grid --step_cond interleaved", 2 * 4),
        ("--task category --congruent_only --step_cond blocked", 2),
        ("--task category --with_iwl_only", 2 * 2 * 2 * 2),
        ("--task category --with_iwl_only --n_epochs 0", 2 * 2 * 2),
    ],
)
def test_conditions(flags, conditions):
    members = [m for ensemble in plan(configured(flags + " --n_runs 3")) for m in ensemble]
    assert len(members) == len(set(members)) == conditions * 3 * 10


def test_ensembles_share_a_step_curriculum_and_are_bounded():
    ensembles = plan(configured("--task grid --n_runs 3 --max_members 100"))
    assert [len(e) for e in ensembles] == [100, 100, 40, 100, 100, 40]
    assert all(len({m.step_curriculum for m in e}) == 1 for e in ensembles)


def test_hidden_examples_make_smaller_ensembles():
    flags = "--task grid --congruent_only --ablation mask --test_one_rot_cond --max_members 40"  # batches of 5 items
    assert [len(e) for e in plan(configured(f"{flags} --ablation_level 0.2"))] == [8, 2, 8, 2]
    for level in (0, 1):  # nothing or everything is hidden: a batch's items share a context
        assert [len(e) for e in plan(configured(f"{flags} --ablation_level {level}"))] == [10, 10]


@pytest.mark.parametrize("curriculum", ["blocked", "interleaved"])
def test_members_of_one_step_curriculum_are_those_of_both(curriculum):
    flags = "--task grid --n_runs 2 --max_members 20"
    alone = [m for ensemble in plan(configured(f"{flags} --step_cond {curriculum}")) for m in ensemble]
    assert alone == [m for ensemble in plan(configured(flags)) for m in ensemble if m.step_curriculum == curriculum]


def test_rotation_of_metalearning_only():
    members = plan(configured("--task grid --test_one_rot_cond --pt_rot_cond rotated"))[0]
    assert {m.rotation for m in members} == {"rotated"}


def test_rows_of_a_job(finished_job):
    task, folder, _ = finished_job
    rows = pd.read_csv(folder / "finetune_accuracy.csv", keep_default_na=False)
    assert tuple(rows.columns) == TABLES["finetune_accuracy"]
    conditions = rows.drop_duplicates(["seed", "rotation", "context_curriculum", "step_curriculum", "episode"])
    assert len(conditions) == 2 * 2 * {"grid": 4, "category": 2}[task] * 2 * 2
    assert set(rows.init) == {"metalearned"}
    one = rows[(rows.seed == 0) & (rows.rotation == "unrotated") & (rows.context_curriculum == "blocked") & (rows.episode == 1)]
    for steps, groups in (("blocked", ["", "A", "B"]), ("interleaved", ["", "all", "all"])):
        part = one[(one.step_curriculum == steps) & (one.subset == "novel")]
        # two blocks of 13 updates, tested at 0, every 5, and at each block's end
        assert part.step.tolist() == [0, 5, 10, 13, 15, 20, 25, 26]
        assert part.block.tolist() == ["", 0, 0, 0, 1, 1, 1, 1] or part.block.tolist() == ["", *"0001111"]
        assert part.trained_group.tolist() == [groups[0]] + [groups[1]] * 3 + [groups[2]] * 4
    sizes = one.groupby("subset").n_queries.unique().map(list).to_dict()
    expected = {"grid": {"study_A": [5], "study_B": [4], "novel": [16]}, "category": {"study_A": [4], "study_B": [4], "novel": [8]}}
    assert sizes == expected[task]
    assert (rows.n_correct <= rows.n_queries).all()
    assert not rows.duplicated([*TABLES["finetune_accuracy"][:6], "step", "subset"]).any()
    losses = pd.read_csv(folder / "finetune_loss.csv")
    assert sorted(set(losses.step)) == [10, 13, 20, 26]


def test_few_shot_is_the_same_before_either_step_curriculum(finished_job):
    rows = pd.read_csv(finished_job[1] / "finetune_accuracy.csv")
    first = rows[rows.step == 0].drop(columns=["block", "trained_group"])
    blocked, interleaved = (
        first[first.step_curriculum == c]
        .drop(columns="step_curriculum")
        .sort_values(["seed", "rotation", "context_curriculum", "episode", "subset"])
        for c in ("blocked", "interleaved")
    )
    assert (blocked.reset_index(drop=True) == interleaved.reset_index(drop=True)).all().all()


@pytest.fixture
def setting(tmp_path):
    config = parse([*TINY["grid"].split(), "--finetune_lr", "0.01"])
    encoder = Encoder(config, make_task(config))
    model = built(config, encoder)
    job = Recorder(tmp_path / "job", config.defining_values(), {}, {}, save_minutes=10)
    return config, encoder, model, job


@pytest.mark.parametrize("curriculum", ["blocked", "interleaved"])
@pytest.mark.parametrize("batch_size", [5, 2])
def test_a_member_against_a_plain_loop(setting, curriculum, batch_size):
    """One member, written out: plain Adam on the batches of its group, its optimiser living through the blocks."""
    config, encoder, model, job = setting
    config = dataclasses.replace(config, finetune_bs=batch_size)
    member = next(m for ensemble in plan(config) for m in ensemble if (m.step_curriculum, m.episode) == (curriculum, 1))
    weights = models.draw_weights(model, 0, 0.1)
    ensemble = Ensemble(model, [weights], config.finetune_lr, causal=False, device=torch.device("cpu"))
    run = Finetuning(config, encoder, [member], ensemble, 0)
    job.start("finetuning", run.n_steps, 0)
    run.run(job)
    job.close()

    plain = built(config, encoder)
    plain.load_state_dict(weights)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    e = encoder.episodes(0, "test", member.rotation, member.context_curriculum, 2).one(member.episode)
    context, queries, answers = (torch.from_numpy(x.astype(int)) for x in (e.context, e.queries, e.answers))
    key = (0, "finetuning batches", member.rotation, member.context_curriculum, curriculum, 1)
    losses, trained = [], []
    for step in range(26):
        block, step_in_block = divmod(step, 13)
        group = range(9) if curriculum == "interleaved" else (range(5), range(5, 9))[block]  # A: the first five study items
        items = finetuning_batch(np.array(group), batch_size, step_in_block, *key, block)
        trained.append(len(items))
        logits = answer_logits(plain, context, queries[:, items], 2, causal=False)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 2), answers[:, items].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    sizes = {("blocked", 5): [5, 5], ("interleaved", 5): [5, 4], ("blocked", 2): [2, 2, 1], ("interleaved", 2): [2, 2, 2, 2, 1]}
    expected = sizes[curriculum, batch_size]
    assert trained[: len(expected)] == expected
    written = pd.read_csv(job.folder / "finetune_loss.csv").loss.tolist()
    means = [np.mean(losses[a:b]) for a, b in ((0, 10), (10, 13), (13, 20), (20, 26))]
    assert written == pytest.approx(means, rel=1e-3)
    accuracy = pd.read_csv(job.folder / "finetune_accuracy.csv")
    with torch.no_grad():
        predicted = answer_logits(plain, context, queries, 2, causal=False).argmax(-1)
    right = (predicted == answers).all(-1)[0]
    last = accuracy[accuracy.step == 26].set_index("subset").n_correct
    assert [last["study_A"], last["study_B"], last["novel"]] == [right[:5].sum(), right[5:9].sum(), right[9:].sum()]


def test_few_shot_is_that_of_the_kept_weights(finished_job):
    """The rows at step 0, counted again with a plain model from best_seedN.safetensors; initial weights give others."""
    task, folder, _ = finished_job
    config = parse([*TINY[task].split(), "--n_runs", "2"])
    encoder = Encoder(config, make_task(config))
    model = built(config, encoder)
    rows = pd.read_csv(folder / "finetune_accuracy.csv").query("step == 0 and step_curriculum == 'blocked'")
    keys = ["seed", "rotation", "context_curriculum", "episode", "subset"]
    written = rows.set_index(keys).n_correct
    for seed in (0, 1):
        kept = models.load_weights(folder / "checkpoints" / f"best_seed{seed}.safetensors", model)
        counted = {name: [] for name in ("kept", "initial")}
        there = []
        for name, weights in (("kept", kept), ("initial", models.draw_weights(model, seed, config.init_scale))):
            model.load_state_dict(weights)
            for rotation in ("unrotated", "rotated"):
                for context in encoder.task.curricula:
                    e = encoder.episodes(seed, "test", rotation, context, 2)
                    ids = [torch.from_numpy(x.astype(int)) for x in (e.context, e.queries, e.answers)]
                    with torch.no_grad():
                        predicted = answer_logits(model, ids[0], ids[1], ids[2].shape[2], causal=False).argmax(-1)
                    right = (predicted == ids[2]).all(-1).numpy()
                    for i in range(2):
                        for s, subset in enumerate(e.subsets):
                            counted[name].append(int(right[i][e.subset[i] == s].sum()))
                            there.append(int(written[seed, rotation, context, i, subset]))
        assert counted["kept"] == there[: len(there) // 2]
        assert counted["initial"] != counted["kept"]


def test_company_changes_nothing(setting, tmp_path):
    config, encoder, model, _ = setting
    members = plan(config)[0][:3]
    weights = models.draw_weights(model, 0, 0.1)
    rows = {}
    for name, chosen in (("together", members), ("alone", members[1:2])):
        job = Recorder(tmp_path / name, {}, {}, {}, save_minutes=10)
        ensemble = Ensemble(model, [weights] * len(chosen), config.finetune_lr, causal=False, device=torch.device("cpu"))
        run = Finetuning(config, encoder, chosen, ensemble, 0)
        job.start("finetuning", run.n_steps, 0)
        run.run(job)
        job.close()
        losses = pd.read_csv(job.folder / "finetune_loss.csv")
        rows[name] = losses[losses.episode == members[1].episode].query("context_curriculum == @members[1].context_curriculum")
    assert rows["together"].loss.to_numpy() == pytest.approx(rows["alone"].loss.to_numpy(), rel=1e-3)


def test_every_member_starts_from_its_seeds_weights_with_finetunings_own_optimiser(tmp_path):
    """--finetune_lr and --finetune_beta2, without metalearning's rate and weight decay; causal answers one position earlier."""
    flags = "--lm_task causal --n_runs 2 --congruent_only --n_blocks 1 --n_steps_per_block 5 --max_members 40"
    flags = f"{flags} --pretrain_lr 0.1 --adam_beta2 0.9 --weight_decay 9"
    config = configured(f"{TINY['grid']} {flags} --finetune_lr 0.003 --finetune_beta2 0.5")
    encoder = Encoder(config, make_task(config))
    model = built(config, encoder)

    def weights_of(seed, init):
        assert init == "metalearned"
        return models.draw_weights(model, seed, 0.1)

    whole = Recorder(tmp_path / "whole", {}, {}, {}, save_minutes=10)
    finetune(config, encoder, model, weights_of, whole, torch.device("cpu"))
    whole.close()
    by_hand = Recorder(tmp_path / "by_hand", {}, {}, {}, save_minutes=10)
    by_hand.start("finetuning", 10, 0)
    for index, members in enumerate(plan(config)):
        weights = [weights_of(m.seed, m.init) for m in members]
        ensemble = Ensemble(model, weights, 0.003, causal=True, device=torch.device("cpu"), beta2=0.5)
        Finetuning(config, encoder, members, ensemble, index).run(by_hand)
    by_hand.close()
    for name in ("finetune_loss.csv", "finetune_accuracy.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "by_hand" / name).read_bytes(), name


def test_a_job_whose_models_were_grouped_otherwise_does_not_resume(tmp_path):
    """An earlier version may have made other ensembles with the same flags: resumed in them, a job would lack rows in silence."""
    flags = "--congruent_only --test_one_rot_cond --n_test 5 --step_cond interleaved --n_blocks 1 --n_steps_per_block 4"
    plans = {size: configured(f"{TINY['grid']} {flags} --max_members {size}") for size in (2, 4, 10)}
    assert [[len(e) for e in plan(config)] for config in plans.values()] == [[2, 2, 1], [4, 1], [5]]
    encoder = Encoder(plans[2], make_task(plans[2]))
    model = built(plans[2], encoder)
    weights = models.draw_weights(model, 0, 0.1)

    def job():
        return Recorder(tmp_path / "job", {}, {}, {}, save_minutes=10)

    begun = job()
    begun.start("finetuning", 12, 0)
    for index, members in enumerate(plan(plans[2])[:2]):
        run = Finetuning(plans[2], encoder, members, Ensemble(model, [weights] * 2, 0.01, False, torch.device("cpu")), index)
        if index == 0:
            run.run(begun)
    run.update(0, 0, "all")
    begun.save(*run.state())
    begun.close()
    for size in (4, 10):  # another number of models at this place, and no such place
        with pytest.raises(Damaged, match="grouped its models otherwise"):
            finetune(plans[size], encoder, model, lambda *_: weights, job(), torch.device("cpu"))
    moved = job()
    moved.state["first_member"][-1] += 1  # as many models, and others
    with pytest.raises(Damaged, match="grouped its models otherwise"):
        finetune(plans[2], encoder, model, lambda *_: weights, moved, torch.device("cpu"))
    resumed = job()
    finetune(plans[2], encoder, model, lambda *_: weights, resumed, torch.device("cpu"))
    resumed.close()
    assert sorted(pd.read_csv(resumed.folder / "finetune_accuracy.csv").episode.unique()) == [0, 1, 2, 3, 4]
