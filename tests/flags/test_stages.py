"""The stages of metalearning that a job's flags have."""

import dataclasses

import pytest

from data import Encoder, check_episodes
from flags import presets
from flags.checks import check
from flags.command_line import parse
from flags.config import BadInput
from flags.stages import SIZES, before_the_last, flags_of, is_stage, stages_of
from tasks import make_task
from tests.conftest import TINY, configured


def sizes(flags: str) -> list[dict]:
    """What is smaller in each stage before the last."""
    return [{name: stage[name] for name in SIZES if name in stage} for stage in configured(flags).stages]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--task category --recipe robust", [{"n_in_context": 8, "n_layers": 2}, {"n_layers": 2}]),
        ("--task grid --recipe robust", [{"p_flip_xy": 0.0, "n_layers": 3}, {"n_layers": 3}]),
        ("--preset laptop --task grid", [{"p_flip_xy": 0.0, "n_layers": 3}, {"n_layers": 3}]),
        ("--task category --recipe robust --n_layers 1", [{"n_in_context": 8, "n_layers": 1}]),
        ("--task category --recipe robust --n_layers 2", [{"n_in_context": 8, "n_layers": 2}]),
        ("--task category --recipe robust --n_in_context 4", [{"n_in_context": 4, "n_layers": 2}]),
        ("--task category --recipe robust --n_layers 2 --n_in_context 8", []),
        ("--task grid --recipe robust --n_layers 3", [{"p_flip_xy": 0.0, "n_layers": 3}]),
        ("--task grid --recipe robust --p_flip_xy 0", [{"p_flip_xy": 0.0, "n_layers": 3}]),
        ("--task grid --recipe robust --p_flip_xy 0 --n_layers 3", []),
        ("--task grid --recipe robust --stage_steps 0", []),
        ("--task grid --recipe robust --n_epochs 0", []),
        ("--task grid --recipe robust --load_model_from WEIGHTS --n_epochs 3", []),
        ("--task category --recipe robust --load_data_from WEIGHTS", [{"n_layers": 2}]),
        ("--task grid --recipe robust --load_data_from WEIGHTS", [{"n_layers": 3}]),
        ("--task grid", []),
        ("--preset paper --task category", []),
        ("--preset laptop --task grid --recipe published", []),
        ("--preset demo", []),
        ("--preset demo --task grid", []),
    ],
)
def test_what_is_smaller_in_the_stages_before_the_last(flags, expected, tmp_path):
    """Nothing is ever larger than in the last one; what is no smaller, or the same as in the stage before, is left out."""
    (tmp_path / "w.safetensors").touch()
    assert sizes(flags.replace("WEIGHTS", str(tmp_path / "w.safetensors"))) == expected


def test_updates_of_the_stages_have_a_limit():
    first, second = (stage["pretrain_steps"] for stage in presets.stages(None, "category", "robust"))
    between = (first + second) // 2
    for flags, expected in (("", [first, second]), ("--stage_steps 7", [7, 7]), (f"--stage_steps {between}", [between] * 2)):
        stages = configured(f"--task category --recipe robust {flags}").stages
        assert [stage["pretrain_steps"] for stage in stages] == expected


@pytest.mark.parametrize(
    ("flags", "updates"),
    [
        ("--task category --recipe robust", presets.values(None, "category", "icl_iwl", "robust")["pretrain_steps"]),
        ("--task grid --recipe robust", presets.values(None, "grid", "icl_iwl", "robust")["pretrain_steps"]),
        ("--task grid --recipe robust --pretrain_steps 9 --n_epochs 3", 9),
        ("--task grid --recipe robust --n_epochs 3", None),
        ("--task grid --recipe robust --n_epochs 0", None),
        ("--preset laptop --experiment iwl_only", None),
        ("--task category", None),
    ],
)
def test_updates_of_the_last_stage_are_the_recipes_unless_epochs_are_passed(flags, updates):
    config = configured(flags)
    check(config)
    assert config.pretrain_steps == updates


