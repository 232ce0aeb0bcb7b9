"""A job's folder: its configuration, CSV tables, saved states and progress."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from runs import checkpoint, files, terminal
from runs.interrupt import Interrupted, Progress, StopFlag
from runs.lock import Lock, LostLock
from runs.tracking import Tracker

_EPISODE = ("seed", "init", "rotation", "context_curriculum", "step_curriculum", "episode", "block", "trained_group", "step")
TABLES = {
    "pretrain_loss": ("seed", "stage", "step", "epoch", "subset", "loss"),
    "pretrain_accuracy": ("seed", "stage", "step", "epoch", "subset", "n_correct", "n_queries", "loss", "is_best"),
    "finetune_accuracy": (*_EPISODE, "test_level", "subset", "n_correct", "n_queries"),
    "finetune_loss": (*_EPISODE, "loss"),
}
_QUESTION = ("model", "rotation", "context_curriculum", "episode")
LLM_TABLES = {
    "llm_accuracy": (*_QUESTION, "subset", "scoring", "n_correct", "n_first", "n_second", "n_queries"),
    "llm_generated": (*_QUESTION, "item", "subset", "expected", "generated"),
}
HEARTBEAT_SECONDS = 10.0


class Recorder:
    """Writes what an unfinished job leaves into its folder (see `runs.folder.claim`); it resumes from the state saved there.

    flags: what decides the job's numbers. execution, environment: what is recorded beside (flags that say how it is
    run; versions, threads, …). lock: the hold on the folder, if others might write to it. `tensors` and `state` are what
    was saved last, or empty. tables: the CSV files and their columns. Raises Damaged if nothing of what was saved can be read.
    """

    def __init__(
        self,
        folder: Path,
        flags: dict,
        execution: dict,
        environment: dict,
        save_minutes: float,
        stop: StopFlag | None = None,
        lock: Lock | None = None,
        tables: Mapping[str, tuple[str, ...]] = TABLES,
    ):
        self.folder, self.checkpoints, self._lock = folder, folder / "checkpoints", lock
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        if not (folder / "config.json").exists():
            files.write_json(folder / "config.json", {"flags": flags, "execution": execution, "environment": environment})
        self.tensors: dict[str, Tensor] = {}
        self.state: checkpoint.State = {}
        self._generation = 0
        saved = checkpoint.load(self.checkpoints)
        if saved:
            self._generation, self.tensors, self.state = saved
        lengths = self.state.pop("csv_bytes", {})
        self._columns, self._tables = tables, dict(tables)  # the columns of rows as they come, and of the files
        self._files = {table: self._open_table(table, lengths.get(table, 0)) for table in tables}
        self._save_seconds, self._last_save = save_minutes * 60, time.monotonic()
        self._stop = stop or StopFlag()
        self.tracker: Tracker | None = None  # may be set; gets the measured values
        self._progress: Progress | None = None
        self._news: dict[str, float] = {}
        self._last_heartbeat = 0.0

    def _open_table(self, table: str, length: int) -> io.TextIOWrapper:
        """The table's file, cut to the bytes it had when the state was saved, ready for more rows."""
        path = self.folder / f"{table}.csv"
        if length > (path.stat().st_size if path.exists() else 0):
            raise checkpoint.Damaged(f"{path} is shorter than when the state was saved; pass --no_resume to start anew")
        file = open(path, "a", encoding="utf-8", newline="")  # noqa: SIM115 (closed by close)
        file.truncate(length)
        if length > 0:  # an earlier program may have begun it with fewer columns
            self._tables[table] = tuple(path.read_text(encoding="utf-8").partition("\n")[0].split(","))
        else:
            file.write(",".join(self._tables[table]) + "\n")
            file.flush()  # nothing waits in memory: a job that lost its folder writes nothing more, not even as it ends
        return file

    def write(self, table: str, rows: Iterable[tuple]) -> None:
        """Append rows, in the order of the table's columns; they can be read at once. Like all that writes into the folder, it
        raises LostLock if the folder is another job's by now."""
        self._check_lock()
        place = [self._columns[table].index(name) for name in self._tables[table]]
        csv.writer(self._files[table], lineterminator="\n").writerows([row[i] for i in place] for row in rows)
        self._files[table].flush()

    def write_weights(self, name: str, weights: dict[str, Tensor]) -> None:
        """Write a safetensors file of this name to checkpoints/. Raises LostLock."""
        self._check_lock()
        checkpoint.write_weights(self.checkpoints / name, weights)

    def write_json(self, name: str, content: object) -> None:
        """Write a JSON file to the folder. Raises LostLock."""
        self._check_lock()
        files.write_json(self.folder / name, content)

    def write_text(self, name: str, text: str) -> None:
        """Write a UTF-8 text to the folder, or to a folder in it. Raises LostLock."""
        self._check_lock()
        (self.folder / name).parent.mkdir(exist_ok=True)
        files.write_atomically(self.folder / name, text.encode())

    def start(self, phase: str, total: int, done: int) -> None:
        """Begin a phase of `total` steps, or resume it after `done` of them."""
        self._progress = Progress(phase, total, done)
        self._report()

    def note(self, **measured: float) -> None:
        """Take what was measured at this step, for people to watch: `tick` hands it on."""
        self._news.update(measured)

    def tick(self, steps: int = 1) -> None:
        """Count steps of the phase, and show what was measured. With `steps` 0 the first one is about to begin."""
        progress = self._progress
        if progress is None:
            raise ValueError("a step of no phase")
        news, self._news = self._news, {}
        progress.update(news, steps)
        if self.tracker and news:
            self.tracker.log(progress.phase, progress.done, news)
        if time.monotonic() - self._last_heartbeat >= HEARTBEAT_SECONDS:
            self._report()

    def _report(self, last_error: str | None = None) -> None:
        self._last_heartbeat = time.monotonic()
        p = self._progress
        where = {"phase": p.phase, "step": p.done, "n_steps": p.total, "seconds_left": round(p.seconds_left())} if p else {}
        self.write_json("progress.json", {**where, "last_error": last_error, "heartbeat": time.time(), "pid": os.getpid()})

    def say(self, line: str) -> None:
        """Tell people something, above the progress."""
        terminal.say(line)

    def save_due(self) -> bool:
        """Return True if it is time to save, or a signal asks for it."""
        return self._stop.signal is not None or time.monotonic() - self._last_save >= self._save_seconds

    def save(self, tensors: dict[str, Tensor], state: checkpoint.State) -> None:
        """Save all that is needed to resume from here. Raises Interrupted if a signal asked to stop, LostLock if the folder
        is another job's by now."""
        self._check_lock()
        lengths = self._flush_tables()
        self._generation += 1
        checkpoint.save(self.checkpoints, self._generation, tensors, {**state, "csv_bytes": lengths})
        self._last_save = time.monotonic()
        if self._stop.signal is not None:
            self._report()
            raise Interrupted(self._stop.signal.name)

    def _flush_tables(self) -> dict[str, int]:
        """Bring the tables to the disk; returns the bytes that each has."""
        lengths = {}
        for table, file in self._files.items():
            file.flush()
            files.flush(file.fileno(), self.folder / f"{table}.csv")
            lengths[table] = os.fstat(file.fileno()).st_size
        return lengths

    def _check_lock(self) -> None:
        if self._lock:
            self._lock.check()

    def finish(self, summary: dict) -> None:
        """Mark the job as done: from now on it is only read. The saved state goes when all that it could make again is on the disk.
        The tracker ends last: that may fail or take its time."""
        self._check_lock()
        self._flush_tables()
        for file in self._files.values():
            file.close()
        self._report()
        self.write_json("summary.json", summary)
        checkpoint.discard(self.checkpoints)
        self.close()

    def close(self, error: BaseException | None = None) -> None:
        """Close the files; with an error, note it where status can read it, if that is still possible."""
        if self._progress:
            self._progress.close()
        if self.tracker:
            self.tracker.close()
        with contextlib.suppress(OSError, LostLock) if error else contextlib.nullcontext():
            for file in self._files.values():
                file.close()
            if error is not None:
                self._report(f"{type(error).__name__}: {error}")
