"""What a configuration says of a job in words of its own: where it is, and which condition it has."""

from pathlib import Path

import pytest

from flags.command_line import parse
from flags.config import Config


def test_a_job_has_a_folder_and_a_condition():
    config = parse(["--pt_rot_cond", "rotated", "--pt_cond", "interleaved"])
    assert config.folder == Path("results/grid_icl_iwl/rotated_interleaved/seeds_00")
    assert config.condition == ("rotated", "interleaved")


def test_a_language_model_that_is_asked_in_all_conditions_has_no_single_one():
    assert parse(["--llm", "some/model", "--pt_rot_cond", "rotated", "--pt_cond", "blocked"]).condition == ("rotated", "blocked")
    with pytest.raises(ValueError, match="no single condition"):
        _ = parse(["--llm", "some/model", "--pt_cond", "blocked"]).condition


def test_flags_that_were_not_resolved_have_no_folder():
    with pytest.raises(ValueError, match="no folder"):
        _ = Config().folder
