import os

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

import models
import tasks
from data import Encoder
from flags.command_line import parse
from flags.config import Config
from tasks import make_task
from tests.program import run_main


@pytest.fixture(autouse=True)
def one_thread():
    """Tests run side by side; the program, called in a test's own process, takes all cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def tasks_of_the_program():
    """Forget the outside tasks that a test asked for: their context curricula are known as long as they are."""
    yield
    tasks._outside.clear()


# A job of a few seconds: small, but with every phase, several members and short last batches.
_SMALL = (
    "--n_layers 2 --n_heads 2 --d_model 16 --d_ff 16 --n_train 24 --n_val 4 --n_test 2 --n_epochs 3 --pretrain_lr 0.01 "
    "--test_every 7 --print_every 5 --n_blocks 2 --n_steps_per_block 13 --finetune_test_every 5 --max_members 6 --threads 1"
)
TINY = {
    "grid": f"--task grid {_SMALL} --queries_per_episode 5 --pretrain_bs 55",
    "category": f"--task category {_SMALL} --queries_per_episode 4 --pretrain_bs 40 --finetune_bs 3 "
    "--n_task_dims 20 --n_symbols 4 --n_in_context 8",
}


def configured(flags: str) -> Config:
    return parse(flags.split())


def encoded(flags: str) -> Encoder:
    config = configured(flags)
    return Encoder(config, make_task(config))


def built(config: Config, encoder: Encoder):
    """The model of a job, on the CPU."""
    return models.model_of(config, encoder)


@pytest.fixture(scope="session", params=["grid", "category"])
def finished_job(request, tmp_path_factory):
    """The task and folder of a tiny job that ran undisturbed."""
    folder = tmp_path_factory.mktemp(request.param) / "job"
    # Not forked: other jobs are held against this one, and so must not share the seed of its hashes.
    done = run_main(*TINY[request.param].split(), "--n_runs", "2", "--out_dir", str(folder), env=os.environ)
    assert done.returncode == 0, done.stderr
    return request.param, folder, done


@pytest.fixture
def norms_in_full_precision(monkeypatch):
    """Hugging Face's RMSNorm computes in fp32 whatever the dtype; lift that, for both sides of a comparison in fp64."""

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    monkeypatch.setattr(LlamaRMSNorm, "forward", forward)
