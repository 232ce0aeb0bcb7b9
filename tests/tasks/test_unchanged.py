"""The episodes of both tasks as they have always been: seed 3, a digest of the first two of each condition.

Nothing may change these: finished jobs, bases of trade-offs and published results stand on them. If a digest differs, a draw has
moved. Undo that, and let what is new draw after what was there, from a stream of its own (a context curriculum: docs/extend.md).
Only a new curriculum or rotation adds lines.
"""

import hashlib
from itertools import product

import numpy as np
import pytest

from examples.outward import Outward
from tasks.category import CategoryTask
from tasks.grid import GridTask
from tests.conftest import configured, encoded

FLAGS = {
    "grid": "--task grid --real_words --n_train 40 --n_val 6 --n_test 3",
    "grid without replacement": "--task grid --real_words --generate_all --n_train 12000 --n_val 6 --n_test 3",
    "category": "--task category --n_train 40 --n_val 6 --n_test 3 --n_symbols 4 --n_in_context 8 --n_task_dims 20",
}
SPLITS, ROTATIONS = ("test", "validation", "metalearning"), ("unrotated", "rotated")
CURRICULA = {
    "grid": ("aligned", "misaligned", "blocked", "interleaved"),
    "grid without replacement": ("aligned", "misaligned", "blocked", "interleaved"),
    "category": ("blocked", "interleaved"),
}
# Of each curriculum, in the order above: test, validation, metalearning, unrotated before rotated.
DIGESTS = {
    "grid": {
        "aligned": "90d483051b b1c489f810 b2932a5c8d da5b82121e e91c1ac2b3 de768739fe",
        "misaligned": "1f6a54e103 ef103ff80a 428049d208 a4c44f8ab9 323469f13a 5719b3052a",
        "blocked": "1e76327d82 faca568653 22bcdfcfaf 666c3c331f 50f14312c1 d60f822a31",
        "interleaved": "1b7c1d5775 f6097ce1fa 56e4b9cee4 34f2f31b21 bafc253002 b1005c30d1",
    },
    "grid without replacement": {
        "aligned": "90d483051b 21d828e68d 902f44a0e8 d2f16bb289 e91c1ac2b3 de768739fe",
        "misaligned": "63dca361a9 69d196babc 2bd97da26d 108d82d69d 323469f13a 5719b3052a",
        "blocked": "fb55610731 e850aa8a83 a9db67ba93 60bb2a389e 50f14312c1 d60f822a31",
        "interleaved": "337a472e53 480c66638e 8b012c7799 de7af03561 bafc253002 b1005c30d1",
    },
    "category": {
        "blocked": "23385a3477 9bcc7cebd5 f5c77bf0b1 c812fdacc7 16302eafbd caf085625d",
        "interleaved": "7f6df524a8 18f27240b6 f04105bb70 d2b8804c82 f6ee645319 1cec0e0a83",
    },
}


def digest(encoder, *condition) -> str:
    """The text of a condition's first two episodes, and the subset of each query."""
    episodes = encoder.episodes(3, *condition, 2)
    lines = [encoder.text(context) for context in episodes.context]
    lines += [encoder.text(tokens) for part in (episodes.queries, episodes.answers) for of in part for tokens in of]
    lines += [" ".join(episodes.subsets[k] for k in row) for row in episodes.subset]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:10]


@pytest.mark.parametrize("name", FLAGS)
def test_no_episode_has_changed(name):
    encoder = encoded(FLAGS[name])
    for curriculum in CURRICULA[name]:
        found = [digest(encoder, *condition, curriculum) for condition in product(SPLITS, ROTATIONS)]
        assert (curriculum, found) == (curriculum, DIGESTS[name][curriculum].split())


@pytest.mark.parametrize("flags", ["", "--generate_all", "--strict_test", "--strict_train"])
def test_a_curriculum_that_is_appended_changes_no_episode(flags):
    config = configured(f"--task grid --n_train 9000 --n_val 60 --n_test 4 {flags}")
    before, after = GridTask(config), Outward(config)
    for split, n in (("test", 4), ("validation", 60), ("metalearning", 9000)):
        for rotation, curriculum in product(ROTATIONS, GridTask.curricula):
            names = (task._episode_names(3, split, rotation, curriculum, n) for task in (before, after))
            assert np.array_equal(*names)
            a, b = (task.draw(3, split, rotation, curriculum, 2) for task in (before, after))
            assert np.array_equal(a.cue, b.cue)
            assert np.array_equal(a.answer, b.answer)


@pytest.mark.parametrize("flags", ["--generate_all", "--strict_test"])
def test_an_appended_curriculum_is_tested_on_episodes_that_nothing_else_has(flags):
    config = configured(f"--task grid --n_train 9000 --n_val 60 --n_test 40 {flags}")
    Outward.check(config)
    task = Outward(config)
    tests = [row.tobytes() for r in ROTATIONS for row in task._episode_names(3, "test", r, "outward", 40)]
    others = [row.tobytes() for r, c in product(ROTATIONS, GridTask.curricula) for row in task._episode_names(3, "test", r, c, 40)]
    others += [row.tobytes() for row in task._episode_names(3, "validation", "rotated", "outward", 60)]
    others += [row.tobytes() for row in task._episode_names(3, "metalearning", "rotated", "outward", 9000)]
    assert len(set(tests)) == 80
    assert not set(tests) & set(others)


def test_a_curriculum_without_an_order_is_refused():
    config = configured("--task grid --n_train 5")

    class Unordered(GridTask):
        curricula = (*GridTask.curricula, "spiral")

    with pytest.raises(ValueError, match="'spiral' has no order of items"):
        Unordered(config).draw(0, "test", "unrotated", "spiral", 1)

    class UnorderedCategories(CategoryTask):
        curricula = (*CategoryTask.curricula, "spiral")

    with pytest.raises(ValueError, match="'spiral' has no order of items"):
        UnorderedCategories(configured("--task category")).draw(0, "test", "unrotated", "spiral", 1)
