"""The committed jobs of the published size: their weights are what their sums say, and answer as their summaries say."""

import hashlib
import json

import pytest
import torch

import models
from analysis.jobs.load import load
from data import Encoder
from engine.ensemble import Ensemble
from tasks import make_task
from test import count_correct
from tests.conftest import built
from tests.program import ROOT

PAPER = ROOT / "results/paper"
JOBS = sorted(path.parent for path in PAPER.rglob("summary.json"))
WITH_WEIGHTS = [job for job in JOBS if (job / "checkpoints").exists()]


def test_there_are_some_and_they_are_small():
    sweep = load(PAPER).sound()
    assert len(sweep.jobs) == len(JOBS) > 0
    assert not sweep.left_out
    for job in sweep.jobs:  # the others' weights are their base's
        assert (job.folder / "checkpoints").exists() == (job.flags["n_epochs"] > 0), job.folder
    assert sum(path.stat().st_size for path in PAPER.rglob("*") if path.is_file()) < 40e6


@pytest.mark.parametrize("folder", WITH_WEIGHTS, ids=lambda folder: str(folder.relative_to(PAPER)))
def test_weights_are_whole_and_answer_as_stated(folder):
    """Few-shot on the ten rule-like, blocked test episodes, from the weights alone."""
    lines = (folder / "checkpoints/SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert {line.split("  ")[1] for line in lines} == {path.name for path in (folder / "checkpoints").iterdir()} - {"SHA256SUMS"}
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / "checkpoints" / name).read_bytes()).hexdigest() == digest, name
    (job,) = load(folder).sound().jobs
    config, summary = job.config, json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    encoder = Encoder(config, make_task(config))
    model, right, asked = built(config, encoder), 0, 0
    for seed in job.seeds:
        weights = models.load_weights(folder / f"checkpoints/best_seed{seed}.safetensors", model)
        ensemble = Ensemble(model, [weights], 1e-4, encoder.causal, torch.device("cpu"))
        n_correct, n_queries = count_correct(ensemble, [encoder.episodes(seed, "test", "unrotated", "blocked", config.n_test)])
        right, asked = right + n_correct[0, :, -1].sum(), asked + n_queries[0, :, -1].sum()
    (stated,) = (
        row["accuracy"]
        for row in summary["few_shot"]
        if (row["init"], row["rotation"], row["context_curriculum"]) == ("metalearned", "unrotated", "blocked")
    )
    assert right / asked == pytest.approx(stated, abs=1.5 / asked)  # a near tie may fall otherwise on another machine
