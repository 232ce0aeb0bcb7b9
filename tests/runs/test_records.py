"""What a job writes: only while it holds its folder, and to the disk before anything depends on it."""

import os
from pathlib import Path

import pytest
import torch

from runs.folder import claim
from runs.lock import LostLock
from runs.records import Recorder
from tests.runs.test_lock import change


def begin(folder: Path) -> Recorder:
    return Recorder(folder, {"seed": 1}, {}, {}, save_minutes=10.0, lock=claim(folder).lock)


WRITES = {
    "a table": lambda job: job.write("pretrain_loss", [(1, 5, 1, "novel", 0.5)]),
    "weights": lambda job: job.write_weights("best_seed1.safetensors", {"x": torch.ones(2)}),
    "json": lambda job: job.write_json("checkpoints/model.json", {}),
    "text": lambda job: job.write_text("asked.txt", "x"),
    "a state": lambda job: job.save({"x": torch.ones(2)}, {"step": 5}),
    "progress": lambda job: job.start("metalearning", 10, 0),
    "the end": lambda job: job.finish({"few_shot": []}),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_job_that_lost_its_folder_writes_nothing_more(tmp_path, what):
    job = begin(tmp_path / "job")
    change(tmp_path / "job", token="another's", pid=7, host="elsewhere")
    before = {path: path.read_bytes() for path in sorted((tmp_path / "job").rglob("*")) if path.is_file()}
    with pytest.raises(LostLock, match="was taken over by process 7 on elsewhere"):
        WRITES[what](job)
    job.close(LostLock("lost"))
    job._lock.release()
    assert {path: path.read_bytes() for path in sorted((tmp_path / "job").rglob("*")) if path.is_file()} == before


def test_nothing_is_written_into_a_folder_that_took_the_place_of_the_jobs_own(tmp_path):
    job = begin(tmp_path / "job")
    (tmp_path / "job").rename(tmp_path / "moved")
    other = begin(tmp_path / "job")
    with pytest.raises(LostLock, match="was taken over by"):
        WRITES["weights"](job)
    assert not (tmp_path / "job/checkpoints/best_seed1.safetensors").exists()
    WRITES["weights"](other)


class Listener:
    """Stands where a tracker may: keeps what it is sent."""

    def __init__(self):
        self.heard = []

    def log(self, phase: str, step: int, values: dict[str, float]) -> None:
        self.heard.append((phase, step, values))

    def close(self) -> None:
        pass


def test_what_is_measured_at_a_step_is_told_once(tmp_path):
    job = begin(tmp_path / "job")
    job.tracker = Listener()
    job.start("metalearning", 3, 0)
    job.note(novel=0.25)
    job.tick(0)
    job.note(loss=0.5)
    job.note(novel=0.75)
    job.tick()
    job.tick()
    job.close()
    assert job.tracker.heard == [("metalearning", 0, {"novel": 0.25}), ("metalearning", 1, {"loss": 0.5, "novel": 0.75})]


@pytest.fixture
def order(monkeypatch):
    """Names in the order in which they came to the disk, were renamed (→) and removed (-); the calls are real."""
    happened = []
    sync, replace, unlink = os.fsync, os.replace, Path.unlink

    def named(descriptor):
        happened.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", named)
    monkeypatch.setattr(os, "replace", lambda a, b: (happened.append(f"→{Path(b).name}"), replace(a, b)))
    monkeypatch.setattr(Path, "unlink", lambda path, **kw: (happened.append(f"-{path.name}"), unlink(path, **kw)))
    return happened


def test_tables_are_on_the_disk_before_the_state_that_counts_them(tmp_path, order):
    job = begin(tmp_path / "job")
    del order[:]
    job.save({}, {"step": 5})
    tables = [f"{name}.csv" for name in ("pretrain_loss", "pretrain_accuracy", "finetune_accuracy", "finetune_loss")]
    assert order == [*tables, ".resume_1.safetensors.new", "→resume_1.safetensors", "checkpoints"]


def test_a_saved_state_goes_when_all_that_it_could_make_again_is_on_the_disk(tmp_path, order):
    job = begin(tmp_path / "job")
    job.save({}, {"step": 5})
    del order[:]
    job.finish({"few_shot": []})
    removed = order.index("-resume_0.safetensors")
    summary = order.index("→summary.json")
    assert {"pretrain_loss.csv", "pretrain_accuracy.csv", "finetune_accuracy.csv", "finetune_loss.csv"} <= set(order[:summary])
    assert order[summary - 1 : summary + 2] == [".summary.json.new", "→summary.json", "job"]  # the folder, too
    assert removed > summary + 1


def test_a_new_file_that_fails_leaves_the_old_one_and_no_other(tmp_path):
    from runs.files import write_atomically

    write_atomically(tmp_path / "file", b"old")
    (tmp_path / ".file.new").mkdir()  # it cannot be opened for writing
    with pytest.raises(OSError, match="Is a directory"):
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
