"""Metalearning on a real folder, at a size of seconds."""

import json

import pandas as pd
import pytest
import torch

import models
from analysis.measures.summary import summarise
from data import Encoder
from engine.ensemble import DivergedError
from engine.seeds import SeedProgress
from flags.command_line import parse
from flags.stages import stages_of
from pretrain import Metalearning, metalearn
from runs.records import Recorder
from tasks import make_task
from tests.conftest import TINY, built, configured

CPU = torch.device("cpu")


# Of the six pairs of three dimensions, four are learned by heart: then some seeds answer the validation pair.
FEW_PAIRS = "--n_task_dims 3 --n_train 4 --n_val 1 --n_test 1 --n_epochs 60 --test_every 1 --pretrain_bs 64"


def metalearned(tmp_path, flags: str, task: str = "grid", name: str = "job"):
    """Config, folder, and the kept weights of each seed."""
    config = parse([*TINY[task].split(), *flags.split()])
    encoder = Encoder(config, make_task(config))
    model = built(config, encoder)
    job = Recorder(tmp_path / name, config.defining_values(), {}, {}, save_minutes=10)
    metalearn(config, encoder, {}, job, CPU)
    job.close()
    kept = {seed: models.load_weights(job.checkpoints / f"best_seed{seed}.safetensors", model) for seed in config.seeds}
    return config, job.folder, kept, model, encoder


