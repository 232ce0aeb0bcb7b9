"""The scripts on a real SLURM: `make test-slurm`, as root."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests import llm_models
from tests.program import ROOT
from tests.slurm import cluster
from tests.test_main import contents

# Every phase, in seconds; the sizes are not the preset's, whose conditions and levels are what is tested.
SIZES = "--n_train 40 --n_val 4 --n_test 1 --n_steps_per_block 4 --finetune_test_every 4 --d_model 16 --d_ff 16"
SMOKE = f"{SIZES} --no_use_quant --threads 1".split()
MINUTES = 8  # until a test gives up waiting


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """The environment that leads to a running SLURM."""
    missing = cluster.missing_programs()
    if missing or os.geteuid() != 0:
        pytest.fail(f"a real SLURM needs root and {', '.join(cluster.PROGRAMS)}; missing: {', '.join(missing) or 'root'}")
    folder = tmp_path_factory.mktemp("slurm")
    yield {"SLURM_CONF": str(cluster.start(folder))}
    cluster.stop(folder)


@pytest.fixture(scope="session")
def language_models(tmp_path_factory):
    """A folder of pretrained weights, which are tiny."""
    folder = tmp_path_factory.mktemp("cache")
    llm_models.save(folder / "Llama-2-70b-hf", "pieces")
    return folder


@pytest.fixture
def checkout(tmp_path, slurm, language_models, monkeypatch):
    """A copy of the repository to work in, with the environment of a user of the cluster."""
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    for name in filter(lambda name: (ROOT / name).exists(), files.stdout.split("\n")[:-1]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRESET", "demo")
    monkeypatch.setenv("CACHE_DIR", str(language_models))
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def call(*command: str, status: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def submit(*arguments: str) -> dict[str, str]:
    """Sweeps and the ids of their arrays."""
    return dict(line.split() for line in call("scripts/submit.sh", *arguments).splitlines())


def jobs(array: str) -> dict[int, dict[str, str]]:
    """What SLURM says of each element of an array."""
    text = call("scontrol", "--oneliner", "show", "job", array)
    records = [dict(pair.partition("=")[::2] for pair in line.split()) for line in text.splitlines()]
    found = {}
    for record in records:
        first, _, last = record["ArrayTaskId"].partition("%")[0].partition("-")
        found |= dict.fromkeys(range(int(first), int(last or first) + 1), record)
    return found


def wait(array: str) -> dict[int, dict[str, str]]:
    """Until every element of an array has ended."""
    limit = time.monotonic() + 60 * MINUTES
    while time.monotonic() < limit:
        found = jobs(array)
        if not {record["JobState"] for record in found.values()} & {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING"}:
            return found
        time.sleep(0.5)
    raise AssertionError(call("squeue", "-t", "all") + logs())


def logs() -> str:
    return "\n".join(f"{path}:\n{path.read_text()}" for path in sorted(Path("logs").glob("*.log")))


def states(array: str) -> set[str]:
    return {record["JobState"] for record in wait(array).values()}


def test_all_sweeps_follow_one_another(checkout):
    ids = submit("--all", *SMOKE)
    kinds = ("iwl_icl", "iwl_only", "tradeoff_mask", "tradeoff_noise")
    assert sorted(ids) == sorted([*(f"{task}_{kind}" for task in ("cat", "grid") for kind in kinds), "grid_llama_70b"])
    base = re.escape(ids["grid_iwl_icl"])
    pending = jobs(ids["grid_tradeoff_mask"])
    assert sorted(pending) == [1, 2, 3, 4, 5]
    assert re.search(rf"afterok:{base}_2\b", pending[1]["Dependency"])  # the unrotated-interleaved element alone
    for name, n in (("cat_iwl_icl", 4), ("cat_iwl_only", 1), ("grid_iwl_icl", 8), ("grid_iwl_only", 1), ("grid_llama_70b", 8)):
        found = wait(ids[name])
        assert sorted(found) == list(range(1, n + 1))
        assert {record["JobState"] for record in found.values()} == {"COMPLETED"}, logs()
        assert all("gpu:" in record["TresPerNode"] for record in found.values())
    for name in (name for name in ids if "tradeoff" in name):
        assert states(ids[name]) == {"COMPLETED"}, logs()
    status = call(".venv/bin/python", "-m", "runs.status", *SMOKE).splitlines()
    assert status[-1] == "42 done"
    # the picture of all levels, from the jobs that are done
    table = call(".venv/bin/python", "main.py", "--preset", "demo", "--task", "grid", "--experiment", "tradeoff_mask", *SMOKE)
    assert "Trade-off: grid, mask" in table
    assert Path("results/demo_grid_tradeoff_mask/tradeoff.png").exists()


@pytest.mark.parametrize("sent", ["USR1", "TERM"])
def test_a_signalled_job_goes_back_into_the_queue_and_ends_as_if_undisturbed(checkout, sent):
    flags = [*SMOKE, "--n_steps_per_block", "150"]
    array = submit("grid_iwl_only", *flags)["grid_iwl_only"]
    rows = Path("results/demo_grid_iwl_only/random/seeds_01/finetune_loss.csv")
    limit = time.monotonic() + 60 * MINUTES
    while time.monotonic() < limit and not (rows.exists() and rows.stat().st_size > 5000):
        time.sleep(0.05)
    call("scancel", "--batch", f"--signal={sent}", f"{array}_1")
    record = wait(array)[1]
    log = Path(f"logs/grid_iwl_only_{array}_1.log").read_text(encoding="utf-8")
    assert (record["JobState"], record["Restarts"]) == ("COMPLETED", "1"), log
    assert "main.py: SIGUSR2: saved in" in log
    assert "element 1 goes back into the queue" in log
    assert f"SLURM job {record['JobId']}, start 2" in log
    call("bash", "scripts/grid_iwl_only.sh", "1", *flags, "--out_dir", "undisturbed")
    assert contents(rows.parent) == contents(Path("undisturbed"))


def test_a_failing_element_is_seen_as_failed_and_frees_who_waits_for_it(checkout):
    flags = [*SMOKE, "--pretrain_lr", "1e30"]
    ids = submit("--all", *flags)
    call("scancel", *(ids[name] for name in ids if not name.startswith("cat") or name.endswith("only")))
    found = wait(ids["cat_iwl_icl"])
    assert {(record["JobState"], record["ExitCode"]) for record in found.values()} == {("FAILED", "1:0")}, logs()
    for name in ("cat_tradeoff_mask", "cat_tradeoff_noise"):
        assert states(ids[name]) == {"CANCELLED"}
    status = call(".venv/bin/python", "-m", "runs.status", "cat_iwl_icl", *flags).splitlines()
    folder = "results/demo_category_icl_iwl/unrotated_blocked/seeds_01"
    assert status[0].startswith(f"cat_iwl_icl 1            failed   {folder}: metalearning, step ")
    assert "DivergedError: the loss is nan at step" in status[0]
    assert status[-1] == "4 failed"


def test_a_running_job_is_seen_and_keeps_its_folder(checkout):
    flags = [*SMOKE, "--n_steps_per_block", "100000"]
    array = submit("grid_iwl_only", *flags)["grid_iwl_only"]
    rows = Path("results/demo_grid_iwl_only/random/seeds_01/finetune_loss.csv")
    limit = time.monotonic() + 60 * MINUTES
    while time.monotonic() < limit and not (rows.exists() and rows.stat().st_size > 5000):
        time.sleep(0.05)
    line = call(".venv/bin/python", "-m", "runs.status", "grid_iwl_only", *flags).splitlines()[0]
    assert re.match(r"grid_iwl_only 1 +running +results/\S+: finetuning, step \d+ of \d+", line)
    second = submit("grid_iwl_only", *flags)["grid_iwl_only"]
    record = wait(second)[1]
    assert (record["JobState"], record["ExitCode"]) == ("FAILED", "3:0")
    assert f"SLURM job {jobs(array)[1]['JobId']}" in Path(f"logs/grid_iwl_only_{second}_1.log").read_text(encoding="utf-8")
    pid = int(re.search(r'"pid": (\d+)', (rows.parent / "lock.json").read_text())[1])
    os.kill(pid, signal.SIGKILL)  # as the kernel does when memory runs out
    assert wait(array)[1]["JobState"] == "FAILED"
    # asked on the job's host; elsewhere the job counts as running until it has been silent for some minutes
    status = f"hostname localhost; exec .venv/bin/python -m runs.status grid_iwl_only {' '.join(flags)}"
    assert call("unshare", "--uts", "sh", "-c", status).split()[2] == "stopped"


@pytest.mark.parametrize("script_line", [False, True])
def test_what_was_decided_at_submission_holds_where_no_variable_is_handed_on(checkout, monkeypatch, script_line):
    if script_line:
        script = Path("scripts/cat_iwl_only.sh")
        script.write_text(
            script.read_text(encoding="utf-8").replace("#SBATCH --requeue\n", "#SBATCH --requeue\n#SBATCH --export=NONE\n"),
            encoding="utf-8",
        )
    else:
        monkeypatch.setenv("SBATCH_EXPORT", "NONE")
    monkeypatch.setenv("SEEDS", "2")
    folder = "results/a folder's *"
    array = submit("cat_iwl_only", *SMOKE, "--out_dir", folder)["cat_iwl_only"]
    assert states(array) == {"COMPLETED"}, logs()
    recorded = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
    assert (recorded["execution"]["preset"], recorded["flags"]["n_runs"]) == ("demo", 2)
    status = call(".venv/bin/python", "-m", "runs.status", "cat_iwl_only", *SMOKE, "--out_dir", folder)
    assert status == f"cat_iwl_only 1           done     {folder}\n1 done\n"
    # without submit.sh nothing says which preset was meant
    array = call("sbatch", "--parsable", "scripts/cat_iwl_only.sh").strip()
    assert {record["ExitCode"] for record in wait(array).values()} == {"2:0"}
    assert "sbatch handed on no variables (--export=NONE)" in Path(f"logs/cat_iwl_only_{array}_1.log").read_text(encoding="utf-8")
    array = call("sbatch", "--parsable", "scripts/cat_iwl_only.sh", "PRESET=demo", *SMOKE, "--out_dir", "again").strip()
    assert states(array) == {"COMPLETED"}, logs()
