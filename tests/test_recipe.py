"""A recipe ends with metalearning: what comes after is the paper's, unless a flag says otherwise."""

import pytest
import torch

import main
import models
from data import Encoder
from engine.ensemble import Ensemble
from finetune import Finetuning, plan
from flags.command_line import parse
from runs.records import Recorder
from tasks import make_task
from tests.conftest import TINY, built, configured

FLAGS = (
    f"{TINY['category']} --pretrain_steps 2 --warmup_steps 1 --readout_steps 1 --with_iwl_only --congruent_only "
    "--test_one_rot_cond --n_blocks 1 --n_steps_per_block 10 --finetune_lr 0.01"
)


@pytest.mark.parametrize("task", ["grid", "category"])
@pytest.mark.parametrize("preset", ["paper", "laptop", "demo"])
def test_no_recipe_sets_the_optimiser_or_the_random_weights_of_finetuning(preset, task):
    for recipe in ("robust", "published"):
        config = configured(f"--preset {preset} --task {task} --recipe {recipe} --with_iwl_only")
        assert (config.finetune_beta2, config.iwl_init_scale) == (0.999, 0.02)
        assert (config.adam_beta2, config.init_scale) == {"robust": (0.98, 0.1), "published": (0.999, 0.02)}[recipe]


@pytest.mark.parametrize(
    ("flags", "beta2", "scale"),
    [
        ("", 0.999, 0.02),
        ("--weight_init matching --init_scale 0.3", 0.999, 0.02),
        ("--finetune_beta2 0.5 --iwl_init_scale 0.2", 0.5, 0.2),
    ],
)
def test_finetuning_after_the_robust_recipe_by_hand(flags, beta2, scale, tmp_path):
    """Members of kept weights and of independent draws, each with a plain Adam."""
    argv = [*FLAGS.split(), "--recipe", "robust", *flags.split()]
    assert main.main([*argv, "--out_dir", str(tmp_path / "job")]) == 0
    config = parse(argv)
    encoder = Encoder(config, make_task(config))
    model = built(config, encoder)
    kept = models.load_weights(tmp_path / "job/checkpoints/best_seed0.safetensors", model)
    drawn = models.draw_weights(model, 0, scale)
    assert drawn["lm_head.weight"].std().item() == pytest.approx(scale, rel=0.1)
    job = Recorder(tmp_path / "by_hand", {}, {}, {}, save_minutes=10)
    job.start("finetuning", 20, 0)
    for index, members in enumerate(plan(config)):
        assert [m.init for m in members] == ["metalearned"] * 2 + ["random"] * 2
        weights = [{"metalearned": kept, "random": drawn}[m.init] for m in members]
        ensemble = Ensemble(model, weights, 0.01, causal=False, device=torch.device("cpu"), beta2=beta2)
        Finetuning(config, encoder, members, ensemble, index).run(job)
    job.close()
    for name in ("finetune_loss.csv", "finetune_accuracy.csv"):
        assert (tmp_path / "job" / name).read_bytes() == (tmp_path / "by_hand" / name).read_bytes(), name


def test_without_metalearning_what_is_kept_is_what_finetuning_starts_from(tmp_path):
    """Whatever the recipe: it acts in metalearning alone."""
    flags = f"{TINY['category']} --recipe robust --n_epochs 0 --n_blocks 0 --iwl_init_scale 0.05 --seed 3".split()
    assert main.main([*flags, "--out_dir", str(tmp_path / "job")]) == 0
    config = parse(flags)
    model = built(config, Encoder(config, make_task(config)))
    kept = models.load_weights(tmp_path / "job/checkpoints/best_seed3.safetensors", model)
    drawn = models.draw_weights(model, 3, 0.05)
    assert all(torch.equal(kept[name], tensor) for name, tensor in drawn.items())
