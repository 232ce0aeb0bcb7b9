"""Starting from weights: of a job, of a file, of the published code."""

import csv
import gzip
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

import main
import models
from data import Encoder
from finetune import plan
from flags.base import Base, NoBase, find_base
from flags.command_line import parse, read
from flags.config import BadInput
from flags.resolve import resolve
from tasks import make_task
from tests.conftest import TINY, built
from tests.program import run_main

FINETUNING = "--n_blocks 1 --n_steps_per_block 3 --finetune_test_every 3 --congruent_only --threads 1"


def rows(folder, where):
    import pandas as pd

    return pd.read_csv(folder / "finetune_accuracy.csv").query(where)


def test_a_job_folder_hands_on_its_data_model_and_best_seed(finished_job):
    _, folder, _ = finished_job
    config = parse(["--load_model_from", str(folder), "--n_epochs", "0"])
    base = json.loads((folder / "config.json").read_text())["flags"]
    for name in ("task", "n_layers", "n_heads", "d_model", "n_train", "n_val", "n_test", "n_symbols", "n_task_dims"):
        assert getattr(config, name) == base[name], name
    assert (config.n_runs, config.init, config.experiment) == (1, "loaded", "icl_iwl")
    validated = {}
    with open(folder / "pretrain_accuracy.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row["subset"], row["is_best"]) == ("novel", "1"):
                validated[int(row["seed"])] = int(row["n_correct"])
    assert validated[config.seed] == max(validated.values())
    assert parse(["--load_model_from", str(folder), "--base_seed", "1"]).seed == 1


@pytest.mark.parametrize("content", [torch.zeros(()), None, 3, {"model.lm_head.weight": "text"}])
def test_a_pt_file_without_weights_is_refused(content, tmp_path, capsys):
    torch.save(content, tmp_path / "w.pt")
    assert main.main(f"--load_model_from {tmp_path}/w.pt --n_epochs 0 --out_dir {tmp_path}/job".split()) == 2
    error = capsys.readouterr().err
    assert "cannot be read as weights (it holds no state_dict)" in error
    assert error.count("\n") == 1


def test_what_of_a_base_may_differ(finished_job):
    """What leaves its weights and its episodes alone: dropout, the optimiser; and rotation is its own unless said otherwise."""
    _, folder, _ = finished_job
    config = parse(
        f"--load_model_from {folder} --n_epochs 0 --attention_dropout 0.1 --adam_beta2 0.9 --pt_rot_cond rotated".split()
    )
    assert (config.attention_dropout, config.adam_beta2, config.pt_rot_cond) == (0.1, 0.9, "rotated")
    assert parse(f"--load_model_from {folder} --n_epochs 0".split()).adam_beta2 == 0.999


def test_loaded_weights_are_started_from_once(finished_job):
    _, folder, _ = finished_job
    assert parse(["--preset", "laptop", "--task", "grid"]).restarts > 0
    assert parse(f"--preset laptop --load_model_from {folder} --n_epochs 1".split()).restarts == 0
    assert parse(["--preset", "laptop", "--n_epochs", "0"]).restarts == 0
    assert parse(["--preset", "laptop", "--experiment", "iwl_only"]).restarts == 0


def test_published_weights_come_late_as_well(finished_job, tmp_path):
    """--model_path beside a finished job writes the kept weights; a second time it leaves them alone."""
    task, folder, _ = finished_job
    flags = [*TINY[task].split(), "--n_runs", "2", "--out_dir", str(folder), "--model_path", str(tmp_path / "M")]
    assert main.main(flags) == 0
    written = (tmp_path / "M_run1.pt").read_bytes()
    assert main.main(flags) == 0
    assert (tmp_path / "M_run1.pt").read_bytes() == written
    config = parse(flags)
    model = built(config, Encoder(config, make_task(config)))
    kept = models.load_weights(folder / "checkpoints" / "best_seed1.safetensors", model)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in models.load_weights(tmp_path / "M_run1.pt", model).items())


