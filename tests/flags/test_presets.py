"""What presets make of an experiment, against the published design."""

import pytest

from flags.presets import training_levels
from tests.conftest import configured


@pytest.mark.parametrize(
    ("preset", "task", "experiment", "levels"),
    [
        ("paper", "grid", "tradeoff_mask", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]),
        ("paper", "category", "tradeoff_mask", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        ("paper", "grid", "tradeoff_noise", [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (None, "category", "tradeoff_noise", [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("laptop", "grid", "tradeoff_mask", [0, 0.25, 0.5, 0.75, 1]),
        ("demo", "category", "tradeoff_noise", [0, 2, 4, 6, 8]),
    ],
)
def test_levels_of_a_trade_off(preset, task, experiment, levels, tmp_path):
    """Each is trained at, and tested by every job; the paper's grid is tested up to a mask of 1 and trained up to .8."""
    assert training_levels(preset, task, experiment) == pytest.approx(levels)
    (tmp_path / "base.pt").touch()
    flags = f"--task {task} --experiment {experiment} --load_model_from {tmp_path}/base.pt --ablation_level {levels[1]}"
    tested = configured(f"{flags} --preset {preset}" if preset else flags).test_levels
    assert set(levels) <= set(tested)
    assert max(tested) == (1 if experiment == "tradeoff_mask" else 8)
