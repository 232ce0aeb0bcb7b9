import json
import os
from pathlib import Path

import pytest
import torch

from runs import checkpoint, files
from runs.folder import FolderTaken, claim, is_finished
from runs.interrupt import Progress
from runs.records import Recorder
from tests.program import ROOT

FLAGS = {"seed": 1, "task": "grid"}


def job(folder, flags=FLAGS, overwrite=False, resume=True) -> Recorder:
    """A job that begins in its folder, which is let go of at once: these tests are of one process."""
    assert not is_finished(folder, flags, overwrite)
    claim(folder, overwrite, resume).lock.release()
    return Recorder(folder, flags, {}, {}, save_minutes=10.0)


def saved(folder, generation):
    checkpoint.save(folder, generation, {"x": torch.full((3, 2), float(generation))}, {"step": generation})


def test_the_newest_of_two_generations_is_loaded(tmp_path):
    assert checkpoint.load(tmp_path) is None
    for generation in (1, 2, 3):
        saved(tmp_path, generation)
        found, tensors, state = checkpoint.load(tmp_path)
        assert (found, state) == (generation, {"step": generation})
        assert tensors["x"].tolist() == [[generation] * 2] * 3
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["truncated", "bit", "empty", "foreign"])
def test_a_damaged_state_falls_back_to_the_one_before(tmp_path, damage):
    for generation in (1, 2, 3):
        saved(tmp_path, generation)
    path = tmp_path / "resume_1.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes({"truncated": bytes(data[:-5]), "bit": bytes(data), "empty": b"", "foreign": b"hello world"}[damage])
    with pytest.warns(UserWarning, match=r"resume_1.safetensors is damaged .*resuming from the state saved before it"):
        assert checkpoint.load(tmp_path)[0] == 2


def test_nothing_but_damaged_states_is_an_error(tmp_path):
    saved(tmp_path, 1)
    (tmp_path / "resume_1.safetensors").write_bytes(b"")
    with pytest.raises(checkpoint.Damaged, match="--no_resume"):
        checkpoint.load(tmp_path)


def test_writing_fails_without_touching_what_is_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_atomically(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_rows_after_the_saved_state_are_cut(tmp_path):
    first = job(tmp_path / "j")
    first.write("pretrain_loss", [(1, 1, 5, 1, "novel", 0.5)])
    first.save({}, {"step": 5})
    first.write("pretrain_loss", [(1, 1, 6, 1, "novel", 0.4)])
    first._files["pretrain_loss"].write("1,1,7,1,no")  # killed in the middle of a line
    first.close()
    second = job(tmp_path / "j")
    assert second.state == {"step": 5}
    second.save({}, {"step": 5})  # a state without new rows
    second.close()
    third = job(tmp_path / "j")
    third.write("pretrain_loss", [(1, 1, 6, 1, "novel", 0.25)])
    third.close()
    text = (tmp_path / "j" / "pretrain_loss.csv").read_text()
    assert text == "seed,stage,step,epoch,subset,loss\n1,1,5,1,novel,0.5\n1,1,6,1,novel,0.25\n"


def test_other_flags_are_named_and_nothing_is_touched(tmp_path):
    job(tmp_path / "j").close()
    before = {path: path.read_bytes() for path in (tmp_path / "j").iterdir() if path.is_file()}
    with pytest.raises(FolderTaken, match="--seed 1 instead of 2"):
        job(tmp_path / "j", {**FLAGS, "seed": 2})
    assert {path: path.read_bytes() for path in (tmp_path / "j").iterdir() if path.is_file()} == before


def test_overwrite_moves_aside_and_never_deletes(tmp_path):
    for seed in (1, 2, 3):
        job(tmp_path / "j", {"seed": seed}, overwrite=True).close()
    kept = {path.name: json.loads((path / "config.json").read_text())["flags"]["seed"] for path in tmp_path.iterdir()}
    assert kept == {"j": 3, "j.old": 1, "j.old2": 2}


def test_no_resume_starts_anew_beside_the_unfinished(tmp_path):
    first = job(tmp_path / "j")
    first.save({}, {"step": 5})
    first.close()
    assert job(tmp_path / "j", resume=False).state == {}
    assert job(tmp_path / "j.old").state == {"step": 5}


def test_a_finished_job_is_recognised(tmp_path):
    first = job(tmp_path / "j")
    first.save({"x": torch.ones(1)}, {"step": 5})
    first.finish({"few_shot": []})
    assert is_finished(tmp_path / "j", FLAGS)
    assert not is_finished(tmp_path / "j", FLAGS, overwrite=True)
    assert not list((tmp_path / "j" / "checkpoints").iterdir())  # nothing goes on from a finished job


def test_a_flag_younger_than_the_job_has_its_default(tmp_path):
    first = job(tmp_path / "j")
    first.finish({})
    assert is_finished(tmp_path / "j", {**FLAGS, "young": 0.0}, defaults={"young": 0.0})
    with pytest.raises(FolderTaken, match=r"--young 0.0 instead of 0.5"):
        is_finished(tmp_path / "j", {**FLAGS, "young": 0.5}, defaults={"young": 0.0})


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FolderTaken, match="not of a job"):
        job(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FolderTaken, match=r"config.json that is not of a job"):
        job(tmp_path)


@pytest.mark.parametrize("place", [".", "..", "/", str(ROOT)])
def test_folders_that_hold_everything_are_refused(place):
    with pytest.raises(FolderTaken, match="not a folder of its own"):
        is_finished(Path(place), FLAGS, overwrite=True)


def test_a_job_killed_while_it_began_can_begin_again(tmp_path):
    (tmp_path / "j" / "checkpoints").mkdir(parents=True)
    (tmp_path / "j" / ".config.json.new").write_text("{")
    assert job(tmp_path / "j").state == {}


def test_progress_in_a_log_is_plain_lines(capsys):
    progress = Progress("metalearning", 3, every=0.0)
    progress.update({"novel": 0.25}, 0)
    for news in ({}, {"loss": 1.5}, {}):
        progress.update(news, 1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "metalearning: 0/3 steps, 0:00:00 left, novel 0.250"
    assert lines[1] == "metalearning: 1/3 steps, 0:00:00 left, novel 0.250"
    assert lines[3] == "metalearning: 3/3 steps, 0:00:00 left, novel 0.250, loss 1.500"
