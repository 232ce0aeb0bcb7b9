import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import main
from analysis import conclude
from analysis.measures import summary
from analysis.report import style
from runs.interrupt import STOP_SIGNALS, StopFlag
from runs.terminal import say, tell
from runs.tracking import Tracker
from tests.conftest import TINY
from tests.program import ROOT

DO = """
import sys
from runs.terminal import command, say, tell
def main(arguments):
    for _ in range(300):
        say("→ a line for people" + " " * 80)
        print("not by tell", file=sys.stderr)
    open(arguments[0], "w", encoding="utf-8").write("a file of the job")
    print(f"{sys.stdout.isatty()}")
    return tell("the result: ε → 1") if len(arguments) == 1 else tell("the result") and 0
sys.exit(command(main, "do"))
"""


def run(redirections: str, *arguments: str, code: str = DO, **environment: str) -> subprocess.CompletedProcess:
    """A small command in a shell, with its streams redirected."""
    command = ["bash", "-c", f'"$@" {redirections}', "-", sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, env={**os.environ, **environment})


@pytest.mark.parametrize(
    ("redirections", "status", "said"),
    [
        ("2>/dev/full", 0, None),
        (">/dev/full", 1, "do: the output was not written (No space left on device)"),
        (">/dev/full 2>&1", 1, None),
        ("| head -0; exit ${PIPESTATUS[0]}", 0, None),
        ("2>&1 | head -1; exit ${PIPESTATUS[0]}", 0, None),
        ("2>&-", 0, None),
        (">&-", 0, None),
        ("<&- >&- 2>&-", 0, None),
    ],
)
def test_streams_that_fail_stop_nothing(tmp_path, redirections, status, said):
    done = run(redirections, str(tmp_path / "file"))
    assert done.returncode == status, done.stderr
    assert (tmp_path / "file").read_text(encoding="utf-8") == "a file of the job"
    assert b"Traceback" not in done.stderr
    assert not said or done.stderr.decode().splitlines()[-1] == said


def test_a_command_that_has_done_its_work_ends_well_when_its_result_cannot_be_printed(tmp_path):
    done = run(">/dev/full", str(tmp_path / "file"), "and more")
    assert done.returncode == 0
    assert done.stderr.decode().splitlines()[-1] == "do: the output was not written (No space left on device)"


def test_help_that_cannot_be_written_is_an_error():
    help_of_main = f"import sys; sys.argv = ['main.py', '--help']; exec(open({str(ROOT / 'main.py')!r}).read())"
    assert run(">/dev/full", code=help_of_main).returncode == 1
    assert run("| head -1; exit ${PIPESTATUS[0]}", code=help_of_main).returncode == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_gets_what_it_can_show(tmp_path, encoding):
    done = run("", str(tmp_path / "file"), PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == b"the result: ? ? 1"
    assert done.stderr.startswith(b"? a line for people")


def test_within_a_program_nothing_is_raised(monkeypatch):
    """Without the streams of `command`: a stream that cannot be written to, and a closed one."""
    with open(os.devnull, encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "stdout", stream)
        say("ε")
        assert tell("ε") == 1
    say("ε")
    assert tell("ε") == 1


def test_a_job_goes_on_when_its_terminal_is_closed_and_no_setting_of_matplotlib_changes_its_picture(finished_job, tmp_path):
    task, undisturbed, _ = finished_job
    if task == "category":
        pytest.skip("what is shown is the same")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 30\nsavefig.dpi: 9\n", encoding="utf-8")
    terminal, of_job = pty.openpty()
    termios.tcsetwinsize(of_job, (24, 80))
    command = [sys.executable, str(ROOT / "main.py"), *TINY[task].split(), "--n_runs", "2", "--out_dir", "job"]
    environment = {**os.environ, "MPLBACKEND": "nonsense"}
    process = subprocess.Popen(command, cwd=tmp_path, stdout=of_job, stderr=of_job, stdin=of_job, env=environment)
    os.close(of_job)
    shown = b""
    while b"metalearning:" not in shown:  # a bar is shown
        shown += os.read(terminal, 1000)
    os.close(terminal)
    assert process.wait() == 0
    for name in ("summary.json", "summary.png", "finetune_accuracy.csv"):
        assert (tmp_path / "job" / name).read_bytes() == (undisturbed / name).read_bytes()


def test_a_picture_that_fails_is_tried_again_by_the_same_command(finished_job, tmp_path, capsys):
    task, undisturbed, _ = finished_job
    folder = tmp_path / "job"
    shutil.copytree(undisturbed, folder)
    (folder / "summary.png").unlink()
    (folder / "finetune_accuracy.csv").rename(tmp_path / "table")  # of which it is drawn
    flags = [*TINY[task].split(), "--n_runs", "2", "--out_dir", str(folder)]
    assert main.main(flags) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(f"main.py: {folder / 'summary.png'} could not be drawn (")
    assert printed.err.count("\n") == 1
    assert "Few-shot" in printed.out
    assert "picture" not in printed.out
    (tmp_path / "table").rename(folder / "finetune_accuracy.csv")
    assert main.main(flags) == 0
    assert capsys.readouterr().err == ""
    assert (folder / "summary.png").read_bytes() == (undisturbed / "summary.png").read_bytes()


@pytest.mark.parametrize("damaged", ["", "{", "[]", "{}"])
def test_a_damaged_summary_is_made_again_from_the_tables(finished_job, tmp_path, capsys, damaged):
    _, undisturbed, _ = finished_job
    folder = tmp_path / "job"
    shutil.copytree(undisturbed, folder)
    (folder / "summary.json").write_text(damaged, encoding="utf-8")
    assert conclude.results(folder) == (summary.read(undisturbed), folder / "summary.png")
    assert "was damaged" in capsys.readouterr().err
    assert (folder / "summary.json").read_bytes() == (undisturbed / "summary.json").read_bytes()


def test_figures_look_the_same_whatever_the_users_settings(tmp_path):
    def plot(path: Path) -> bytes:
        with style.ours():
            figure, axes = plt.subplots()
            axes.plot([1, 2], label="text")
            axes.legend()
            style.save_png(figure, path)
        return path.read_bytes()

    plain = plot(tmp_path / "plain.png")
    with plt.style.context("dark_background"), plt.rc_context({"text.usetex": True, "font.size": 30, "savefig.dpi": 9}):
        assert plot(tmp_path / "other.png") == plain
        assert plt.rcParams["font.size"] == 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.png", "plain.png"]


def test_a_tracker_that_fails_warns_once(tmp_path, capsys):
    (tmp_path / "tracking").touch()  # the folder that tensorboard wants to make
    cannot_start = Tracker("tensorboard", tmp_path, {})
    cannot_start.log("metalearning", 1, {"loss": 1.0})
    cannot_start.close()
    said = capsys.readouterr().err
    assert said.startswith("main.py: --log_with tensorboard failed (")
    assert said.count("the job continues without it") == 1
    cannot_log = Tracker("tensorboard", tmp_path / "other", {})
    for _ in range(2):
        cannot_log.log("metalearning", "no step", {"loss": 1.0})
    cannot_log.close()
    assert capsys.readouterr().err.count("the job continues without it") == 1


def test_the_signal_of_a_closed_terminal_saves_unless_nohup_ignores_it():
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        ignoring = StopFlag().listen()
        os.kill(os.getpid(), signal.SIGHUP)
        assert ignoring.signal is None
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        listening = StopFlag().listen()
        os.kill(os.getpid(), signal.SIGHUP)
        assert listening.signal == signal.SIGHUP
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
