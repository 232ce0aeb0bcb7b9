from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import prompts
from engine.streams import stream
from flags.config import BadInput
from tasks.grid import GridTask, item_order, locations
from tests.conftest import configured, encoded

CURRICULA = ("aligned", "misaligned", "blocked", "interleaved")
SMALL = "--task grid --n_train 40 --n_val 10 --n_test 3 "


def task(flags: str = "") -> GridTask:
    return GridTask(configured(SMALL + flags))


def test_locations_by_hand():
    cells = np.array([[[0, 0], [4, 0], [1, 3]]])
    assert locations(cells, np.array([False]), rotated=False).tolist() == [[[0, 0], [4, 0], [1, 3]]]
    assert locations(cells, np.array([True]), rotated=False).tolist() == [[[0, 0], [0, 4], [3, 1]]]
    # (x + y, y − x + 4)
    assert locations(cells, np.array([False]), rotated=True).tolist() == [[[0, 4], [4, 0], [4, 6]]]
    # flipped first: (0, 4) → (4, 8); (3, 1) → (4, 2)
    assert locations(cells, np.array([True]), rotated=True).tolist() == [[[0, 4], [4, 8], [4, 2]]]


def test_rotation_stays_in_range_and_keeps_places_apart():
    every = np.indices((5, 5)).reshape(2, -1).T[None]
    rotated = locations(every, np.array([False]), rotated=True)[0]
    assert rotated.min() == 0
    assert rotated.max() == 8
    assert len({tuple(place) for place in rotated}) == 25


@given(st.integers(0, 10**6), st.sampled_from(CURRICULA))
def test_item_order(index, curriculum):
    cells = [tuple(cell) for cell in item_order(stream(index), curriculum)]
    study, novel = cells[:9], cells[9:]
    assert sorted(cells) == sorted((x, y) for x in range(5) for y in range(5))
    assert len(novel) == 16
    xs, ys = Counter(x for x, _ in study), Counter(y for _, y in study)
    if curriculum == "misaligned":
        diagonal, anti = {(i, i) for i in range(5)}, {(i, 4 - i) for i in range(5)}
        assert study[4] == (2, 2)
        assert {frozenset(study[:5]), frozenset(study[4:])} == {frozenset(diagonal), frozenset(anti)}
        return
    # one column and one row are shown whole, the crossing once
    (column, in_column), (row, in_row) = xs.most_common(1)[0], ys.most_common(1)[0]
    assert in_column == in_row == 5
    assert set(study) == {(column, i) for i in range(5)} | {(i, row) for i in range(5)}
    if curriculum != "interleaved":
        assert study[4] == (column, row)
        arms = {frozenset(study[:4]), frozenset(study[5:])}
        assert frozenset((column, i) for i in range(5) if i != row) in arms
    if curriculum == "aligned":
        assert (column, row) == (2, 2)


def test_random_choices_of_item_order_are_uniform():
    orders = [item_order(stream("uniform", i), "blocked") for i in range(4000)]
    crossing = Counter(tuple(order[4]) for order in orders)
    assert len(crossing) == 25
    assert max(abs(n - 160) for n in crossing.values()) < 60  # 160 expected, standard deviation 12.4
    column_first = sum(order[0, 0] == order[1, 0] for order in orders)
    assert abs(column_first - 2000) < 150  # standard deviation 32
    assert abs(sum(o[0].tolist() < o[1].tolist() for o in orders) - 2000) < 150  # an arm is shuffled


def test_interleaved_is_shuffled_throughout():
    at = Counter()
    for i in range(2000):
        study = item_order(stream("interleaved", i), "interleaved")[:9]
        crossing = (Counter(study[:, 0].tolist()).most_common(1)[0][0], Counter(study[:, 1].tolist()).most_common(1)[0][0])
        at[[tuple(c) for c in study.tolist()].index(crossing)] += 1
    assert len(at) == 9
    assert max(abs(n - 2000 / 9) for n in at.values()) < 80  # standard deviation 14


def test_groups_whatever_the_curriculum():
    for curriculum in CURRICULA:
        items = task().draw(0, "test", "rotated", curriculum, 3)
        assert (items.group == [0] * 5 + [1] * 4 + [-1] * 16).all()