@pytest.mark.parametrize("task", ["grid", "category"])
def test_validations_and_losses_come_when_they_should(tmp_path, task):
    # grid: 24 × 25 / 55 = 10.9, 11 updates an epoch; category: 24 × 16 / 40 = 9.6, 10 updates
    per_epoch = {"grid": 11, "category": 10}[task]
    _, folder, *_ = metalearned(tmp_path, "--n_runs 2", task)
    accuracy, loss = pd.read_csv(folder / "pretrain_accuracy.csv"), pd.read_csv(folder / "pretrain_loss.csv")
    ends = {per_epoch, 2 * per_epoch, 3 * per_epoch}
    last = 3 * per_epoch
    assert sorted(set(accuracy.step)) == sorted({0, *range(7, last + 1, 7), *ends})
    assert sorted(set(loss.step)) == sorted({*range(5, last + 1, 5), *ends})
    assert not accuracy.duplicated(["seed", "step", "subset"]).any()
    epochs = accuracy.drop_duplicates("step").set_index("step").epoch
    assert epochs[0] == 0
    assert epochs[per_epoch] == 1
    assert epochs[7 * (per_epoch // 7 + 1)] == 2
    sizes = accuracy[accuracy.step == 0].groupby("subset").n_queries.first().to_dict()
    expected = {"grid": {"study_A": 20, "study_B": 16, "novel": 64}, "category": {"study_A": 16, "study_B": 16, "novel": 32}}
    assert sizes == expected[task]


def test_the_kept_model_is_the_first_strict_maximum(tmp_path):
    config, folder, kept, *_ = metalearned(tmp_path, "--n_runs 2 --n_epochs 6 --pretrain_lr 0.01")
    accuracy = pd.read_csv(folder / "pretrain_accuracy.csv")
    novel = accuracy[accuracy.subset == "novel"]
    for seed, of_seed in novel.groupby("seed"):
        best_so_far = of_seed.n_correct.cummax().shift(fill_value=-1)
        assert ((of_seed.n_correct > best_so_far) == (of_seed.is_best == 1)).all()
        kept_at = int(of_seed[of_seed.is_best == 1].step.max())
        # the same job, stopped there by its number of epochs or not at all, has these weights
        *_, encoder = metalearned(tmp_path, f"--seed {seed} --n_epochs 0", name=f"start{seed}")
        run = Metalearning(stages_of(config)[0], encoder, {}, [0, 1], CPU)
        for _ in range(kept_at):
            run._update()
        for name, tensor in run.ensemble.weights(list(config.seeds).index(seed)).items():
            assert torch.equal(tensor, kept[seed][name]), name


def test_no_epochs_keep_the_initial_weights(tmp_path):
    _, folder, kept, model, _ = metalearned(tmp_path, "--n_epochs 0 --seed 3 --iwl_init_scale 0.05")
    for name, tensor in models.draw_weights(model, 3, 0.05).items():
        assert torch.equal(tensor, kept[3][name])
    assert set(pd.read_csv(folder / "pretrain_accuracy.csv").step) == {0}


def test_seeds_stop_early_each_for_itself(tmp_path):
    _, folder, *_ = metalearned(tmp_path, "--n_runs 4 --n_epochs 12 --stop_early --patience 3 --pretrain_lr 0.003")
    accuracy = pd.read_csv(folder / "pretrain_accuracy.csv")
    novel = accuracy[accuracy.subset == "novel"]
    lasts = {}
    for seed, of_seed in novel.groupby("seed"):
        stale = len(of_seed) - 1 - of_seed.is_best.to_numpy().nonzero()[0][-1]
        lasts[seed] = of_seed.step.max()
        assert stale == 3 or (lasts[seed] == 12 * 11 and stale < 3)
        # no three in a row before that
        assert "000" not in "".join(map(str, of_seed.is_best[:-1]))
    assert len(set(lasts.values())) > 1
    loss = pd.read_csv(folder / "pretrain_loss.csv")
    assert loss.groupby("seed").step.max().to_dict() == lasts
    for seed, steps in loss.groupby("seed").step.unique().items():  # others' stops leave no rows
        assert set(steps) == {s for s in range(1, lasts[seed] + 1) if s % 5 == 0 or s % 11 == 0 or s == lasts[seed]}
    assert not loss.duplicated(["seed", "step", "subset"]).any()


def test_a_perfect_seed_stops_as_no_later_model_could_be_kept(tmp_path):
    """In some seeds the validation pair has, by chance, the labels of the same pair written the other way round, and is
    answered all right."""
    n_perfect = 0
    for seed in (0, 1, 6, 9):
        _, whole, kept, *_ = metalearned(tmp_path, f"{FEW_PAIRS} --seed {seed}", "category", f"whole{seed}")
        _, stopped, kept_early, *_ = metalearned(tmp_path, f"{FEW_PAIRS} --seed {seed} --stop_early", "category", f"stopped{seed}")
        novel = pd.read_csv(whole / "pretrain_accuracy.csv").query("subset == 'novel'")
        perfect = novel[novel.n_correct == novel.n_queries]
        last = perfect.step.min() if len(perfect) else novel.step.max()
        assert pd.read_csv(stopped / "pretrain_accuracy.csv").step.max() == last
        assert all(torch.equal(tensor, kept_early[seed][name]) for name, tensor in kept[seed].items())
        n_perfect += bool(len(perfect))
    assert n_perfect, "other flags are needed"


def test_seeds_that_have_not_learned_start_again(tmp_path):
    """Ten seeds of which some learn. The others have three starts, and keep the best model of all of them."""
    flags = f"{FEW_PAIRS} --n_runs 10 --max_members 10"
    config, folder, kept, model, encoder = metalearned(tmp_path, f"{flags} --restarts 2", "category", "again")
    _, once, kept_once, *_ = metalearned(tmp_path, flags, "category", "once")
    n_steps = 60  # 4 episodes × 16 queries are a batch
    novel = pd.read_csv(folder / "pretrain_accuracy.csv").query("subset == 'novel'")
    same = novel[novel.step <= n_steps].reset_index(drop=True)
    assert same.equals(pd.read_csv(once / "pretrain_accuracy.csv").query("subset == 'novel'").reset_index(drop=True))
    starts = []
    for seed, of_seed in novel.groupby("seed"):
        best = of_seed[of_seed.step <= n_steps].n_correct.max()
        n = 1
        while best <= 0.9 * 8 and n < 3:
            n += 1
            best = max(best, of_seed[of_seed.step <= n * n_steps].n_correct.max())
        starts.append(n)
        assert of_seed.step.max() == n * n_steps
        assert sorted(of_seed.step[of_seed.step > n_steps]) == list(range(n_steps + 1, n * n_steps + 1))
        best_so_far = of_seed.n_correct.cummax().shift(fill_value=-1)
        assert ((of_seed.n_correct > best_so_far) == (of_seed.is_best == 1)).all()
        unchanged = all(torch.equal(tensor, kept_once[seed][name]) for name, tensor in kept[seed].items())
        assert unchanged == (of_seed[of_seed.is_best == 1].step.max() <= n_steps)
    assert {1, 3} <= set(starts)
    run = Metalearning(stages_of(config)[0], encoder, {}, list(config.seeds), CPU)
    job = Recorder(tmp_path / "third", {}, {}, {}, save_minutes=10)
    run.run(job, job.save)
    behind = [seed for seed, n in zip(config.seeds, starts, strict=True) if n > 1]
    assert run.behind() == behind
    run = Metalearning(stages_of(config)[0], encoder, {}, behind, CPU, start=1)
    for member, seed in enumerate(behind):
        weights = models.draw_weights(model, seed, config.init_scale, start=1)
        assert all(torch.equal(tensor, weights[name]) for name, tensor in run.ensemble.weights(member).items())
        assert not torch.equal(weights["lm_head.weight"], models.draw_weights(model, seed, config.init_scale)["lm_head.weight"])
    job.close()


def test_a_seed_is_the_same_alone_and_in_company(tmp_path):
    """Not to the bit, as sums are ordered otherwise, but closely, after a training short enough to stay close."""
    _, _, together, *_ = metalearned(tmp_path, "--n_runs 3", name="together")
    _, _, alone, *_ = metalearned(tmp_path, "--seed 1", name="alone")
    for name, tensor in alone[1].items():
        assert (tensor - together[1][name]).abs().max() < 1e-3, name


def test_seeds_beyond_max_members_follow_one_another(tmp_path):
    _, folder, kept, *_ = metalearned(tmp_path, "--n_runs 3 --max_members 2")
    assert list(kept) == [0, 1, 2]
    assert set(pd.read_csv(folder / "pretrain_accuracy.csv").seed) == {0, 1, 2}
    assert not torch.equal(kept[0]["lm_head.weight"], kept[2]["lm_head.weight"])


def test_a_seed_that_starts_again_has_its_patience_anew(tmp_path):
    """What counts is the best since its start, not that of an earlier one."""
    flags = "--n_runs 4 --n_epochs 12 --stop_early --patience 3 --pretrain_lr 0.003 --restarts 2"
    _, folder, *_ = metalearned(tmp_path, flags)
    novel = pd.read_csv(folder / "pretrain_accuracy.csv").query("subset == 'novel'")
    assert summarise(folder)["metalearning"][0]["n_starts"] == 3
    assert json.loads((folder / "progress.json").read_text())["phase"] == "metalearning, start 3"
    before_the_best = 0
    for (_, start), part in novel.groupby(["seed", (novel.epoch - 1).clip(0) // 12]):
        best, stale = -1, 0
        for n in part.n_correct:
            assert stale < 3
            stale = 0 if n > best else stale + 1
            best = max(best, n)
        assert stale == 3 or part.step.max() == (start + 1) * 12 * 11
        before_the_best += start > 0 and not part.is_best.any() and len(part) > 3
    assert before_the_best, "other flags are needed"


class Killed(Exception):
    pass


class DyingRecorder(Recorder):
    """Dies right after, or right before, the state was saved for the n-th time."""

    saves_left, dies_before = 0, False

    def save_due(self):
        return True

    def save(self, tensors, state):
        self.saves_left -= 1
        if self.dies_before and self.saves_left == 0:
            raise Killed
        super().save(tensors, state)
        if self.saves_left == 0:
            raise Killed


@pytest.mark.parametrize(
    "flags",
    [
        "--n_runs 4 --n_epochs 5 --stop_early --patience 2",
        "--n_runs 3 --max_members 2",
        "--n_runs 4 --n_epochs 1 --stop_early --patience 2 --restarts 3",
    ],
)
@pytest.mark.parametrize("dies_before", [True, False])
def test_resuming_with_fewer_seeds_or_in_a_later_chunk(tmp_path, flags, dies_before):
    """Ensembles that have shrunk, and the second chunk of seeds, are gone on with to the same bytes."""
    config, undisturbed, *_, encoder = metalearned(tmp_path, flags)
    for saves in (1, 9, 14, 16, 11, 8):
        job = DyingRecorder(tmp_path / "killed", config.defining_values(), {}, {}, save_minutes=0)
        job.saves_left, job.dies_before = saves, dies_before
        try:
            if job.state.get("chunk", 0) < 2:
                metalearn(config, encoder, {}, job, CPU)
        except Killed:
            pass
        job.close()
    _, folder, *_ = metalearned(tmp_path, flags, name="killed")
    for path in [*undisturbed.glob("*.csv"), *undisturbed.glob("checkpoints/best*")]:
        assert path.read_bytes() == (folder / path.relative_to(undisturbed)).read_bytes(), path.name


def test_how_often_is_tested_changes_no_training(tmp_path):
    losses = []
    for every in (1, 100):
        _, folder, *_ = metalearned(tmp_path, f"--test_every {every}", name=f"every{every}")
        losses.append((folder / "pretrain_loss.csv").read_bytes())
    assert losses[0] == losses[1]


def test_the_loss_is_the_mean_over_the_interval(tmp_path):
    """Against the same updates, one by one."""
    config, folder, *_, encoder = metalearned(tmp_path, "--print_every 4")
    run = Metalearning(stages_of(config)[0], encoder, {}, [0], CPU)
    for _ in range(4):
        run._update()
    seed = run.active[0]
    rows = pd.read_csv(folder / "pretrain_loss.csv").query("step == 4").set_index("subset").loss
    assert sum(seed.loss_count) == 4 * 55
    for i, subset in enumerate(run.subsets):
        assert rows[subset] == pytest.approx(seed.loss_sum[i] / seed.loss_count[i], rel=1e-5)


def test_a_loss_that_is_not_finite_names_step_and_rate(tmp_path):
    with pytest.raises(DivergedError, match=r"the loss is nan at step \d+, with --pretrain_lr 1e\+30"):
        metalearned(tmp_path, "--pretrain_lr 1e30")


def test_the_rate_rises_over_the_warmup():
    """The first of two warm-up updates has half the rate, as if that had been asked for; the third has all of it."""
    weights = {}
    for name, more in (("half", "--pretrain_lr 0.005"), ("warm", "--warmup_steps 2"), ("one", "--warmup_steps 1"), ("none", "")):
        config = configured(f"{TINY['grid']} --n_runs 2 {more}")
        encoder = Encoder(config, make_task(config))
        run = Metalearning(stages_of(config)[0], encoder, {}, [0, 1], CPU)
        weights[name] = []
        for _ in range(2):
            run._update()
            weights[name].append(run.ensemble.weights(1)["lm_head.weight"])
    assert torch.equal(weights["warm"][0], weights["half"][0])
    assert not torch.equal(weights["warm"][1], weights["half"][1])
    assert torch.equal(weights["one"][1], weights["none"][1])


def test_weights_decay_by_their_part_of_the_rate():
    """The row of `<pad>` is in no sequence and has no gradient: in the second of two warm-up updates it shrinks by rate · decay."""
    config = configured(f"{TINY['grid']} --warmup_steps 2 --pretrain_lr 0.01 --weight_decay 3")
    encoder = Encoder(config, make_task(config))
    run = Metalearning(stages_of(config)[0], encoder, {}, [0], CPU)
    name, pad = "model.embed_tokens.weight", encoder.vocabulary["<pad>"]
    rows = [run.ensemble.weights(0)[name][pad]]
    for _ in range(2):
        run._update()
        rows.append(run.ensemble.weights(0)[name][pad])
    assert torch.allclose(rows[1], rows[0] * (1 - 0.5 * 0.01 * 3), rtol=1e-6)
    assert torch.allclose(rows[2], rows[1] * (1 - 0.01 * 3), rtol=1e-6)


def test_the_rate_falls_to_zero_in_a_straight_line_in_every_start():
    config = configured(f"{TINY['grid']} --warmup_steps 2 --lr_schedule linear --restarts 1")
    encoder = Encoder(config, make_task(config))
    run = Metalearning(stages_of(config)[0], encoder, {}, [0], CPU)
    rates = []
    while run.step < run.n_steps:
        rates.append(run.rate())
        run.step += 1
    again = Metalearning(stages_of(config)[0], encoder, {}, [0], CPU, start=1)
    assert [again.rate(), again.step] == [0.5, run.n_steps]
    n = run.n_steps - 1  # those from the last of the warm-up, which has all of it, would reach 0 at an update after the last
    assert rates[:2] == [0.5, 1.0]
    assert rates[2:] == pytest.approx([1 - k / n for k in range(1, n)])
    assert rates[-1] == pytest.approx(1 / n)


def test_a_seed_starts_again_up_to_nine_tenths():
    """Five validation episodes have 40 novel queries: 36 right answers are not enough, 37 are."""
    config = configured(f"{TINY['category']} --n_val 5 --n_runs 3 --restarts 1")
    encoder = Encoder(config, make_task(config))
    run = Metalearning(stages_of(config)[0], encoder, {}, [0, 1, 2], CPU)
    assert run.n_novel == 40
    run.active, run.stopped = [SeedProgress(2, kept=36), SeedProgress(1, kept=37)], [SeedProgress(0, kept=0)]
    assert run.behind() == [0, 2]
    before = {s.seed: s for s in run.all_seeds()}
    again = Metalearning(stages_of(config)[0], encoder, {}, [0, 2], CPU, 1, (before, run.kept))
    assert [(s.seed, s.kept, s.best) for s in again.active] == [(0, 0, -1), (2, 36, -1)]
