"""The batch scripts as they are without SLURM; what they do on one: tests/slurm/."""

import os
import re
import subprocess

import pytest

from flags.checks import check
from flags.command_line import parse
from runs.status import expected, main, state_of
from tasks import check_task
from tests.conftest import ROOT

ELEMENTS = {
    "cat_iwl_icl": 4, "cat_iwl_only": 1, "cat_tradeoff_mask": 11, "cat_tradeoff_noise": 9,
    "grid_iwl_icl": 8, "grid_iwl_only": 1, "grid_tradeoff_mask": 9, "grid_tradeoff_noise": 9, "grid_llama_70b": 8,
}  # fmt: skip
PUBLISHED = {"cat_iwl_icl": 40, "cat_iwl_only": 10, "grid_iwl_icl": 80, "grid_iwl_only": 10}  # an element a seed
OWN = ("PRESET", "SEEDS", "SEEDS_PER_JOB", "BASE")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in OWN:
        monkeypatch.delenv(name, raising=False)


def call(*command: str, status: int = 0, **environment: str) -> subprocess.CompletedProcess:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("name", ELEMENTS)
def test_the_array_of_a_script_has_its_elements(name):
    text = (ROOT / "scripts" / f"{name}.sh").read_text()
    assert f"#SBATCH --array=1-{ELEMENTS[name]}\n" in text
    assert f"#SBATCH --job-name={name}\n" in text
    for line in ("--requeue", "--open-mode=append", "--signal=B:USR1@300"):
        assert f"#SBATCH {line}\n" in text
    assert not re.search(r"partition|account|nodelist|/home|module load", text)
    assert [element for element, _ in expected(name)] == [f"{name} {k}" for k in range(1, ELEMENTS[name] + 1)]


@pytest.mark.parametrize("preset", ["demo", "laptop", "paper"])
def test_the_flags_of_every_element_go_together_and_no_two_share_a_folder(monkeypatch, preset):
    monkeypatch.setenv("PRESET", preset)
    configs = [parse(flags) for name in ELEMENTS if "tradeoff" not in name for _, flags in expected(name)]
    for config in configs:
        check(config)
        check_task(config)
    folders = [config.out_dir for config in configs]
    assert len(set(folders)) == len(folders) == 22
    if preset != "paper":
        return
    assert "results/grid_icl_iwl/rotated_misaligned/seeds_01-10" in folders
    assert "results/grid_llm/Llama-2-70b-hf/rotated_aligned/seeds_01" in folders


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_element_a_seed(name, monkeypatch):
    monkeypatch.setenv("SEEDS_PER_JOB", "1")
    flags = [parse(flags) for _, flags in expected(name)]
    assert len(flags) == PUBLISHED[name]
    assert {config.seeds for config in flags} == {(seed,) for seed in range(1, 11)}
    assert len({config.out_dir for config in flags}) == PUBLISHED[name]


def test_seeds_that_do_not_divide(monkeypatch):
    monkeypatch.setenv("SEEDS_PER_JOB", "4")
    assert [parse(flags).seeds for _, flags in expected("grid_iwl_only")] == [(1, 2, 3, 4), (5, 6, 7, 8), (9, 10)]


def test_trade_offs_train_at_the_levels_of_the_preset(monkeypatch):
    def levels(name):
        return [float(flags[flags.index("--ablation_level") + 1]) for _, flags in expected(name)]

    assert levels("grid_tradeoff_mask") == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert levels("cat_tradeoff_noise") == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    monkeypatch.setenv("PRESET", "laptop")
    assert levels("cat_tradeoff_mask") == [0, 0.25, 0.5, 0.75, 1]


def test_an_element_that_is_not_there():
    assert call("bash", "scripts/grid_iwl_icl.sh", "9", status=2).stderr == "grid_iwl_icl: 9: there are elements 1 to 8\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonsense",), "submit.sh: nonsense: there is no such sweep; there are grid_iwl_icl "),
        ((), "submit.sh: name a sweep ("),
        (
            ("grid_iwl_only", "--pretrian_lr", "3"),
            "submit.sh: error: --pretrian_lr: there is no such flag; did you mean --pretrain_lr?",
        ),
    ],
)
def test_wrong_submissions_are_one_line(arguments, message):
    done = call("scripts/submit.sh", "--dry_run", *arguments, status=2)
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_a_trade_off_without_its_base_names_the_script_that_makes_it():
    flags = ("--task", "grid", "--recipe", "published")  # which no one's results/ has
    done = call("scripts/submit.sh", "--dry_run", "grid_tradeoff_mask", *flags, status=2, PRESET="laptop")
    base = "results/laptop_published_grid_icl_iwl/unrotated_interleaved"
    assert f"{base} is not there; scripts/grid_iwl_icl.sh makes it" in done.stderr


def test_each_trade_off_waits_for_what_makes_its_base(tmp_path):
    lines = call("scripts/submit.sh", "--dry_run", "--all", SEEDS_PER_JOB="5", CACHE_DIR=str(tmp_path)).stderr.splitlines()
    assert f"submit.sh: grid_llama_70b left out: there is no {tmp_path}/Llama-2-70b-hf (CACHE_DIR)" in lines
    grid = next(line for line in lines if line.endswith("scripts/grid_tradeoff_noise.sh"))
    assert "--array=1-9 --dependency=afterok:ID_OF_grid_iwl_icl_3:ID_OF_grid_iwl_icl_4 --kill-on-invalid-dep=yes" in grid
    with_base = call("scripts/submit.sh", "--dry_run", "cat_tradeoff_mask", BASE=str(tmp_path), status=2).stderr
    assert with_base.startswith(f"submit.sh: error: --load_model_from {tmp_path}: holds no job that can be read")


def test_states(tmp_path, capsys):
    flags = ["--preset", "demo", "--out_dir", str(tmp_path / "job")]
    assert state_of(flags)[0] == "missing"
    (tmp_path / "job").mkdir()
    progress = '{"phase": "finetuning", "step": 7, "n_steps": 10, "seconds_left": 5, "last_error": %s}'
    (tmp_path / "job" / "progress.json").write_text(progress % "null")
    assert state_of(flags) == ("stopped", f"{os.path.relpath(tmp_path / 'job')}: finetuning, step 7 of 10")
    (tmp_path / "job" / "progress.json").write_text(progress % '"OSError: disk"')
    assert state_of(flags)[0] == "failed"
    assert state_of(flags)[1].endswith("step 7 of 10: OSError: disk")
    (tmp_path / "job" / "summary.json").write_text("{}")
    assert state_of(flags)[0] == "done"
    assert main(["nonsense"]) == 2
    assert capsys.readouterr().err.startswith("runs.status: nonsense: there is no such script; there are cat_iwl_icl, ")
