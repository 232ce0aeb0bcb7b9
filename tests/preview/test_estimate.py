"""What --dry_run counts, by hand."""

import pytest

from preview.estimate import Work, _finetuning, _metalearning
from tests.conftest import configured, encoded

FLAGS = "--task grid --congruent_only --test_one_rot_cond --n_blocks 2 --n_steps_per_block 10 --max_members 40"


def works_of(flags):
    config, encoder = configured(f"{FLAGS} {flags}"), encoded(f"{FLAGS} {flags}")
    return _finetuning(config, encoder.episodes(0, "test", "unrotated", "blocked", 1))


@pytest.mark.parametrize(("kind", "level"), [("mask", 0.2), ("mask", 0.0), ("gaussian", 0.2)])
def test_finetuning_counts_every_member_and_every_context(kind, level):
    """Ten members of each curriculum, and 20 updates of five items; where items are hidden, each has a context of its own, and
    40 // 5 members are trained at once. Two tests of 25 queries; ten levels above 0, four draws each."""
    works = works_of(f"--ablation {kind} --ablation_level {level}")
    hides = kind == "mask" and level
    sizes, (contexts, queries) = ((8, 2), (5, 1)) if hides else ((10,), (1, 5))
    of_levels = (40, 25) if kind == "mask" else (1, 1000)
    assert works == [
        Work(f"{curriculum}. {what}", times, size, *shape, trains)
        for curriculum in ("block", "inter")
        for size in sizes
        for what, times, shape, trains in (
            ("steps", 20, (contexts, queries), True),
            ("tests", 2, (1, 25), False),
            ("levels", 2, of_levels, False),
        )
    ]


def test_equal_ensembles_are_one_line_and_batches_are_no_larger_than_what_is_trained():
    """100 members of a curriculum: two ensembles of 40 and one of 20. Group A has five items, all of them are nine."""
    steps = [work for work in works_of("--n_runs 10 --finetune_bs 7") if work.trains]
    assert steps == [
        Work(f"{curriculum}. steps", times, size, 1, queries, True)
        for curriculum, queries in (("block", 5), ("inter", 7))
        for times, size in ((40, 40), (20, 20))
    ]


def test_metalearning_counts_updates_and_chunks_of_seeds():
    """12 × 25 queries in batches of 100 are three updates an epoch; five seeds, two at a time, are three chunks."""
    flags = f"{FLAGS} --n_train 12 --n_val 4 --n_epochs 4 --pretrain_bs 100 --queries_per_episode 5 --test_every 5"
    flags = f"{flags} --n_runs 5 --max_members 2"
    training, validation = _metalearning(configured(flags), encoded(flags), 25)
    assert training == Work("metalearning", 3 * 12, 2, 20, 5, True)
    assert validation == Work("validation", 3 * (1 + 2 + 4), 2, 4, 25, False)
