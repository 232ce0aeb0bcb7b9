"""The program in processes of its own, each forked from one that has imported the libraries.

Half of the time of a small job is importing torch and transformers. A fork begins after that: it has its own pid, streams, folder,
variables and end, and imports every module of the program anew. What it shares with others is the seed of Python's hashes.
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
NUMBER = 8  # bytes of a whole number on its way


def run_main(*flags: str, cwd: Path | None = None, script: Path = MAIN, **kwargs) -> subprocess.CompletedProcess:
    """The real program, until it ends. With `env` or other words of subprocess.run it is a process that nobody forked."""
    if kwargs:
        command = [sys.executable, str(script), *flags]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, **kwargs)
    process = Program(*flags, cwd=cwd, script=script)
    output, errors = process.communicate()
    return subprocess.CompletedProcess(flags, process.returncode, output, errors)


class Program:
    """The real program, begun. Its methods are named as those of subprocess.Popen."""

    def __init__(self, *flags: str, cwd: Path | None = None, script: Path = MAIN):
        self.returncode = None
        self._output, self._errors = (tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(2))  # noqa: SIM115
        self._replies, replies = socket.socketpair()
        asked = {"script": str(script), "flags": flags, "folder": str(cwd or Path.cwd()), "variables": dict(os.environ)}
        given = [self._output.fileno(), self._errors.fileno(), replies.fileno()]
        message = json.dumps(asked).encode()
        socket.send_fds(_server(), [_number(len(message))], given)
        _server().sendall(message)
        replies.close()
        self.pid = self._reply()

    def _reply(self) -> int:
        reply = self._replies.recv(NUMBER)
        if not reply:
            raise RuntimeError("the process that forks the program has ended; its words are on stderr")
        return int(reply)

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        if self.returncode is None:
            self._replies.setblocking(False)
            try:
                return self.wait()
            except BlockingIOError:
                return None
            finally:
                self._replies.setblocking(True)
        return self.returncode

    def wait(self) -> int:
        """The exit status, once it has ended. Until then its pid is no other process's."""
        if self.returncode is None:
            self.returncode = self._reply()
            self._replies.shutdown(socket.SHUT_RDWR)
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """What it wrote to stdout and stderr, once it has ended."""
        self.wait()
        found = []
        for stream in (self._output, self._errors):
            stream.seek(0)
            found.append(stream.read())
        return tuple(found)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _number(value: int) -> bytes:
    return f"{value:{NUMBER}}".encode()


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
        size, given, *_ = socket.recv_fds(asked, NUMBER, 3)
        if not size:
            return
        message = asked.recv(int(size), socket.MSG_WAITALL)
        if os.fork() == 0:
            asked.close()
            watch(json.loads(message), *given)
            return
        for number in given:
            os.close(number)


def watch(asked: dict, output: int, errors: int, replies: int) -> None:
    """Fork the program; send its pid, then its exit status. Its pid stays taken until the status has been read."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        os.close(replies)
        become(asked, output, errors)
        return
    os.write(replies, _number(child))
    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    os.write(replies, _number(status))
    os.read(replies, 1)
    os.waitpid(child, 0)
    os._exit(0)


def become(asked: dict, output: int, errors: int) -> None:
    """Be a process that was begun as `python SCRIPT FLAGS`."""
    import numpy as np

    for number, stream in enumerate([os.open(os.devnull, os.O_RDONLY), output, errors]):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["variables"])
    np.random.seed()  # as in a new process
    sys.argv = [asked["script"], *asked["flags"]]
    sys.path.insert(0, str(Path(asked["script"]).parent))
    runpy.run_path(asked["script"], run_name="__main__")


if __name__ == "__main__":
    del sys.path[0]  # the tests have rooms of the same names as the program
    for name in LIBRARIES:
        importlib.import_module(name)
    serve(socket.socket(fileno=int(sys.argv[1])))
