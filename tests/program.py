"""The program in processes of its own, each forked from one that has imported the libraries.

Half of the time of a small job is importing torch and transformers. A fork begins after that: it has its own pid, streams, folder
and end, and imports every module of the program anew.
"""

import functools
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAIN = ROOT / "main.py"
LIBRARIES = (
    "accelerate",
    "matplotlib.figure",
    "pandas",
    "safetensors.torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
)


def run_main(*flags: str, cwd: Path | None = None, script: Path = MAIN, **kwargs) -> subprocess.CompletedProcess:
    """The real program, until it ends. What changes more than the folder (`env`) gets a process that nobody forked."""
    if kwargs:
        command = [sys.executable, str(script), *flags]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, **kwargs)
    process = Program(*flags, cwd=cwd, script=script)
    output, errors = process.communicate()
    return subprocess.CompletedProcess(flags, process.returncode, output, errors)


class Program:
    """The real program, begun. Its methods are those of subprocess.Popen."""

    def __init__(self, *flags: str, cwd: Path | None = None, script: Path = MAIN):
        self.returncode = None
        self._output, self._errors = (tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(2))  # noqa: SIM115
        self._replies, replies = socket.socketpair()
        asked = {"script": str(script), "flags": flags, "folder": str(cwd or Path.cwd())}
        given = [self._output.fileno(), self._errors.fileno(), replies.fileno()]
        socket.send_fds(_server(), [json.dumps(asked).encode()], given)
        replies.close()
        self.pid = int(self._replies.recv(100))

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        return self.wait(0)

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit status; None if it still runs after `timeout` seconds."""
        if self.returncode is None:
            self._replies.settimeout(timeout)
            try:
                self.returncode = int(self._replies.recv(100))
            except (BlockingIOError, TimeoutError):
                return None
            self._replies.close()
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """What it wrote to stdout and stderr, once it has ended."""
        self.wait()
        self._output.seek(0)
        self._errors.seek(0)
        return self._output.read(), self._errors.read()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


@functools.cache
def _server() -> socket.socket:
    """Start the process that forks; returns where it is asked. It ends with this process."""
    ours, theirs = socket.socketpair()
    subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    theirs.close()
    return ours


def serve(asked: socket.socket) -> None:
    """Fork, for each message, a process that watches over one of the program; until nobody can ask."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who watch
    while True:
        message, given, *_ = socket.recv_fds(asked, 1 << 20, 3)
        if not message:
            return
        if os.fork() == 0:
            asked.close()
            watch(json.loads(message), *given)
            return
        for number in given:
            os.close(number)


def watch(asked: dict, output: int, errors: int, replies: int) -> None:
    """Fork the program; send its pid, then its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        os.close(replies)
        become(asked, output, errors)
        return
    os.write(replies, str(child).encode())
    _, status = os.waitpid(child, 0)
    os.write(replies, str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def become(asked: dict, output: int, errors: int) -> None:
    """Be a process that was begun as `python SCRIPT FLAGS`."""
    for number, stream in enumerate([os.open(os.devnull, os.O_RDONLY), output, errors]):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    sys.argv = [asked["script"], *asked["flags"]]
    sys.path.insert(0, str(Path(asked["script"]).parent))
    runpy.run_path(asked["script"], run_name="__main__")


if __name__ == "__main__":
    del sys.path[0]  # the tests have rooms of the same names as the program
    for name in LIBRARIES:
        importlib.import_module(name)
    serve(socket.socket(fileno=int(sys.argv[1])))
