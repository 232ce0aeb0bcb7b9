"""The state of a job whose files hold what no job writes."""

import json
import os

import pytest

from flags.command_line import parse
from runs.lock import Lock
from runs.status import state_of

DEEP = "[" * 100_000


@pytest.mark.parametrize("text", ['{"seconds_left": 1e400}', '{"seconds_left": 1e300}', '{"heartbeat": -1e400}', DEEP])
def test_a_number_that_is_no_time_and_a_file_that_is_too_deep_are_damage(tmp_path, text):
    folder = tmp_path / "job"
    flags = ["--preset", "demo", "--out_dir", str(folder)]
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"flags": parse(flags).defining_values()}), encoding="utf-8")
    (folder / "progress.json").write_text(text, encoding="utf-8")
    lock = Lock(folder)
    try:
        assert state_of(flags) == ("unreadable", f"{os.path.relpath(folder)}: progress.json or summary.json is damaged")
    finally:
        lock.release()
    (folder / "config.json").write_text(DEEP, encoding="utf-8")
    assert state_of(flags) == ("refused", f"{os.path.relpath(folder)}: holds a config.json that is not of a job")
