"""Jobs that may stand in one mean or figure, and jobs that may not: every flag that changes a result counts."""

import dataclasses
import json
import shutil
import typing
from pathlib import Path

import pytest

from analysis.jobs.compare import MAY_DIFFER, Unreadable
from analysis.jobs.load import load, model_labels
from benchmarks.synthetic import write
from flags.config import DERIVED, EXECUTION, Config

SMALL = "--preset demo --n_test 2 --n_steps_per_block 40"
FLAGS = [f.name for f in dataclasses.fields(Config) if f.metadata["heading"] not in (EXECUTION, DERIVED)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Path("results")


def job(flags: str, more: str = "") -> Path:
    return write(f"{SMALL} {flags} {more}".split())


def other_value(name: str, value):
    """Another value that a job can have recorded for a flag."""
    field = next(f for f in dataclasses.fields(Config) if f.name == name)
    if field.metadata["choices"]:
        return next(choice for choice in field.metadata["choices"] if choice != value)
    kind = typing.get_type_hints(Config)[name]
    if isinstance(value, bool):
        return not value
    if value is None:
        return 7 if kind == int | None else "some/path"
    if isinstance(value, int):
        return value + 1
    return value / 2 + 0.3 if isinstance(value, float) else f"{value}x"


def beside(folder: Path, seed: int, **flags) -> Path:
    """A job of another seed and these flags, as far as its config.json tells."""
    copy = folder.with_name(f"seeds_{seed:02d}_copy")
    copy.mkdir(exist_ok=True)
    recorded = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    recorded["flags"] |= {"seed": seed, **flags}
    (copy / "config.json").write_text(json.dumps(recorded), encoding="utf-8")
    (copy / "summary.json").write_text("{}", encoding="utf-8")
    return copy


INERT = {  # without an ablation, or without metalearning
    "ablation_level", "test_ablation_level_min", "test_ablation_level_max", "test_ablation_level_num", "test_repeats",
    "pt_cond", "pt_rot_cond",
}  # fmt: skip


@pytest.mark.parametrize("flags", ["--seed 1", "--seed 1 --experiment iwl_only --task grid", "--task grid --llm a/model --seed 1"])
def test_every_flag_that_changes_a_result_tells_jobs_apart_or_is_refused(here, flags):
    one = job(flags)
    recorded = json.loads((one / "config.json").read_text(encoding="utf-8"))["flags"]

    def shown(job):
        return (
            job.size,
            job.task,
            job.experiment,
            job.metalearned_on,
            job.training_level,
            job.model,
            [c[1:] for c in job.conditions],
        )

    for name in FLAGS:
        two = beside(one, 2, **({} if name == "seed" else {name: other_value(name, recorded[name])}))
        try:
            first, second = load(here).jobs
        except Unreadable as error:
            said = str(error)
        else:
            assert name in MAY_DIFFER or name in INERT or shown(first) != shown(second), name
            continue
        assert name not in MAY_DIFFER
        assert all(word in said for word in (f"--{name} ", str(one), str(two))), said


def test_random_weights_beside_metalearned_ones_are_the_same_or_refused(here):
    """--experiment iwl_only and --with_iwl_only make one mean of seeds; what only metalearning has may differ."""
    job("--seed 1")
    job("--seed 2 --experiment iwl_only")
    load(here)
    for flag, value in (("iwl_init_scale", "0.05"), ("finetune_beta2", "0.9"), ("attention_dropout", "0.1")):
        folder = job(f"--seed 3 --experiment iwl_only --{flag} {value}")
        with pytest.raises(Unreadable, match=f"--{flag} "):
            load(here)
        shutil.rmtree(folder)
    job("--seed 3 --pt_cond interleaved --pretrain_lr 0.5")
    load(here)


def test_published_trade_off_commands_are_a_trade_off(here):
    """They pass no --experiment. Beside the plain jobs, none of their rows counts as finetuning without an ablation."""
    base = job("--pt_cond interleaved --seed 1")
    levels = "--n_epochs 0 --pt_cond interleaved --test_one_rot_cond --congruent_only --no_with_iwl_only"
    for level in (0, 0.5, 1):
        job(f"--load_model_from {base} {levels} --ablation mask --ablation_level {level} --out_dir results/level_{level}")
    sweep = load(here)
    assert [j.training_level for j in sweep.select("demo", "category", "tradeoff_mask")] == [0, 0.5, 1]
    assert [j.folder for j in sweep.select("demo", "category", "icl_iwl")] == [base]
    assert set(sweep.table("finetune_accuracy").query("experiment == 'icl_iwl'").training_level) == {0}
    job(f"--experiment tradeoff_mask --load_model_from {base} --ablation_level 0.5 --out_dir results/again")
    with pytest.raises(Unreadable, match=r"seed 1 of tradeoff_mask unrotated interleaved level 0\.5 is in two jobs"):
        load(here)


@pytest.mark.parametrize("ablation", ["--ablation mask", "--ablation bernoulli --experiment iwl_only", "--ablation gaussian"])
def test_an_ablation_of_no_trade_off_is_a_size_of_its_own(here, ablation):
    job("--seed 1")
    job(f"--seed 2 {ablation} --ablation_level 0.5 --out_dir results/half")
    job(f"--seed 3 {ablation} --ablation_level 0.25 --out_dir results/quarter")
    kind = ablation.split()[1]
    assert {size for size, _ in load(here).pools()} == {"demo", f"demo, {kind} 0.5", f"demo, {kind} 0.25"}


def test_levels_from_different_bases(here):
    """All levels of a seed start from one base, whatever else its flags say; seeds may each have a base of their own."""
    flags = "--experiment tradeoff_mask --base_seed {0} --load_model_from results/{1}/seeds_{0:02d} --ablation_level {2}"
    for name in ("one", "two"):
        for seed in (1, 2):
            job(f"--pt_cond interleaved --seed {seed} --out_dir results/{name}/seeds_{seed:02d}")
    for seed in (1, 2):
        for level in (0, 0.5):
            job(flags.format(seed, "one", level), f"--out_dir results/jobs/level_{level}/seeds_{seed:02d}")
    shutil.rmtree("results/two")
    job("--pt_cond interleaved --seed 3 --out_dir results/two/seeds_03")
    assert len(load(here).select("demo", "category", "tradeoff_mask")) == 4
    job(flags.format(3, "two", 1), "--out_dir results/jobs/level_1/seeds_03")
    with pytest.raises(Unreadable, match="--load_model_from results/one/seeds_01 and results/two/seeds_03"):
        load(here)


def test_fresh_and_loaded_weights_are_not_one_mean(here):
    job("--seed 1 --n_epochs 2 --restarts 0")
    base = job("--seed 2 --out_dir elsewhere/seeds_02")
    job(f"--load_model_from {base} --n_epochs 2")
    with pytest.raises(Unreadable, match="--load_model_from None and elsewhere/seeds_02"):
        load(here)


def test_a_rotation_that_two_jobs_test_is_there_twice(here):
    job("--seed 1")
    job("--seed 1 --test_one_rot_cond --out_dir results/one")
    with pytest.raises(Unreadable, match="seed 1 of icl_iwl unrotated blocked is in two jobs"):
        load(here)


def test_language_models_of_one_name_stay_two(here):
    """Accuracies of two checkpoints with the same last part of their path are never added up."""
    llm = "--preset demo --task grid --n_val 2 --llm"
    for name, right in (("a", 16), ("b", 0)):
        folder = write(f"{llm} {name}/checkpoint-1000 --out_dir results/{name}".split())
        lines = [line.split(",") for line in (folder / "llm_accuracy.csv").read_text(encoding="utf-8").splitlines()]
        changed = [lines[0], *([*line[:-4], str(right), str(right), str(right), "16"] for line in lines[1:])]
        (folder / "llm_accuracy.csv").write_text("".join(",".join(line) + "\n" for line in changed), encoding="utf-8")
    write(f"{llm} c/other --out_dir results/c".split())
    rows = load(here).table("llm_accuracy")
    means = rows.groupby("model").n_correct.sum() / rows.groupby("model").n_queries.sum()
    assert means[["a/checkpoint-1000", "b/checkpoint-1000"]].tolist() == [1, 0]
    assert set(rows.model) == {"a/checkpoint-1000", "b/checkpoint-1000", "other"}


def test_labels_of_models(here):
    for i, name in enumerate(("x/m", "m", "y/x/m", "./z/m/", "n")):
        write(f"--preset demo --task grid --n_val 1 --llm {name} --out_dir results/{i}".split())
    assert model_labels(load(here).jobs) == {"x/m": "x/m", "m": "m", "y/x/m": "y/x/m", "z/m": "z/m"}
    write(["--preset", "demo", "--task", "grid", "--n_val", "1", "--llm", "x/../x/m", "--out_dir", "results/again"])
    with pytest.raises(Unreadable, match="seed 0 of llm x/m unrotated blocked is in two jobs"):
        load(here)


def test_language_models_answer_the_same_questions(here):
    write(["--preset", "demo", "--task", "grid", "--llm", "a", "--n_val", "1"])
    write(["--preset", "demo", "--task", "grid", "--llm", "b", "--n_val", "2", "--preface_id", "7", "--scoring", "candidates"])
    load(here)
    write(["--preset", "demo", "--task", "grid", "--llm", "c", "--n_val", "1", "--no_real_words"])
    with pytest.raises(Unreadable, match="--real_words True and False"):
        load(here)
