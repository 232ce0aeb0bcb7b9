"""docs/extend.md: what it says to write, written into a copy of the program, does what it says."""

import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from ablate import KINDS
from analysis.measures import published
from flags.ablations import ABLATIONS
from models import draw_weights
from runs.checkpoint import write_weights
from tests.conftest import TINY, built, configured, encoded
from tests.program import ROOT, run_main

ROOMS = ("analysis", "engine", "episodes", "flags", "preview", "runs", "tasks")


def section(title: str) -> str:
    """A section of the page, without its heading."""
    text = (ROOT / "docs/extend.md").read_text(encoding="utf-8")
    return re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


@pytest.fixture
def copy(tmp_path):
    """The folder of a copy of the program."""
    folder = tmp_path / "program"
    folder.mkdir()
    for path in ROOT.glob("*.py"):
        shutil.copy(path, folder)
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def extend(folder, title: str) -> None:
    """Write a section's code where it says."""
    found = re.findall(r"^At the end of `([^`]+)`:\n\n```python\n(.*?)^```$", section(title), re.MULTILINE | re.DOTALL)
    assert found
    for name, code in found:
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(f"\n\n{code}")


def printed_by(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(folder, *arguments: str) -> str:
    return printed_by(subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True))


def program(folder, *flags: str) -> str:
    return printed_by(run_main(*flags, cwd=folder, script=folder / "main.py"))


HIDDEN = """
import numpy as np
from ablate import make_ablation
examples = np.array([0, 0, -1, 1, 1, -1, 2, 2, -1, 3, 3, -1])
ablation = make_ablation("oldest", examples, (1, 1, 1))
draws = ablation.draw_all(2, [("a key",)])
changed = ablation.batch(np.zeros((1, 12)), np.zeros((1, 2, 1, 2)), draws, np.array([0.5, 1]))[2]
for variant in range(2):
    print(*(changed["bias"][0, variant, 0, -1] < 0).int().tolist())
"""


def test_the_tables_of_ablations_agree():
    assert list(KINDS) == list(ABLATIONS)
    assert published.trade_off("grid", "bernoulli", 1.0) == ({}, {})
    assert published.trade_off("grid", "mask", 0.8)[1][0.8] == 1


def test_an_ablation(copy):
    extend(copy, "An ablation")
    assert python(copy, "-c", HIDDEN).splitlines() == ["1 1 0 1 1 0 0 0 0 0 0 0", "1 1 0 1 1 0 1 1 0 1 1 0"]
    small = (
        "--n_layers 2 --n_heads 2 --d_model 16 --d_ff 16 --n_blocks 1 --n_steps_per_block 3 --test_repeats 2 --n_test 2 --threads 1"
    )
    model = built(configured(f"--preset demo --task grid {small}"), encoded(f"--preset demo --task grid {small}"))
    write_weights(copy / "base.safetensors", draw_weights(model, 0, 0.1))
    flags = f"--preset demo --task grid --experiment tradeoff_oldest {small} --load_model_from base.safetensors --out_dir sweep"
    assert "--experiment tradeoff_oldest" in section("An ablation")
    printed = program(copy, *flags.split())
    assert "Trade-off: grid, oldest, rule-like tasks" in printed
    assert (copy / "sweep/tradeoff.png").stat().st_size > 10_000
    rows = pd.read_csv(next((copy / "sweep/level_0.5").glob("*/finetune_accuracy.csv")))
    assert sorted(set(rows.test_level)) == [0, 0.25, 0.5, 0.75, 1]


def test_a_model(copy):
    extend(copy, "A model")
    assert "--model_name olmo2" in section("A model")
    few = "--congruent_only --test_one_rot_cond --step_cond interleaved --n_blocks 1 --n_steps_per_block 3 --n_val 2"
    program(copy, *TINY["grid"].split(), *few.split(), "--model_name", "olmo2", "--out_dir", "job")
    losses = pd.read_csv(copy / "job/pretrain_loss.csv").groupby("step").loss.mean()
    assert losses.iloc[-1] < losses.iloc[0] - 0.1


RESOLVED = """
from flags.command_line import parse
config = parse("--preset tiny --task grid --n_heads 4".split())
print(config.n_layers, config.n_heads, config.max_len, config.weight_init, config.out_dir)
"""


def test_a_preset(copy):
    extend(copy, "A preset")
    assert python(copy, "-c", RESOLVED) == "2 4 200 looking_back results/tiny_grid_icl_iwl/unrotated_blocked/seeds_00\n"


def test_from_python():
    code, printed = re.search(r"```python\n(.*?)```\n\nIt prints\n\n```\n(.*?)```", section("From Python"), re.DOTALL).groups()
    assert python(ROOT, "-c", code) == printed


def test_every_section_is_listed_and_every_file_is_there():
    text = (ROOT / "docs/extend.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[(.*?)\]\(#(.*?)\)$", text, re.MULTILINE)
    assert all(anchor == title.lower().replace(" ", "-") for title, anchor in listed)
    assert set(re.findall(r"^## (.*)$", text, re.MULTILINE)) <= {title for title, _ in listed}
    named = set(re.findall(r"`([a-z_/]+\.(?:py|ipynb))`", text))
    assert len(named) > 15
    assert not [name for name in named if not (ROOT / name).exists()]
