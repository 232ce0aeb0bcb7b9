"""Where a report is written: what it finds there that no report wrote is neither changed nor removed."""

import fcntl
import json
import os
import signal
import subprocess
import sys

import pandas as pd
import pytest

from analysis.jobs.compare import Unreadable
from analysis.jobs.load import Sweep
from analysis.report import folder
from analysis.report.__main__ import Report, file_names, main, write
from analysis.report.sections import Section
from tests.program import ROOT


def report(out, *names):
    """A report of these files, the page last."""
    with folder.replaced(out) as staged:
        for name in names:
            (staged / name).parent.mkdir(exist_ok=True)
            (staged / name).write_text(f"a report's {name}", encoding="utf-8")


def half_a_report(out):
    with folder.replaced(out) as staged:
        (staged / "index.html").write_text("half", encoding="utf-8")
        raise OSError(28, "No space left on device")


def tree(out):
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != folder.MARKER
    }


@pytest.mark.parametrize("there", ["new", "below/a/new", "empty"])
def test_a_new_or_empty_folder(tmp_path, there):
    (tmp_path / "empty").mkdir()
    report(tmp_path / there, "index.html", "figures/a.png")
    assert set(tree(tmp_path / there)) == {"index.html", "figures/a.png"}
    assert folder.recorded(tmp_path / there) == ["figures/a.png", "index.html"]


@pytest.mark.parametrize("name", ["index.html", "figures/mine.png", "tables/mine.csv", ".hidden", "report/index.html"])
def test_a_folder_without_marker_is_not_a_reports(tmp_path, capsys, name):
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_text("mine", encoding="utf-8")
    assert main([str(ROOT / "results/sample"), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert f"-o {tmp_path}/out: holds files and no report.json, so no report made it; name another folder" in said
    assert said.count("\n") == 1
    assert tree(tmp_path / "out") == {name: b"mine"}


@pytest.mark.parametrize("name", ["../mine", "figures/../../mine", "figures/..", "/etc/passwd", "mine", "figures/a/b"])
def test_a_marker_that_lists_what_no_report_writes(tmp_path, name):
    test_a_marker_that_no_report_wrote(tmp_path, json.dumps({"files": [name]}))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": 3}', '{"files": [3]}'])
def test_a_marker_that_no_report_wrote(tmp_path, text):
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / folder.MARKER).write_text(text, encoding="utf-8")
    with pytest.raises(Unreadable, match=r"report\.json in it was not written by a report"):
        report(tmp_path / "out", "index.html")
    assert (tmp_path / "mine").exists()


def test_only_what_an_earlier_report_wrote_is_replaced_or_removed(tmp_path):
    out = tmp_path / "out"
    report(out, "index.html", "figures/old.png", "figures/both.png", "tables/old.csv")
    mine = {"notes.txt", "figures/mine.png", "tables/mine.csv", "figures/.ipynb_checkpoints/old.png", "tables/deep/er/x.md"}
    for name in mine:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine", encoding="utf-8")
    (out / "tables/old.csv").unlink()
    (out / "tables/old.csv").mkdir()  # a folder of that name is no file that a report wrote
    report(out, "index.html", "figures/both.png", "figures/new.png")
    assert {name for name, content in tree(out).items() if content == b"mine"} == mine
    assert set(tree(out)) - mine == {"index.html", "figures/both.png", "figures/new.png"}
    assert (out / "tables/old.csv").is_dir()
    report(out, "index.html")
    assert set(tree(out)) - mine == {"index.html"}


def test_a_file_of_ones_own_is_not_overwritten(tmp_path):
    out = tmp_path / "out"
    report(out, "index.html", "figures/a.png")
    (out / "figures" / "b.png").write_text("mine", encoding="utf-8")
    before = tree(out)
    with pytest.raises(Unreadable, match=r"figures/b\.png in it was not written by a report, and would be overwritten"):
        report(out, "index.html", "figures/b.png")
    assert tree(out) == before
    assert {path.name for path in out.iterdir()} == {"index.html", "figures", folder.MARKER}


def test_a_report_that_fails_leaves_the_one_before(tmp_path):
    out = tmp_path / "out"
    for fresh in (tmp_path / "a" / "b", out):
        if fresh == out:
            report(out, "index.html", "figures/a.png")
            before = tree(out)
        with pytest.raises(OSError, match="No space"):
            half_a_report(fresh)
    assert tree(out) == before
    assert not (tmp_path / "a").exists()
    assert {path.name for path in out.iterdir()} == {"index.html", "figures", folder.MARKER}


def test_a_report_that_is_killed_leaves_the_one_before(tmp_path):
    out = tmp_path / "out"
    report(out, "index.html")
    code = f"""
import pathlib, time
from analysis.report import folder
with folder.replaced(pathlib.Path({str(out)!r})) as staged:
    (staged / "index.html").write_text("half", encoding="utf-8")
    print("drawn", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "drawn\n"
    with pytest.raises(Unreadable, match="another report is being written there"):
        report(out, "index.html")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (out / "index.html").read_text(encoding="utf-8") == "a report's index.html"
    (out / ".new-mine").mkdir()  # not what that report recorded
    report(out, "index.html", "figures/a.png")
    assert {path.name for path in out.iterdir()} == {"index.html", "figures", folder.MARKER, ".new-mine"}


def test_a_folder_that_cannot_be_locked_is_written_to(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(22, os.strerror(22))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    report(tmp_path / "out", "index.html")
    assert set(tree(tmp_path / "out")) == {"index.html"}


def test_tables_of_like_names_keep_apart(tmp_path):
    """On a file system that does not tell capitals apart, too; and which is which stands in titles.csv."""
    titles = ["Tests, Qwen2.5-1B, argmax", "Tests, Qwen2-5_1b, argmax", "Tests, QWEN2.5-1B (x), argmax", "Tests, " + "ü" * 300]
    tables = {title: pd.DataFrame({"value": [i]}) for i, title in enumerate(titles)}
    picture = tmp_path / "figures" / "paper_grid_language_models"
    picture.parent.mkdir()
    picture.with_suffix(".svg").touch()
    section = Section("language_models", "x", "x", [], picture, tables)
    claims = pd.DataFrame(columns=["claim", "kind"])
    write(Report(Sweep(tmp_path, [], []), claims, [section], {}), tmp_path)
    listed = pd.read_csv(tmp_path / "tables" / "titles.csv")
    assert listed.title.tolist() == titles
    assert len({name.casefold() for name in listed.file}) == len(titles)
    for i, name in enumerate(listed.file):
        assert pd.read_csv(tmp_path / "tables" / f"{name}.csv").value.tolist() == [i]
        assert (tmp_path / "tables" / f"{name}.md").exists()
    assert file_names(["a", "A", "a_2", "claims"]) == ["a", "A_2", "a_2_2", "claims_2"]