def test_batches_that_do_not_divide_an_episodes_queries_are_left_out():
    """With six values there are 36 queries, and with four 16; those of the recipe's first stage are 16 and 1,024."""
    robust = "--task category --recipe robust --queries_per_episode 4 --pretrain_bs 40"
    for n_symbols, more, batches in ((6, "", (4, 40)), (4, "--n_in_context 12", (16, 1024)), (8, "", (16, 1024))):
        config = configured(f"{robust} --n_symbols {n_symbols} {more}")
        first = stages_of(config)[0].config
        assert (first.queries_per_episode, first.pretrain_bs) == batches
        assert stages_of(config)[1].config.queries_per_episode == 4


def test_a_stages_flags():
    """Each stage has the job's flags with its own; only the first starts from random weights."""
    config = dataclasses.replace(
        configured(f"{TINY['grid']} --readout_steps 5"),
        stages=({"n_layers": 1, "bar": 0.5, "pretrain_steps": 9}, {"p_flip_xy": 0.0, "pretrain_lr": 0.5}),
    )
    first, second, last = stages_of(config)
    assert [(s.number, s.bar, s.is_last) for s in (first, second, last)] == [(1, 0.5, False), (2, None, False), (3, None, True)]
    assert [s.config.n_layers for s in (first, second, last)] == [1, 2, 2]
    assert [s.config.p_flip_xy for s in (first, second, last)] == [0.5, 0.0, 0.5]
    assert [s.config.pretrain_lr for s in (first, second, last)] == [0.01, 0.5, 0.01]
    assert [s.config.readout_steps for s in (first, second, last)] == [5, 0, 0]
    assert [s.n_steps(11) for s in (first, second, last)] == [9, 33, 33]  # three epochs
    assert flags_of({"n_layers": 4, "stages": [{"n_layers": 1, "bar": 0.5}]}, 1)["n_layers"] == 1
    assert "bar" not in flags_of({"n_layers": 4, "stages": [{"n_layers": 1, "bar": 0.5}]}, 1)


@pytest.mark.parametrize("stages", [({"n_layers": 1, "queries_per_episode": 7},), ({}, {"queries_per_episode": 7})])
def test_a_stage_that_does_not_fit_is_one_line_before_anything_is_computed(stages):
    config = configured(TINY["grid"])
    encoder = Encoder(config, make_task(config))
    check_episodes(dataclasses.replace(config, stages=({"n_layers": 1, "queries_per_episode": 5},)), encoder)
    why = rf"^--stage_steps: stage {len(stages)} .* \(--queries_per_episode 7: must divide the 25 queries"
    with pytest.raises(BadInput, match=why):
        check_episodes(dataclasses.replace(config, stages=stages), encoder)


def test_what_a_job_can_have_recorded_of_a_stage():
    for preset in ("paper", "laptop"):
        for task in ("grid", "category"):
            assert all(is_stage(stage) for stage in configured(f"--preset {preset} --task {task} --recipe robust").stages)
    for wrong in ([1], "x", {"n_layers": "2"}, {"n_heads": 2}, {"pretrain_lr": None}):
        assert not is_stage(wrong)


def test_a_table_with_a_larger_stage_is_cut_to_the_jobs_sizes():
    flags = vars(configured("--task category --recipe robust"))
    table = ({"n_in_context": 40, "n_layers": 2, "pretrain_steps": 5}, {"n_in_context": 40, "n_layers": 9, "pretrain_steps": 5})
    assert before_the_last(table, flags) == ({"n_in_context": 32, "n_layers": 2, "pretrain_steps": 5},)


@pytest.mark.parametrize("name", ["init_scale 0.1", "weight_init matching"])
def test_initial_weights_of_metalearning_are_refused_where_there_is_none(name, tmp_path):
    (tmp_path / "w.safetensors").touch()
    for flags in ("--n_epochs 0", "--experiment iwl_only", f"--load_model_from {tmp_path}/w.safetensors --n_epochs 3"):
        with pytest.raises(BadInput, match=rf"^--{name}: --.*; for finetuning from random weights pass --iwl_init_scale$"):
            parse(f"{flags} --{name}".split())
    assert configured(f"--{name} --n_epochs 1").stages == ()
