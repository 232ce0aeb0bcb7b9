"""A model behind a server: the answers of the model in a folder; servers that can do less, break, stop or refuse."""

import csv
import io
import json
import signal
import subprocess
import sys

import pytest

from tests.pretrained.conftest import GRID, asked
from tests.pretrained.small_server import Disturbed
from tests.program import ROOT, run_main
from tests.test_main import wait_for

FLAGS = ("--llm", "small", "--n_val", "2", "--pt_cond", "blocked")
N_QUESTIONS = 2 * 2 * 16  # rotations, episodes, novel items


def questions(pieces) -> dict[str, int]:
    """How often each prompt was asked."""
    return dict(pieces.prompts)


def without_model(text: str) -> list[list[str]]:
    return [row[1:] for row in csv.reader(io.StringIO(text))]


@pytest.mark.parametrize("without", [[], ["echo"]])
def test_scores_by_a_server_are_those_of_the_model_in_its_folder(small, server, without, tmp_path):
    """By `echo`, and where a server does not know that, by vLLM's `prompt_logprobs`."""
    flags = ["--scoring", "argmax,candidates,generate", "--num_beams", "1", "--n_val", "2", "--pt_cond", "blocked"]
    here, _ = asked(tmp_path / "here", "--llm", str(small), *flags)
    there, _ = asked(tmp_path / "there", "--llm", "small", "--llm_api", server(*without), *flags)
    assert without_model(here["llm_accuracy.csv"]) == without_model(there["llm_accuracy.csv"])
    first = (tmp_path / "here" / "prompts" / "rotated_blocked.txt").read_text().split("-" * 80)
    second = (tmp_path / "there" / "prompts" / "rotated_blocked.txt").read_text().split("-" * 80)
    assert first[1] == second[1]  # log-probabilities to two digits, and the likeliest of all locations


@pytest.mark.parametrize("scoring", ["argmax", "candidates", "argmax,generate"])
def test_a_scoring_that_a_server_cannot_have(server, scoring, tmp_path):
    address = server("echo", "prompt_logprobs")
    done = run_main(*GRID.split(), *FLAGS, "--llm_api", address, "--scoring", scoring, "--out_dir", str(tmp_path / "job"))
    assert (done.returncode, (tmp_path / "job").exists()) == (2, False)
    missing = scoring.removesuffix(",generate")
    assert done.stderr == (
        f"main.py: error: --scoring {scoring}: {missing} cannot work: this server gives no log-probabilities of an answer that "
        "is not its own; possible: --scoring generate\n"
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--llm_api http://127.0.0.1:9/v1", "--llm_api http://127.0.0.1:9/v1: does not answer (Connection error.)"),
        ("--llm other --llm_api SERVER", "--llm other: SERVER has no such model, but small, refuse, empty, held"),
        ("--llm_api ROOT", "most addresses end in /v1"),
        ("--llm_api ftp://x/v1", "--llm_api ftp://x/v1: is no address; it has the form http://HOST:PORT/v1"),
        ("--llm_api http://me:hunter2@host/v1", "--llm_api: must be an address without a name, password or query"),
        ("--llm_api SERVER --num_beams 2", "--num_beams 2: is for a model that is loaded here; leave it out with --llm_api"),
    ],
)
def test_a_server_that_cannot_be_asked(server, flags, said, tmp_path):
    address = server()
    flags, said = (text.replace("SERVER", address).replace("ROOT", address.removesuffix("/v1")) for text in (flags, said))
    done = run_main(*GRID.split(), *FLAGS, *flags.split(), "--out_dir", str(tmp_path / "job"))
    assert (done.returncode, (tmp_path / "job").exists(), done.stderr.count("\n")) == (2, False, 1)
    assert said in done.stderr
    assert "hunter2" not in done.stderr


def test_a_server_that_only_chats(server, pieces, tmp_path):
    tables, done = asked(tmp_path / "job", *FLAGS, "--llm_api", server("completions"))
    assert "has no /completions for this model; each question is a user's turn of a chat" in done.stderr
    assert tables["llm_generated.csv"].count("It lives at 1, 2.") == N_QUESTIONS
    text = next(iter(questions(pieces)))
    assert "[INST]" not in text
    assert text.endswith(" :")
    assert sum(questions(pieces).values()) == N_QUESTIONS + 1  # and the trial


@pytest.mark.parametrize(("name", "kept"), [("refuse", "I will not."), ("empty", ""), ("held", "")])
def test_a_refusal_or_nothing_is_wrong_and_kept_to_be_read(server, name, kept, tmp_path):
    tables, done = asked(tmp_path / "job", *FLAGS, "--llm", name, "--llm_api", server("completions"))
    generated = list(csv.DictReader(io.StringIO(tables["llm_generated.csv"])))
    assert [row["generated"] for row in generated] == [kept] * N_QUESTIONS
    assert all(row["n_correct"] == "0" for row in csv.DictReader(io.StringIO(tables["llm_accuracy.csv"])))
    assert (f"{N_QUESTIONS} answers had no text, and count as wrong" in done.stderr) == (name != "refuse")


