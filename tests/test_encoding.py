"""Files are UTF-8 whatever the locale; a terminal gets what it can show."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.report.__main__ import main
from benchmarks import synthetic
from runs.files import write_json
from tests.program import ROOT

BINARY_UNLESS_TOLD = {"os", "gzip", "Pixels"}  # their open() has no text, or only on demand
ROOMS = [path.parent for path in sorted(ROOT.glob("*/__init__.py")) if path.parent.name != "tests"] + [ROOT / "benchmarks"]
FILES = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in room.rglob("*.py"))]


def _leaves_the_encoding_to_the_locale(call: ast.Call) -> bool:
    """Return True for a call that reads or writes text without saying in which encoding."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    constants = [value.value for value in [*call.args, *given.values()] if isinstance(value, ast.Constant)]
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = getattr(getattr(call.func, "value", None), "id", "")
    if name in ("run", "Popen", "check_output"):
        return ("text" in given or "universal_newlines" in given) and "encoding" not in given
    if name in ("open", "fdopen"):
        binary = any(isinstance(value, str) and "b" in value and set(value) <= set("rwxab+") for value in constants)
        return "encoding" not in given and not binary and owner not in BINARY_UNLESS_TOLD
    return name in ("read_text", "write_text") and "encoding" not in given and owner != "recorder"  # its own are UTF-8


def test_every_file_is_read_and_written_as_utf_8():
    """Ruff's PLW1514 says so where it knows that a path is a path; here the name of the method is enough."""
    assert len(FILES) > 80
    calls = ((path, node) for path in FILES for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call))
    assert not [f"{path}:{call.lineno}" for path, call in calls if _leaves_the_encoding_to_the_locale(call)]


C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def latin_1(tmp_path_factory) -> dict[str, str]:
    """The variables of a Latin-1 locale."""
    folder = tmp_path_factory.mktemp("locales")
    if not shutil.which("localedef"):
        pytest.skip("takes localedef")
    made = subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", folder / "en_US.ISO-8859-1"], capture_output=True)
    if made.returncode:
        pytest.skip("takes the sources of a locale")
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1"}


def run(variables: dict[str, str], *command: object, cwd: Path) -> bytes:
    """What a command prints in another locale."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def test_a_terminal_of_another_encoding(latin_1, tmp_path):
    shown = run(latin_1, ROOT / "main.py", "--show", "1", cwd=tmp_path)
    assert shown.startswith("Episode 0 · grid · unrotated · blocked context · seed 0\n".encode("latin-1"))
    for variables in (latin_1, C_LOCALE):
        assert b"seeds SEED ? SEED + N_RUNS - 1" in run(variables, ROOT / "main.py", "--help", cwd=tmp_path)


def test_a_report_is_the_same_bytes_in_any_locale(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")  # the page says when it was made
    synthetic.write(["--preset", "demo", "--n_test", "2", "--n_steps_per_block", "40"])
    assert main([]) == 0
    assert "Made 2023-11-14 22:13 UTC by" in Path("report/index.html").read_text(encoding="utf-8")
    run({**C_LOCALE, "SOURCE_DATE_EPOCH": "1700000000"}, "-m", "analysis.report", "results", "-o", "other", cwd=tmp_path)
    names = [path.relative_to("report") for path in Path("report").rglob("*") if path.is_file()]
    assert len(names) > 10
    for name in names:
        assert (Path("other") / name).read_bytes() == (Path("report") / name).read_bytes(), name


def test_a_path_that_is_not_utf_8_is_recorded(tmp_path):
    path = os.fsdecode(b"/scratch/caf\xe9 \xc3\xa9")
    write_json(tmp_path / "config.json", {"out_dir": path, "token": "→"})
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8")) == {"out_dir": path, "token": "→"}
    assert "→".encode() in (tmp_path / "config.json").read_bytes()