def test_published_weights_of_another_job_are_left_alone_and_told_of(finished_job, tmp_path, capsys):
    """As when two jobs that run at once were asked for one file."""
    task, folder, _ = finished_job
    flags = [*TINY[task].split(), "--n_runs", "2", "--out_dir", str(folder), "--model_path", str(tmp_path / "M")]
    torch.save({"another": torch.ones(1)}, tmp_path / "M_run0.pt")
    written = (tmp_path / "M_run0.pt").read_bytes()
    assert main.main(flags) == 0
    assert (tmp_path / "M_run0.pt").read_bytes() == written
    kept = folder / "checkpoints" / "best_seed0.safetensors"
    told = f"main.py: --model_path: {tmp_path}/M_run0.pt holds other weights and is left alone; those of this job are in {kept}"
    assert capsys.readouterr().err.splitlines() == [told]


def test_several_seeds_of_a_base(finished_job):
    """The best validated ones, whatever their order; each member starts from its own seed's weights."""
    _, folder, _ = finished_job
    config = parse(["--load_model_from", str(folder), "--n_epochs", "0", "--n_runs", "2"])
    best = parse(["--load_model_from", str(folder), "--n_epochs", "0"]).seed
    assert config.seeds == (best, 1 - best)
    assert sorted({m.seed for ensemble in plan(config) for m in ensemble}) == [0, 1]
    model = built(config, Encoder(config, make_task(config)))
    loaded = models.loaded_weights(config, model)
    for seed in (0, 1):
        kept = models.load_weights(folder / "checkpoints" / f"best_seed{seed}.safetensors", model)
        assert all(torch.equal(loaded[seed][name], kept[name]) for name in kept)


def test_few_shot_of_loaded_weights_is_that_of_the_base(finished_job, tmp_path):
    _, folder, _ = finished_job
    flags = ["--load_model_from", str(folder), "--base_seed", "1", "--n_epochs", "0", *FINETUNING.split()]
    done = run_main(*flags, "--out_dir", str(tmp_path / "job"))
    assert done.returncode == 0, done.stderr
    keys = ["rotation", "context_curriculum", "step_curriculum", "episode", "subset"]
    here = rows(tmp_path / "job", "step == 0").set_index(keys).n_correct
    there = rows(folder, "step == 0 and seed == 1 and context_curriculum == step_curriculum").set_index(keys).n_correct
    assert set(rows(tmp_path / "job", "step == 0").init) == {"loaded"}
    assert here.sort_index().equals(there.sort_index())


def test_published_weights_both_ways(finished_job, tmp_path):
    """--model_path writes what --load_model_from reads, with the names of the published code."""
    task, _, _ = finished_job
    flags = [*TINY[task].split(), "--n_epochs", "1", "--n_blocks", "0", "--n_runs", "2", "--model_path", str(tmp_path / "M")]
    done = run_main(*flags, "--out_dir", str(tmp_path / "job"))
    assert done.returncode == 0, done.stderr
    state = torch.load(tmp_path / "M_run1.pt", weights_only=True)
    assert "model.model.layers.0.self_attn.q_proj.weight" in state
    assert "model.lm_head.weight" in state
    config = parse(flags)
    encoder = Encoder(config, make_task(config))
    model = built(config, encoder)
    ours = models.load_weights(tmp_path / "job" / "checkpoints" / "best_seed1.safetensors", model)
    read = models.load_weights(tmp_path / "M_run1.pt", model)
    assert all(torch.equal(ours[name], read[name]) for name in ours)
    model.load_state_dict(read)
    torch.save(model.state_dict(), tmp_path / "plain.pt")  # without the published prefix
    assert torch.equal(models.load_weights(tmp_path / "plain.pt", model)["lm_head.weight"], ours["lm_head.weight"])
    again = run_main(*flags, "--out_dir", str(tmp_path / "other"))
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert not (tmp_path / "other").exists()


