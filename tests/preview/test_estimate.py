"""What --dry_run counts, by hand."""

import dataclasses

import pytest
import torch

from flags.stages import stages_of
from preview.estimate import Setting, Work, _finetuning, _metalearning, estimate
from tests.conftest import configured, encoded

FLAGS = "--task grid --congruent_only --test_one_rot_cond --n_blocks 2 --n_steps_per_block 10 --max_members 40"


def works_of(flags):
    config, encoder = configured(f"{FLAGS} {flags}"), encoded(f"{FLAGS} {flags}")
    return _finetuning(config, encoder.episodes(0, "test", "unrotated", "blocked", 1))


@pytest.mark.parametrize(("kind", "level"), [("mask", 0.2), ("mask", 0.0), ("mask", 1.0), ("gaussian", 0.2)])
def test_finetuning_counts_every_member_and_every_context(kind, level):
    """Ten members of each curriculum, and 20 updates of five items; where items are hidden, each has a context of its own, and
    40 // 5 members are trained at once. Two tests of 25 queries; ten levels above 0, four draws each."""
    works = works_of(f"--ablation {kind} --ablation_level {level}")
    hides = kind == "mask" and 0 < level < 1
    sizes, (contexts, queries) = ((8, 2), (5, 1)) if hides else ((10,), (1, 5))
    of_levels = (40, 25) if kind == "mask" else (1, 1000)
    assert works == [
        Work(f"{curriculum[:5]}. {what}", times, size, *shape, trains, curriculum if trains else "")
        for curriculum in ("blocked", "interleaved")
        for size in sizes
        for what, times, shape, trains in (
            ("steps", 20, (contexts, queries), True),
            ("tests", 2, (1, 25), False),
            ("levels", 2, of_levels, False),
        )
    ]


@pytest.mark.parametrize("flags", ["--ablation mask --ablation_level 0.5", "--ablation gaussian --ablation_level 1", ""])
def test_a_busy_machine_is_named(flags, monkeypatch):
    """The load is that of the minute before, which a test cannot make; all else is computed."""
    for load in (0.0, 50.0):
        monkeypatch.setattr("os.getloadavg", lambda load=load: (load, 0.0, 0.0))
        config, encoder = configured(f"{FLAGS} {flags} --n_epochs 0"), encoded(f"{FLAGS} {flags} --n_epochs 0")
        model = Setting.of_stage(stages_of(config)[-1], encoder, torch.device("cpu")).model
        text = estimate(config, encoder, model, torch.device("cpu"))
        assert ("This machine was busy (load 50.0)." in text) == (load > 0)
        assert "\ninter. steps " in text


def test_equal_ensembles_are_one_line_and_batches_are_no_larger_than_what_is_trained():
    """100 members of a curriculum: two ensembles of 40 and one of 20. Group A has five items, all of them are nine."""
    steps = [work for work in works_of("--n_runs 10 --finetune_bs 7") if work.trains]
    assert steps == [
        Work(f"{curriculum[:5]}. steps", times, size, 1, queries, True, curriculum)
        for curriculum, queries in (("blocked", 5), ("interleaved", 7))
        for times, size in ((40, 40), (20, 20))
    ]


def test_metalearning_counts_updates_and_chunks_of_seeds():
    """12 × 25 queries in batches of 100 are three updates an epoch; five seeds, two at a time, are three chunks."""
    flags = f"{FLAGS} --n_train 12 --n_val 4 --n_epochs 4 --pretrain_bs 100 --queries_per_episode 5 --test_every 5"
    flags = f"{flags} --n_runs 5 --max_members 2"
    (stage,) = stages_of(configured(flags))
    training, validation = _metalearning(stage, Setting.of_stage(stage, encoded(flags), torch.device("cpu")))
    assert training == Work("training", 3 * 12, 2, 20, 5, True)
    assert validation == Work("validation", 3 * (1 + 2 + 4), 2, 4, 25, False)


def test_each_stage_is_listed_with_its_own_work():
    """Category: 12 episodes of 16 queries. In the first stage 10 packs of two are an update, and 10 updates an epoch. In the
    last, 12 packs of four are one, and 4 updates an epoch. Validations come at each 5, at an epoch's end and at the last."""
    flags = "--task category --n_task_dims 20 --n_symbols 4 --n_in_context 12 --n_train 12 --n_val 4 --n_test 2 --n_layers 2"
    flags += (
        " --n_heads 2 --d_model 16 --d_ff 16 --n_blocks 0 --test_every 5 --n_epochs 9 --pretrain_steps 6 --restarts 1 --n_runs 3"
    )
    flags += " --pretrain_bs 48 --queries_per_episode 4 --print_every 100"
    first = {"n_in_context": 4, "n_layers": 1, "pretrain_steps": 7, "pretrain_bs": 20, "queries_per_episode": 2, "bar": 0.75}
    config, encoder = dataclasses.replace(configured(flags), stages=(first,)), encoded(flags)
    device = torch.device("cpu")
    settings = [Setting.of_stage(stage, encoder, device) for stage in stages_of(config)]
    works = [work for stage, setting in zip(stages_of(config), settings, strict=True) for work in _metalearning(stage, setting)]
    assert works == [
        Work("stage 1, training", 7, 3, 10, 2, True),
        Work("stage 1, validation", 3, 3, 4, 16, False),
        Work("stage 2, training", 6, 3, 12, 4, True),
        Work("stage 2, validation", 4, 3, 4, 16, False),  # at 4 as well: an epoch's end
    ]
    assert [setting.episode.context.shape[1] for setting in settings] == [1 + 4 * 5, 1 + 12 * 5]
    assert settings[0].n_parameters < settings[1].n_parameters
    text = estimate(config, encoder, settings[1].model, device)
    told = "  1: --n_in_context 4 --n_layers 1 --pretrain_steps 7 --pretrain_bs 20 --queries_per_episode 2, until novel accuracy in"
    assert f"{told} validation is 0.75\n" in text
    assert [line.split("  ")[0] for line in text.splitlines() if line.startswith("stage ")] == [work.what for work in works]
    assert text.endswith("(cpu); a stage may reach its bar sooner, with one start a seed, of 2 at most (--restarts).")
