"""The batch scripts as they are without SLURM; what they do on one: tests/slurm/."""

import contextlib
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from flags.checks import check
from flags.command_line import parse
from flags.presets import PRESETS
from runs.status import main, state_of
from runs.sweep import expected, read
from tasks import check_task
from tests.program import ROOT, run_main

ELEMENTS = {
    "cat_iwl_icl": 4, "cat_iwl_only": 1, "cat_tradeoff_mask": 11, "cat_tradeoff_noise": 9,
    "grid_iwl_icl": 8, "grid_iwl_only": 1, "grid_tradeoff_mask": 9, "grid_tradeoff_noise": 9, "grid_llama_70b": 8,
}  # fmt: skip
PUBLISHED = {"cat_iwl_icl": 40, "cat_iwl_only": 10, "grid_iwl_icl": 80, "grid_iwl_only": 10}  # an element a seed
OWN = ("PRESET", "SEEDS", "SEEDS_PER_JOB", "BASE", "PYTHON", "CACHE_DIR")
ODD = 'a  b*\'s "$(touch x)" ü;&'  # what a shell would take apart


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in [name for name in os.environ if name in OWN or name.startswith(("SLURM_", "SBATCH_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def checkout(tmp_path):
    """A copy of the scripts, in a folder with an odd name, that runs this repository's program."""
    folder = tmp_path / ODD
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("site.sh"))
    for name in ("main.py", "flags", "runs", "tasks", ".venv"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def echo(tmp_path):
    """An interpreter that writes the words of a call of main.py, each on a line, instead of running it."""
    path = tmp_path / "echo python"
    real = shlex.quote(str(ROOT / ".venv/bin/python"))
    path.write_text(f"""#!/bin/sh\n[ "$1" = main.py ] || exec {real} "$@"\nshift\nprintf '> %s\\n' "$@"\n""")
    path.chmod(0o755)
    return str(path)


def call(*command: str, status: int = 0, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == status, done.stdout + done.stderr
    return done


def one_line(*command: str, **more) -> str:
    """The error of a call that ends with status 2."""
    done = call(*command, status=2, **more)
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


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
        (("nonsense",), "submit.sh: nonsense: unknown sweep; the sweeps are grid_iwl_icl "),
        ((), "submit.sh: name a sweep ("),
        (
            ("grid_iwl_only", "--pretrian_lr", "3"),
            "submit.sh: error: --pretrian_lr: unknown flag; did you mean --pretrain_lr?",
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
    assert f"{base} does not exist; scripts/grid_iwl_icl.sh PRESET=laptop --recipe published makes it" in done.stderr


def test_each_trade_off_waits_for_what_makes_its_base(tmp_path):
    lines = call("scripts/submit.sh", "--dry_run", "--all", SEEDS_PER_JOB="5", CACHE_DIR=str(tmp_path)).stderr.splitlines()
    assert f"submit.sh: grid_llama_70b left out: {tmp_path}/Llama-2-70b-hf does not exist (CACHE_DIR)" in lines
    grid = next(line for line in lines if "scripts/grid_tradeoff_noise.sh PRESET=paper " in line)
    assert "--array=1-9 --dependency=afterok:ID_OF_grid_iwl_icl_3:ID_OF_grid_iwl_icl_4 --kill-on-invalid-dep=yes" in grid
    with_base = call("scripts/submit.sh", "--dry_run", "cat_tradeoff_mask", BASE=str(tmp_path), status=2).stderr
    assert with_base.startswith(f"submit.sh: error: --load_model_from {tmp_path}: holds no job that can be read")


def test_states(tmp_path, capsys):
    flags = ["--preset", "demo", "--out_dir", str(tmp_path / "job")]
    assert state_of(flags)[0] == "missing"
    (tmp_path / "job").mkdir()
    config = json.dumps({"flags": parse(flags).defining_values()})
    (tmp_path / "job" / "config.json").write_text(config)
    progress = '{"phase": "finetuning", "step": 7, "n_steps": 10, "seconds_left": 5, "last_error": %s}'
    (tmp_path / "job" / "progress.json").write_text(progress % "null")
    assert state_of(flags) == ("stopped", f"{os.path.relpath(tmp_path / 'job')}: finetuning, step 7 of 10")
    (tmp_path / "job" / "progress.json").write_text(progress % '"OSError: disk"')
    assert state_of(flags)[0] == "failed"
    assert state_of(flags)[1].endswith("step 7 of 10: OSError: disk")
    (tmp_path / "job" / "summary.json").write_text("{}")
    assert state_of(flags)[0] == "done"
    assert main(["nonsense"]) == 2
    assert capsys.readouterr().err.startswith("runs.status: nonsense: unknown script; the scripts are cat_iwl_icl, ")


def test_the_status_of_a_folder_that_cannot_be_read_is_a_line(tmp_path):
    flags = ["--preset", "demo", "--out_dir", str(tmp_path / "job")]
    job, shown = tmp_path / "job", os.path.relpath(tmp_path / "job")
    job.symlink_to(job)
    assert state_of(flags)[0] == "unreadable"  # a link to itself
    job.unlink()
    job.write_text("a file")
    assert state_of(flags)[0] == "refused"
    job.unlink()
    job.mkdir()
    (job / "config.json").write_text(json.dumps({"flags": parse(flags).defining_values()}))
    for text in ("{", "[]", "null", '{"n_steps": 3}'):
        (job / "progress.json").write_text(text)
        assert state_of(flags) == ("unreadable", f"{shown}: progress.json or summary.json is damaged")
    (job / "progress.json").unlink()
    (job / "progress.json").mkdir()
    assert state_of(flags) == ("unreadable", f"{shown}: progress.json: Is a directory")
    (job / "summary.json").write_text("{")
    assert state_of(flags) == ("unreadable", f"{shown}: progress.json or summary.json is damaged")
    assert state_of([*flags[:3], "x" * 300])[1] == f"{os.path.relpath(ROOT / ('x' * 300))}: {'x' * 300}: File name too long"


@pytest.mark.parametrize("module", ["runs.status", "analysis.jobs.sample", "llm.export"])
def test_every_command_answers_help(module, capsys):
    main_of = importlib.import_module(module).main
    with contextlib.suppress(SystemExit):
        main_of(["--help"])
    assert f"python -m {module} [" in capsys.readouterr().out


def test_a_folder_that_main_refuses_is_not_done(tmp_path):
    flags = ["--preset", "demo", "--n_test", "3", "--out_dir", str(tmp_path / "job")]
    (tmp_path / "job").mkdir()
    for name, text in (("config.json", json.dumps({"flags": parse(flags).defining_values()})), ("summary.json", "{}")):
        (tmp_path / "job" / name).write_text(text)
    assert state_of(flags)[0] == "done"
    state, word = state_of([*flags, "--n_test", "4"])
    assert (state, word.partition(": ")[2]) == ("refused", "holds a job with other flags (--n_test 3 instead of 4)")
    (tmp_path / "job" / "config.json").write_text("[]")
    assert state_of(flags)[0] == "refused"
    assert "not of a job" in run_main(*flags).stderr  # as main.py says


def test_the_status_of_a_sweep_that_was_submitted_with_flags(capsys, monkeypatch):
    monkeypatch.setenv("PRESET", "demo")
    assert main(["cat_iwl_only", "--out_dir", ODD]) == 0
    assert capsys.readouterr().out.startswith(f"cat_iwl_only 1           missing  {ODD}\n")
    assert main(["cat_iwl_only", "--n_tset", "3"]) == 2
    assert capsys.readouterr().err == "runs.status: --n_tset: unknown flag; did you mean --n_test?\n"
    monkeypatch.setenv("PRESET", "tiny")
    assert main(["cat_iwl_only"]) == 2


def test_words_reach_the_program_as_they_were_passed(checkout, echo):
    for script, variable, flag in (
        ("grid_llama_70b", "CACHE_DIR", "--cache_dir"),
        ("grid_tradeoff_mask", "BASE", "--load_model_from"),
    ):
        command = ("bash", f"scripts/{script}.sh")
        more = {"cwd": checkout, "PYTHON": echo, variable: f"{checkout}/*"}
        slurm = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MAX": "9", "SLURM_JOB_ID": "7"}
        listed = dict(read(script, call(*command, "--list", "--out_dir", ODD, "--log_with", "", **more).stdout.encode()))
        here = call(*command, "2", "--out_dir", ODD, "--log_with", "", **more).stdout
        there = call(*command, "--out_dir", ODD, "--log_with", "", **more, **slurm).stdout
        for printed in (here, there):
            words = [line[2:] for line in printed.splitlines() if line.startswith("> ")]
            assert words == listed[f"{script} 2"]
            assert words[words.index("--out_dir") + 1] == ODD
            assert words[words.index("--log_with") + 1] == ""
            assert words[words.index(flag) + 1] == f"{checkout}/*"
            assert shlex.join(words) == printed.splitlines()[0].partition(": main.py ")[2].replace("'\\''", "'\"'\"'")
    assert not (checkout / "x").exists()


def test_what_is_submitted_is_decided_at_submission(checkout, echo):
    more = {"cwd": checkout, "PRESET": "demo", "SEEDS": "3", "SEEDS_PER_JOB": "2", "PYTHON": echo, "CACHE_DIR": ODD}
    line = call("scripts/submit.sh", "--dry_run", "cat_iwl_only", "--out_dir", ODD, **more, status=2).stderr
    assert line.startswith(f"submit.sh: error: --out_dir {ODD}: cat_iwl_only 1 and cat_iwl_only 2 would share this folder")
    line = call("scripts/submit.sh", "--dry_run", "cat_iwl_only", "--model_path", ODD, **more).stderr
    words = shlex.split(line)
    script = words.index("scripts/cat_iwl_only.sh")
    assert words[:script] == ["sbatch", "--parsable", "--array=1-2"]
    # a job without any variable, and with others than the submitting shell's
    for other in ({}, {"PRESET": "paper", "SEEDS": "1", "CACHE_DIR": "/else"}):
        other |= {"SLURM_ARRAY_TASK_ID": "2", "SLURM_JOB_ID": "7", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(["bash", *words[script:]], cwd=checkout, env=other, capture_output=True, text=True, check=True)
        flags = [line[2:] for line in done.stdout.splitlines() if line.startswith("> ")]
        assert flags[:2] == ["--preset", "demo"]
        assert flags[-6:] == ["--model_path", ODD, "--seed", "3", "--n_runs", "1"]


def test_a_job_that_got_no_variables_says_so(checkout):
    """As SLURM runs a script that was submitted without submit.sh: a copy of it, with the environment of --export=NONE."""
    copy = checkout / "spool" / "slurm_script"
    copy.parent.mkdir()
    shutil.copy(checkout / "scripts/cat_iwl_only.sh", copy)
    more = {"cwd": checkout, "SLURM_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1", "SLURM_EXPORT_ENV": "NONE"}
    assert one_line("bash", str(copy), **more).startswith("cat_iwl_only: sbatch handed on no variables (--export=NONE), so PRESET")
    assert "--preset demo" in call("bash", str(copy), "PRESET=demo", "--list", **more).stdout
    assert "sbatch takes an element's number as --array=1" in one_line("bash", str(copy), "1", "PRESET=demo", **more)
    elsewhere = {**more, "cwd": copy.parent}
    assert one_line("bash", str(copy), **elsewhere) == "cat_iwl_only: submit it from the repository's root\n"


def test_an_array_that_does_not_fit_the_sweep(checkout, echo):
    more = {"cwd": checkout, "PYTHON": echo, "PRESET": "demo", "SLURM_JOB_ID": "7"}
    first = one_line("bash", "scripts/cat_iwl_icl.sh", **more, SLURM_ARRAY_TASK_ID="0", SLURM_ARRAY_TASK_MAX="7")
    assert first == "cat_iwl_icl: 0: there are elements 1 to 4\n"
    past = call("bash", "scripts/cat_iwl_icl.sh", **more, SLURM_ARRAY_TASK_ID="5", SLURM_ARRAY_TASK_MAX="5")
    assert past.stdout == "cat_iwl_icl: the sweep has only 4 elements; nothing to do\n"
    short = call("bash", "scripts/cat_iwl_icl.sh", **more, SLURM_ARRAY_TASK_ID="1", SLURM_ARRAY_TASK_MAX="2")
    assert (
        short.stderr == "cat_iwl_icl: the sweep has 4 elements, this array ends at 2; scripts/submit.sh cat_iwl_icl submits all\n"
    )
    # by hand in a job of an array: the element that was asked for
    third = call("bash", "scripts/cat_iwl_icl.sh", "3", **more, SLURM_ARRAY_TASK_ID="1")
    assert third.stdout.startswith("cat_iwl_icl, element 3 of 4: ")


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        ((), {"SEEDS": "0"}, "SEEDS=0: must be a whole number from 1 to 9999, written without zeros before it"),
        ((), {"SEEDS": "08"}, "SEEDS=08: must be a whole number from 1 to 9999, written without zeros before it"),
        ((), {"SEEDS": "abc"}, "SEEDS=abc: must be a whole number from 1"),
        ((), {"SEEDS": "-1"}, "SEEDS=-1: must be a whole number from 1"),
        ((), {"SEEDS": "99999999999999999999"}, "SEEDS=99999999999999999999: must be a whole number from 1 to 9999"),
        ((), {"SEEDS": "x[$(touch x)]"}, "SEEDS=x[$(touch x)]: must be a whole number from 1"),
        ((), {"SEEDS_PER_JOB": "0"}, "SEEDS_PER_JOB=0: must be a whole number from 1"),
        (("SEEDS=3 4",), {}, "SEEDS=3 4: must be a whole number from 1"),
        ((), {"PRESET": "tiny"}, "PRESET=tiny: must be demo, laptop or paper"),
        (("--preset", "tiny"), {}, "PRESET=tiny: must be demo, laptop or paper"),
        (("--list", "--preset=tiny"), {}, "PRESET=tiny: must be demo, laptop or paper"),
        ((), {"BASE": ""}, "BASE is set and empty; give it a value or unset it"),
        ((), {"BASE": "a\nb"}, "BASE=a?b: must not hold a line break (? here)"),
        ((), {"PYTHON": "/nowhere/python"}, "PYTHON=/nowhere/python: does not exist; name an interpreter"),
        ((), {"PYTHON": "/bin/false"}, "PYTHON=/bin/false: ended with an error: it said nothing"),
        (("0",), {}, "0: there are elements 1 to 9"),
        (("08",), {}, "08: there are elements 1 to 9"),
        (("99999999999999999999",), {}, "99999999999999999999: there are elements 1 to 9"),
        (("third",), {}, "third: is neither the number of an element nor --list; flags begin with --"),
        (("1", "third"), {}, "third: belongs to no flag; flags begin with --"),
        (("--list", "--out_dir", "a\nb"), {}, "'a?b': must not hold a line break (? here)"),
        (("--ablation_level", "0.5"), {}, "--ablation_level: each element of this sweep has its own"),
        (("--ablation_level=0.5", "--list"), {}, "--ablation_level: each element of this sweep has its own"),
        ((), {"BASE": "x"}, "error: --load_model_from x: does not exist"),
    ],
)
def test_wrong_words_are_one_line(arguments, variables, message, tmp_path):
    command = ("bash", str(ROOT / "scripts/grid_tradeoff_mask.sh"), *arguments)
    assert one_line(*command, cwd=tmp_path, **variables).startswith(f"grid_tradeoff_mask: {message}")
    assert not os.listdir(tmp_path)


def test_a_wrong_flag_is_said_once_and_before_the_first_element():
    done = call("bash", "scripts/cat_iwl_icl.sh", "--n_tset", "3", status=2)
    assert (done.stdout, done.stderr) == ("", "cat_iwl_icl: error: --n_tset: unknown flag; did you mean --n_test?\n")
    shared = one_line("bash", "scripts/cat_iwl_icl.sh", "--out_dir", "x")
    assert shared == "cat_iwl_icl: error: --out_dir x: cat_iwl_icl 1 and cat_iwl_icl 2 would share this folder\n"


def test_a_preset_may_be_a_variable_an_argument_or_a_flag():
    for preset in PRESETS:
        command = ("bash", "scripts/cat_iwl_only.sh", "--list")
        ways = [
            call(*command, PRESET=preset),
            call(*command, f"PRESET={preset}"),
            call(*command, "--preset", preset, PRESET="demo"),
        ]
        configs = [parse(flags) for way in ways for _, flags in read("cat_iwl_only", way.stdout.encode())]
        assert configs == configs[:1] * 3
        assert configs[0].preset == preset


@pytest.mark.parametrize("broken", ["print('levels')", "import sys; sys.exit('no module')", "pass"])
def test_a_sweep_without_elements_fails(checkout, tmp_path, broken):
    python = tmp_path / "python"
    python.write_text(f"#!{ROOT}/.venv/bin/python\n{broken}\n")
    python.chmod(0o755)
    for command in (("bash", "scripts/cat_tradeoff_mask.sh"), ("scripts/submit.sh", "--dry_run", "cat_tradeoff_mask")):
        one_line(*command, cwd=checkout, PYTHON=str(python), BASE="x")


LISTED = (
    "cat_iwl_icl 2: --preset demo --task category --experiment icl_iwl --use_cuda --pt_rot_cond unrotated --pt_cond interleaved "
)


def elements(checkout: Path, **variables: str) -> list[str]:
    """The lines of `--list`, and those that say how each element would be submitted, with a user's variables."""
    command = ("bash", "scripts/cat_iwl_icl.sh", "--list")
    return call(*command, cwd=checkout, PRESET="demo", **variables).stdout.splitlines()


def test_variables_functions_and_options_of_the_users_shell_stay_outside(checkout, tmp_path):
    usual = elements(checkout)
    assert usual[1].startswith(LISTED)
    names = "name selection passed elements common words flags lists ids what dry_run known n k value seeds per product failed pid"
    mine = dict.fromkeys(["SWEEP_NAME", "SWEEP_ROOT", "SWEEP_ARGUMENTS", *names.split()], "mine")
    mine |= {"CDPATH": str(checkout), "IFS": ":", "GREP_OPTIONS": "--color=always", "POSIXLY_CORRECT": "1", "TMOUT": "1"}
    assert elements(checkout, **mine) == usual
    assert elements(checkout, SHELLOPTS="noglob:noclobber:nounset:errexit", BASHOPTS="nullglob:failglob:nocasematch") == usual
    functions = (
        "name",
        "run",
        "sweep",
        "here",
        "fail",
        "quoted",
        "printf",
        "echo",
        "cd",
        "test",
        "dirname",
        "python3",
        "bash",
        "source",
    )
    assert elements(checkout, **{f"BASH_FUNC_{name}%%": "() { echo mine; return 1; }" for name in functions}) == usual
    (tmp_path / "env.sh").write_text("""
        echo said
        shopt -s expand_aliases nullglob failglob
        alias run=false sweep=false fail=true printf=false
        cd() { return 1; }
        set -f; IFS=,
        name=mine
    """)
    assert elements(checkout, BASH_ENV=str(tmp_path / "env.sh"))[1:] == usual
    asked = ("scripts/submit.sh", "--dry_run", "PRESET=demo", "cat_iwl_icl")
    sane = call(*asked, cwd=checkout).stderr
    assert call(*asked, cwd=checkout, **mine, BASH_ENV=str(tmp_path / "env.sh")).stderr == sane


@pytest.mark.parametrize(
    ("site", "said"),
    [
        ('[ -z "$PS1" ] && return\n', ""),  # as Debian's bash.bashrc begins; without a terminal PS1 is unset
        ('[ -d /nowhere ] && module load it\necho loaded\nif [ -n "$UNSET" ]; then false; fi\n', "loaded\n"),
        ("false\ntrue\n", "cat_iwl_icl: scripts/site.sh: line 1, false: failed with status 1; continuing\n"),
        ("true\nreturn 3\n", "cat_iwl_icl: scripts/site.sh: its last command: failed with status 3; continuing\n"),
        ("set -- 7 --nonsense; set +e; cd /; IFS=,; shopt -s nullglob failglob; set -f; name=x; words=(3); passed=(y)\n", ""),
        ("run() { exit 7; }; cd() { exit 7; }; trap 'exit 7' EXIT; shopt -s expand_aliases; alias sweep=false\n", ""),
    ],
)
def test_a_sites_file_may_be_any_shell_code(checkout, site, said):
    usual = elements(checkout)
    (checkout / "scripts/site.sh").write_text(site)
    done = call("bash", "scripts/cat_iwl_icl.sh", "--list", cwd=checkout, PRESET="demo")
    assert (done.stdout.splitlines(), done.stderr) == (usual, said)


def test_what_a_sites_file_decides(checkout, echo):
    (checkout / "scripts/site.sh").write_text(f"PYTHON={shlex.quote(echo)}\nexport SEEDS=2 CACHE_DIR={shlex.quote(ODD)}\n")
    words = shlex.split(call("scripts/submit.sh", "--dry_run", "cat_iwl_only", "SEEDS=3", "PRESET=demo", cwd=checkout).stderr)
    assert sorted(words[words.index("scripts/cat_iwl_only.sh") + 1 :]) == sorted(
        ["PRESET=demo", f"PYTHON={echo}", "SEEDS=3", f"CACHE_DIR={ODD}"]
    )
    (checkout / "scripts/site.sh").write_text("exit 0\n")
    message = "scripts/site.sh ends the shell that reads it; it must not call exit\n"
    assert one_line("bash", "scripts/cat_iwl_only.sh", cwd=checkout) == f"cat_iwl_only: {message}"
    assert one_line("scripts/submit.sh", "cat_iwl_only", cwd=checkout) == f"submit.sh: {message}"


def test_a_script_runs_from_any_folder_and_through_a_link(checkout, tmp_path):
    usual = elements(checkout)
    (tmp_path / "link").symlink_to(checkout / "scripts/cat_iwl_icl.sh")
    (tmp_path / "submit").symlink_to(checkout / "scripts/submit.sh")
    for command in ((str(tmp_path / "link"),), ("bash", "link"), ("bash", str(checkout / "scripts/cat_iwl_icl.sh"))):
        assert call(*command, "--list", "PRESET=demo", cwd=tmp_path).stdout.splitlines() == usual
    assert "--array=1-4 scripts/cat_iwl_icl.sh" in call("./submit", "--dry_run", "cat_iwl_icl", cwd=tmp_path).stderr


def test_another_shell_than_bash_is_told():
    assert (
        one_line("dash", "scripts/cat_iwl_only.sh")
        == "cat_iwl_only: is written for bash; start it with: bash scripts/cat_iwl_only.sh\n"
    )
    assert one_line("dash", "scripts/submit.sh") == "submit.sh: is written for bash; start it with: bash scripts/submit.sh\n"


def test_help():
    assert call("scripts/submit.sh", "--help").stdout.startswith("Submit sweeps to SLURM")
    assert "bash scripts/NAME.sh --list [FLAGS]" in call("bash", "scripts/cat_iwl_only.sh", "--help").stdout
    assert call(".venv/bin/python", "-m", "runs.status", "--help").stdout.startswith("Status of a sweep's jobs: ")


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.sh")), ids=lambda path: path.name)
def test_bash_4_2_could_run_it(path):
    """Read, as such a bash is not to be had: there an empty array is unset for `set -u`, and what came later is an error."""
    text = path.read_text()
    never_empty = {"elements", "product", "common", "flags", "command", "known", "decided", "listed", "sweeps", "tasks"}
    bare = set(re.findall(r'(?<!\+)"\$\{(\w+)\[[@*]\]\}"', text))
    assert bare <= never_empty
    assert not re.search(r"\$\{\w+@\w\}|(local|declare) -n|mapfile -d|readarray|wait -n|inherit_errexit|\[\[ -v|EPOCH|\|&", text)