def test_metalearning_goes_on_from_loaded_weights(finished_job, tmp_path):
    task, folder, _ = finished_job
    weights = folder / "checkpoints" / "best_seed0.safetensors"
    flags = [*TINY[task].split(), "--n_epochs", "1", "--pretrain_lr", "1e-12", "--n_blocks", "0", "--load_model_from", str(weights)]
    assert run_main(*flags, "--out_dir", str(tmp_path / "job")).returncode == 0
    config = parse(flags)
    model = built(config, Encoder(config, make_task(config)))
    old, new = (models.load_weights(p / "checkpoints" / "best_seed0.safetensors", model) for p in (folder, tmp_path / "job"))
    assert all((old[name] - new[name]).abs().max() < 1e-7 for name in old)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--load_model_from nowhere", "--load_model_from nowhere: does not exist"),
        ("--load_model_from empty", "holds no job that can be read"),
        ("--load_model_from notes.txt", "is neither a job's folder nor a .safetensors or .pt file"),
        ("--base_seed 3", "--base_seed 3: chooses a seed of --load_model_from, which is missing"),
        ("--load_model_from JOB --base_seed 7", "has no seed 7; it has 0, 1"),
        ("--load_model_from JOB --base_seed 1 --n_runs 2", "--n_runs 2: --base_seed chooses one seed; leave one of the two out"),
        ("--load_model_from JOB --n_layers 3", "--n_layers 3: the base in"),
        ("--load_model_from JOB --n_runs 3", "has 2 metalearned seeds; --n_runs 3 asks for more"),
        ("--load_model_from altered --n_epochs 0", "altered: its config.json has 'two' for --n_layers"),
        ("--load_model_from beyond --n_epochs 0", "beyond: its config.json has 0 for --n_heads"),
        ("--load_model_from evil.pt --n_epochs 0", "cannot be read as weights"),
        ("--load_model_from truncated.safetensors --n_epochs 0", "cannot be read as weights"),
        ("--load_model_from empty.pt --n_epochs 0", "cannot be read as weights"),
        ("--load_model_from BEST --n_epochs 0 --task category", "does not fit the model of the flags"),
        ("--n_epochs 0 --restarts 2", "--restarts 2: --n_epochs 0 leaves no metalearning to restart"),
        ("--load_model_from BEST --restarts 2", "--restarts 2: --load_model_from has no other weights for a restart"),
        ("--load_model_from BEST --readout_steps 5", "--readout_steps 5: --load_model_from replaces random weights"),
        ("--load_model_from BEST --stage_steps 5", "--stage_steps 5: --load_model_from replaces random weights"),
        ("--load_model_from BEST --init_scale 0.5", "--init_scale 0.5: --load_model_from replaces random weights; for finetuning"),
        ("--load_model_from BEST --experiment iwl_only", "--experiment iwl_only starts from random weights"),
        ("--experiment iwl_only --n_epochs 3", "--n_epochs 3: --experiment iwl_only"),
    ],
)
def test_what_cannot_be_started_from(finished_job, tmp_path, flags, message, monkeypatch, capsys):
    _, folder, _ = finished_job
    monkeypatch.chdir(tmp_path)
    best = folder / "checkpoints" / "best_seed0.safetensors"
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil(tmp_path / "run")))
    (tmp_path / "truncated.safetensors").write_bytes(best.read_bytes()[:-100])
    (tmp_path / "empty.pt").write_bytes(b"")
    config = (folder / "config.json").read_text()
    for name, old, new in (("altered", '"n_layers": 2', '"n_layers": "two"'), ("beyond", '"n_heads": 2', '"n_heads": 0')):
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / "config.json").write_text(config.replace(old, new))
    before = sorted(tmp_path.rglob("*"))
    assert main.main([word.replace("JOB", str(folder)).replace("BEST", str(best)) for word in flags.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


class Evil:
    """A pickle that would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_base_flags_are_checked_by_name():
    with pytest.raises(BadInput, match="does not exist"):
        parse(["--load_model_from", "/nowhere/at/all"])


def test_a_seed_is_ranked_by_its_last_new_best(tmp_path):
    """Seed 0 began behind, and its kept model answers more; lines that are no new best, and study items, say nothing."""
    rows = [(0, 0, 3, 1), (1, 0, 5, 1), (0, 10, 9, 1), (1, 10, 6, 1), (0, 20, 2, 0), (1, 20, 5, 0)]
    header = "seed,step,epoch,subset,n_correct,n_queries,is_best"
    lines = [f"{seed},{step},0,{s},{n},16,{new}" for seed, step, n, new in rows for s, n in (("novel", n), ("study_A", 16 * seed))]
    (tmp_path / "pretrain_accuracy.csv").write_text("\n".join([header, *lines, ""]))
    (tmp_path / "config.json").write_text(json.dumps({"flags": {"seed": 0, "n_runs": 2}}))
    (tmp_path / "checkpoints").mkdir()
    for seed in (0, 1):
        (tmp_path / "checkpoints" / f"best_seed{seed}.safetensors").touch()
    assert find_base(tmp_path, None, 1).seeds == (0,)
    assert find_base(tmp_path, None, 2).seeds == (0, 1)
    assert find_base(tmp_path, 1, 1).seeds == (1,)


def of_two_seeds(folder, keep_by: str) -> str:
    """A job's folder as far as a base needs it: two seeds, two stages; returns the table of its validations.

    In the last stage the kept model of seed 0 answers more, and that of seed 1 has the lower loss; seed 2 has not reached it."""
    lines = ["seed,stage,step,epoch,subset,n_correct,n_queries,loss,is_best"]
    for seed, stage, step, right, loss, new in (
        (0, 1, 50, 1, 0.001, 1),
        (1, 1, 50, 16, 9.0, 1),
        (2, 1, 50, 16, 0.0, 1),
        (0, 2, 0, 3, 0.9, 1),
        (0, 2, 10, 9, 0.5, 1),
        (0, 2, 20, 16, 0.1, 0),
        (1, 2, 0, 5, 0.2, 1),
        (1, 2, 10, 2, 0.01, 0),
    ):
        lines.append(f"{seed},{stage},{step},0,novel,{right},16,{loss},{new}")
    (folder / "config.json").write_text(json.dumps({"flags": {"seed": 0, "n_runs": 2, "keep_by": keep_by}}))
    (folder / "checkpoints").mkdir()
    for seed in (0, 1):
        (folder / "checkpoints" / f"best_seed{seed}.safetensors").touch()
    return "\n".join([*lines, ""])


@pytest.mark.parametrize(("keep_by", "best"), [("accuracy", 0), ("loss", 1)])
def test_seeds_are_ranked_by_what_they_were_kept_by_in_the_last_stage(keep_by, best, tmp_path):
    """Also from the compressed table of results that were handed on; a damaged one is none."""
    table = of_two_seeds(tmp_path, keep_by)
    (tmp_path / "pretrain_accuracy.csv").write_text(table)
    assert find_base(tmp_path, None, 2).seeds == (best, 1 - best)
    (tmp_path / "pretrain_accuracy.csv").unlink()
    packed = gzip.compress(table.encode())
    (tmp_path / "pretrain_accuracy.csv.gz").write_bytes(packed)
    assert find_base(tmp_path, None, 2).seeds == (best, 1 - best)
    (tmp_path / "pretrain_accuracy.csv.gz").write_bytes(packed[:-20])
    with pytest.raises(NoBase, match="holds no job that can be read"):
        find_base(tmp_path, None, 1)


def test_what_a_trade_off_takes_over(finished_job):
    """Its own context curriculum, which is the one it measures; another experiment has the base's, if none is passed."""
    folder = finished_job[1]  # metalearned on blocked contexts
    passed = f"--load_model_from {folder} --n_epochs 0"
    assert parse(passed.split()).pt_cond == "blocked"
    assert parse(f"{passed} --experiment tradeoff_mask".split()).pt_cond == "interleaved"


def test_flags_are_read_and_resolved_without_the_disk():
    """Also those of a base that is not there: what it recorded stands below what is passed, where it may differ at all."""
    passed = read(["--load_model_from", "nowhere", "--n_epochs", "0", "--n_runs", "2", "--attention_dropout", "0.2"])
    assert passed == {"load_model_from": "nowhere", "n_epochs": 0, "n_runs": 2, "attention_dropout": 0.2}
    recorded = {"task": "category", "n_layers": 3, "seed": 4, "pt_cond": "interleaved", "attention_dropout": 0.1, "n_blocks": 9}
    config = resolve(passed, Base((Path("a"), Path("b")), (4, 2), recorded))
    assert (config.seeds, config.task, config.n_layers, config.pt_cond) == ((4, 2), "category", 3, "interleaved")
    assert (config.attention_dropout, config.n_blocks) == (0.2, 4)
    with pytest.raises(BadInput, match="--n_layers 2: the base in nowhere has 3; leave the flag out"):
        resolve({**passed, "n_layers": 2}, Base((Path("a"), Path("b")), (4, 2), recorded))