def test_a_text_by_hand():
    """The rules applied to the first episode by a reader: names stand for the same coordinate everywhere."""
    encoder = encoded(SMALL + "--real_words --pt_cond blocked")
    episodes = encoder.episodes(4, "metalearning", "unrotated", "blocked", 20)
    for i in range(20):
        tokens = encoder.text(episodes.context[i]).split(" ")
        assert tokens[0] == "<|endoftext|>"
        places = {}
        for start in range(1, 55, 6):
            color, animal, colon, first, second, end = tokens[start : start + 6]
            assert (colon, end) == (":", "<sep>")
            places[color, animal] = (int(first), int(second))
        by_color, by_animal = {}, {}
        for (color, animal), place in places.items():
            by_color.setdefault(color, set()).add(place)
            by_animal.setdefault(animal, set()).add(place)
        # whichever way the axes lie, the animals seen with the crossing's colour differ in one coordinate only
        for shown in (*by_color.values(), *by_animal.values()):
            assert 1 in {len({p[0] for p in shown}), len({p[1] for p in shown})}
        queries = [encoder.text(q).split(" ") for q in episodes.queries[i]]
        answers = [tuple(map(int, encoder.text(a).split(" "))) for a in episodes.answers[i]]
        assert len(set(answers)) == 25
        for query, answer in zip(queries[:9], answers[:9], strict=True):
            assert query[2:] == [":", "<mask>", "<mask>"]
            assert places[query[0], query[1]] == answer


def test_sizes_and_vocabulary():
    encoder = encoded("--task grid --real_words --generate_all --n_train 10 --n_val 1 --n_test 1")
    episodes = encoder.episodes(1, "validation", "unrotated", "blocked", 1)
    assert episodes.context.shape == (1, 55)
    assert episodes.queries.shape == (1, 25, 5)
    assert episodes.answers.shape == (1, 25, 2)
    assert len(encoder.vocabulary) == 24
    assert Counter(episodes.subset[0].tolist()) == {0: 5, 1: 4, 2: 16}
    assert len(encoded("--task grid --lm_task causal").vocabulary) == 23


def test_flips_have_their_probability():
    """An episode is flipped if changing the colour alone moves the second coordinate."""
    for p, low, high in ((0.0, 0, 0), (1.0, 400, 400), (0.25, 60, 140)):
        t = GridTask(configured(f"--task grid --n_train 400 --p_flip_xy {p}"))
        items = t.draw(0, "metalearning", "unrotated", "blocked", 400)
        flipped = []
        for cue, place in zip(items.cue, items.place, strict=True):
            same_color = np.flatnonzero(cue[:, 0] == cue[0, 0])
            flipped.append(len(set(place[same_color, 1])) == 1)
        assert low <= sum(flipped) <= high


def names(t: GridTask, split: str, rotation: str, curriculum: str, n: int) -> list[bytes]:
    return [row.tobytes() for row in t._episode_names(7, split, rotation, curriculum, n)]


def all_test_names(t: GridTask) -> list[bytes]:
    return [name for r in ("unrotated", "rotated") for c in CURRICULA for name in names(t, "test", r, c, t.n_test)]


@pytest.mark.parametrize("flags", ["--generate_all", "--strict_train --strict_test"])
def test_without_replacement(flags):
    # of the 120 × 120 namings nearly all are used: any repeat would show
    t = GridTask(configured(f"--task grid --n_train 12000 {flags}"))
    assert t.n_namings() == 14400
    used = names(t, "metalearning", "unrotated", "blocked", 12000) + names(t, "validation", "unrotated", "blocked", 100)
    used += all_test_names(t)
    assert len(used) == len(set(used)) == 12180


def test_strictness_one_at_a_time():
    t = GridTask(configured("--task grid --n_train 9000 --strict_train"))
    train = names(t, "metalearning", "unrotated", "blocked", 9000)
    held_out = names(t, "validation", "unrotated", "blocked", 100) + all_test_names(t)
    assert len(set(train)) == 9000
    assert set(train) & set(held_out)
    t = GridTask(configured("--task grid --n_train 9000 --strict_test"))
    train = names(t, "metalearning", "unrotated", "blocked", 9000)
    held_out = names(t, "validation", "unrotated", "blocked", 100) + all_test_names(t)
    assert len(set(train)) < 9000
    assert not set(train) & set(held_out)
    assert len(set(held_out)) == 180