def test_a_server_that_is_busy_broken_slow_or_cut_off_changes_nothing(server, tmp_path):
    """Each request may fail, up to two in a row; the answers are the same, and so is the count of those that came."""
    address = server()
    right, done = asked(tmp_path / "right", *FLAGS, "--llm_api", address)
    faults = ["", "429", "", "500", "cut", "", "garbage", "", "slow", "broken", "", "overloaded", ""]
    disturbed, told = asked(tmp_path / "disturbed", *FLAGS, "--llm_api", Disturbed(address, faults).address)
    assert disturbed == right
    assert done.stderr.splitlines()[-1] == told.stderr.splitlines()[-1]
    assert f"{N_QUESTIONS} requests, " in told.stderr


def test_a_server_that_gives_up_leaves_what_was_answered(server, pieces, tmp_path):
    """What cannot be read is asked eight times; then the job fails, and the same command resumes it."""
    address, folder = server(), tmp_path / "job"
    right, _ = asked(tmp_path / "right", *FLAGS, "--llm_api", address)
    proxy = Disturbed(address, [""] * 30 + ["garbage"] * 100)
    command = [*GRID.split(), *FLAGS, "--llm_api", proxy.address, "--out_dir", str(folder)]
    done = run_main(*command)
    assert done.returncode == 1
    assert f"main.py: failed: {proxy.address}: its answer" in done.stderr
    assert "the same command resumes the job" in done.stderr
    pieces.prompts.clear()
    proxy.faults = []
    assert run_main(*command).returncode == 0
    assert sum(questions(pieces).values()) == N_QUESTIONS - 29 + 1  # all but those answered before, and the trial of each start
    assert {path.name: path.read_text() for path in folder.glob("llm_*.csv")} == right


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_asked_is_not_asked_again(server, pieces, number, tmp_path):
    """After a signal that stops; after a kill only what was on its way: four questions."""
    address, folder = server(), tmp_path / "job"
    right, _ = asked(tmp_path / "right", *FLAGS, "--llm_api", address)
    pieces.prompts.clear()
    proxy = Disturbed(address, ["slow"])
    command = [sys.executable, str(ROOT / "main.py"), *GRID.split(), *FLAGS, "--llm_api", proxy.address, "--out_dir", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    wait_for(process, folder / "llm_generated.csv", 1500)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == (75 if number == signal.SIGTERM else -signal.SIGKILL)
    asked_before = sum(questions(pieces).values())
    assert 20 < asked_before < N_QUESTIONS
    proxy.faults = []
    assert subprocess.run(command, capture_output=True).returncode == 0
    again = sum(questions(pieces).values()) - 2 - N_QUESTIONS
    assert again <= (0 if number == signal.SIGTERM else 4)
    assert {path.name: path.read_text() for path in folder.glob("llm_*.csv")} == right


def test_the_key_is_sent_and_written_nowhere(server, tmp_path, monkeypatch):
    key = "sk-0123456789-secret"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    address, folder = server(), tmp_path / "job"
    proxy = Disturbed(address, [""] * 10 + ["401"] * 100, key)
    command = [*GRID.split(), *FLAGS, "--llm_api", proxy.address, "--out_dir", str(folder)]
    refused = run_main(*command)
    assert refused.returncode == 1
    assert "no: KEY" in refused.stderr
    proxy.faults = []
    done = run_main(*command)
    assert done.returncode == 0
    said = refused.stderr + refused.stdout + done.stderr + done.stdout
    for text in (said, *(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())):
        assert key not in text
    assert json.loads((folder / "config.json").read_text())["flags"]["llm_api"] == proxy.address
    proxy.faults = ["401"]
    done = run_main(*command[:-1], str(tmp_path / "other"))
    assert (done.returncode, done.stderr) == (2, f"main.py: error: --llm_api {proxy.address}: refuses the key; the environment's "
                                                 "OPENAI_API_KEY holds it\n")  # fmt: skip


def test_without_a_package_a_line_says_what_to_install(smollm2, tmp_path):
    """In an environment with the packages of requirements.txt alone."""
    plain = [str(ROOT / ".venv" / "bin" / "python"), str(ROOT / "main.py"), *GRID.split(), "--out_dir", str(tmp_path / "job")]
    for package, flags in (("openai", ("--llm", "x", "--llm_api", "http://127.0.0.1:9/v1")), ("gguf", ("--llm", str(smollm2)))):
        done = subprocess.run([*plain, *flags], capture_output=True, text=True)
        assert done.returncode == 2
        assert f"takes the package {package}: pip install -r requirements-llm.txt" in done.stderr