def test_namings_that_do_not_exist_are_refused_not_waited_for():
    """Of five words each there are 14,400; `check` says so before, unless a task is made without it."""
    t = GridTask(configured("--task grid --n_train 14401 --strict_train"))
    with pytest.raises(ValueError, match=r"14401 namings of the episodes are asked for \(metalearning\); 14400 are left"):
        t.draw(0, "metalearning", "unrotated", "blocked", 1)


def test_all_namings_can_be_used():
    t = GridTask(configured("--task grid --n_train 14300 --n_val 92 --n_test 1 --generate_all"))
    assert len(set(names(t, "metalearning", "unrotated", "blocked", 14300))) == 14300


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 9), st.integers(2, 3), st.integers(0, 1000))
def test_names_of_several_symbols(n_symbols, n_positions, seed):
    t = task(f"--n_symbols {n_symbols} --n_positions {n_positions}")
    rows = t._episode_names(seed, "metalearning", "unrotated", "blocked", 40)  # [40, 2, 5, n_positions]
    assert rows.shape == (40, 2, 5, n_positions)
    for name in rows.reshape(-1, n_positions):
        assert len(set(name)) == n_positions
    for five in rows.reshape(-1, 5, n_positions):
        assert len({tuple(name) for name in five}) == 5


def test_first_namings_are_uniform():
    t = GridTask(configured("--task grid --n_train 4000"))
    rows = t._episode_names(0, "metalearning", "unrotated", "blocked", 4000)
    for axis in range(2):
        for position in range(5):
            counts = np.bincount(rows[:, axis, position, 0], minlength=5)
            assert abs(counts - 800).max() < 120  # standard deviation 25


def test_number_of_metalearning_episodes_changes_no_other():
    few, many = (GridTask(configured(f"--task grid --generate_all --n_train {n}")) for n in (10, 5000))
    for split, n in (("test", 10), ("validation", 100), ("metalearning", 10)):
        a, b = (t.draw(3, split, "rotated", "interleaved", n) for t in (few, many))
        assert (a.cue == b.cue).all()
        assert (a.answer == b.answer).all()


def test_twenty_real_words_of_each_kind():
    """All different, the first five as in every episode so far."""
    assert len({*prompts.COLORS}) == len({*prompts.ANIMALS}) == 20
    assert not {*prompts.COLORS} & {*prompts.ANIMALS}
    assert prompts.COLORS[:5] == ("red", "green", "blue", "yellow", "pink")
    assert prompts.ANIMALS[:5] == ("dog", "cat", "bird", "fish", "horse")
    assert {*prompts.COLORS, *prompts.ANIMALS} < {*GridTask(configured("--task grid --real_words --n_symbols 20")).words}


def test_unknown_words_and_too_many_episodes_are_refused():
    with pytest.raises(ValueError, match="'tets' is none of"):
        task().draw(0, "tets", "unrotated", "blocked", 1)
    with pytest.raises(ValueError, match="11 validation episodes asked for, 10 declared"):
        task().draw(0, "validation", "unrotated", "blocked", 11)


@pytest.mark.parametrize(
    ("flags", "right"),
    [
        # 14,400 namings of five words; 8 conditions of 10 test episodes and 100 of validation are 180
        ("--generate_all --n_train 14220", True),
        ("--generate_all --n_train 14221", False),
        ("--strict_test --n_train 20000 --n_val 14319", True),  # one naming is left, which metalearning repeats
        ("--strict_test --n_train 20000 --n_val 14320", False),
        ("--strict_train --n_train 14400 --n_val 20000", True),
        ("--strict_train --n_train 14401", False),
        ("--n_train 20000 --n_val 20000", True),
    ],
)
def test_as_many_different_episodes_as_there_are(flags, right):
    config = configured(f"--task grid {flags}")
    if right:
        GridTask.check(config)
    else:
        with pytest.raises(BadInput, match="different episodes are asked for"):
            GridTask.check(config)
