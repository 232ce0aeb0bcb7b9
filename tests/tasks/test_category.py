from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.streams import stream
from flags.config import BadInput
from tasks import chance
from tasks.category import CategoryTask, item_order, quadrants
from tests.conftest import configured, encoded

SMALL = "--task category --n_train 40 --n_val 10 --n_test 3 "


def task(flags: str = "") -> CategoryTask:
    return CategoryTask(configured(SMALL + flags))


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("n", [4, 6, 8, 10])
def test_quadrants_against_the_rules(n, rotated):
    found = quadrants(n, rotated).reshape(n, n)
    for x in range(n):
        for y in range(n):
            p, q, m = (x - y + n - 1, x + y, n - 1) if rotated else (x, y, (n - 1) / 2)
            rules = [p <= m and q < m, p < m and q >= m, p > m and q <= m, p >= m and q > m]
            assert rules.count(True) == 1
            assert found[x, y] == rules.index(True)
    assert Counter(found.ravel().tolist()) == dict.fromkeys(range(4), n * n // 4)


def test_quadrants_by_hand():
    # 4 × 4, x downwards, y to the right
    assert quadrants(4, rotated=False).reshape(4, 4).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert quadrants(4, rotated=True).reshape(4, 4).tolist() == [[0, 0, 0, 1], [2, 0, 1, 1], [2, 2, 3, 1], [2, 3, 3, 3]]


@given(st.integers(0, 10**6), st.sampled_from(["blocked", "interleaved"]), st.booleans())
def test_item_order(index, curriculum, rotated):
    quadrant = quadrants(8, rotated)
    order = item_order(stream(index), curriculum, quadrant, 32)
    assert sorted(order) == list(range(64))
    shown = quadrant[order[:32]]
    assert Counter(shown.tolist()) == dict.fromkeys(range(4), 8)
    if curriculum == "blocked":
        assert (np.diff(shown) != 0).sum() == 3


def test_interleaved_mixes_quadrants_and_blocked_orders_them_uniformly():
    quadrant = quadrants(8, rotated=False)
    runs = [(np.diff(quadrant[item_order(stream(i), "interleaved", quadrant, 32)[:32]]) != 0).sum() for i in range(200)]
    assert 20 < np.mean(runs) < 26  # 31 × 24/31 = 24 expected
    first = Counter(int(quadrant[item_order(stream(i), "blocked", quadrant, 32)[0]]) for i in range(2000))
    assert max(abs(n - 500) for n in first.values()) < 100  # standard deviation 19


@pytest.mark.parametrize("rotation", ["unrotated", "rotated"])
def test_labels_follow_one_boundary(rotation):
    items = task().draw(0, "metalearning", rotation, "blocked", 40)
    relevant = Counter()
    for place, group, answer in zip(items.place, items.group, items.answer[..., 0], strict=True):
        x, y = place.T
        p, q, m = (x - y + 7, x + y, 7) if rotation == "rotated" else (x, y, 3.5)
        splits = [group[(p < m)], group[(p > m)]], [group[(q < m)], group[(q > m)]]
        clean = [len(set(low)) == 1 and len(set(high)) == 1 and low[0] != high[0] for low, high in splits]
        assert clean.count(True) == 1
        relevant[clean.index(True)] += 1
        assert len(set(answer[group == 0])) == len(set(answer[group == 1])) == 1
        origin = np.flatnonzero((p < m) & (q < m))[0]
        assert group[origin] == 0  # A has the label of Q0
        assert Counter(group[:32].tolist()) == Counter(group[32:].tolist()) == {0: 16, 1: 16}
    assert min(relevant.values()) >= 10  # either dimension is relevant, at random


def test_blocked_labels_run_in_pairs_of_runs():
    items = task().draw(0, "metalearning", "unrotated", "blocked", 40)
    patterns = {"".join("AB"[g] for g in group[:32:8]) for group in items.group}
    assert {p if p[0] == "A" else p.translate(str.maketrans("AB", "BA")) for p in patterns} == {"AABB", "ABBA", "ABAB"}


@pytest.mark.parametrize(("flags", "groups"), [("--n_labels_per_task 4 --n_labels 4", 4), ("", 2)])
def test_two_relevant_dimensions(flags, groups):
    items = task(f"--n_rel_dims 2 {flags}").draw(0, "metalearning", "unrotated", "interleaved", 40)
    quadrant = quadrants(8, rotated=False).reshape(8, 8)
    of_group = {4: (0, 1, 2, 3), 2: (0, 1, 1, 0)}[groups]
    for place, group, answer in zip(items.place, items.group, items.answer[..., 0], strict=True):
        assert group.tolist() == [of_group[quadrant[x, y]] for x, y in place]
        assert len({(g, a) for g, a in zip(group, answer, strict=True)}) == groups


def test_label_maps_and_token_orders_are_random_but_fixed_within_an_episode():
    items = task().draw(0, "metalearning", "unrotated", "interleaved", 40)
    label_of_a = Counter(int(answer[group == 0][0, 0]) for answer, group in zip(items.answer, items.group, strict=True))
    assert len(label_of_a) == 2
    assert min(label_of_a.values()) >= 8
    for cue in items.cue:
        assert len(set(cue[:, 0] // 8)) == len(set(cue[:, 1] // 8)) == 1


def test_pairs_are_disjoint_as_ordered_pairs():
    t = CategoryTask(configured("--task category"))
    pairs = np.concatenate(
        [t._dimension_pairs(1, split, n) for split, n in (("metalearning", 12000), ("validation", 100), ("test", 10))]
    )
    assert len({tuple(pair) for pair in pairs}) == 12110
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert pairs.min() == 0
    assert pairs.max() == 199


def test_more_episodes_than_pairs_use_them_again_with_other_answers():
    """Six dimensions have 30 ordered pairs; 4 + 2 are held out, and the 24 left serve 400 metalearning episodes in rounds."""
    t = CategoryTask(
        configured("--task category --n_task_dims 6 --n_symbols 4 --n_in_context 8 --n_train 400 --n_val 4 --n_test 2")
    )
    splits = {split: {tuple(p) for p in t._dimension_pairs(1, split, n).tolist()} for split, n in (("test", 2), ("validation", 4))}
    pairs = [tuple(p) for p in t._dimension_pairs(1, "metalearning", 400).tolist()]
    assert set(pairs).isdisjoint(splits["test"] | splits["validation"])
    assert len(set(pairs)) == 24
    assert pairs[:376] == pairs[24:]
    items = t.draw(1, "metalearning", "unrotated", "blocked", 400)
    of_one_pair = range(0, 400, 24)
    rules = set()
    for i in of_one_pair:
        answer = {tuple(place): int(a) for place, a in zip(items.place[i].tolist(), items.answer[i, :, 0], strict=True)}
        rules.add((answer[0, 0], answer[0, 3]))  # of Q0 and Q1: both labels on either of the dimensions
    assert len(rules) == 4


def test_test_episodes_share_pairs_and_labels_across_conditions_and_nothing_else():
    t = task("--n_distractors 2")
    drawn = [t.draw(5, "test", r, c, 3) for r in ("unrotated", "rotated") for c in ("blocked", "interleaved")]
    for i in range(3):
        dims = {frozenset((cue // 8).ravel().tolist()) for cue in (d.cue[i, :, :4] for d in drawn)}
        assert len(dims) == 1
        assert len(next(iter(dims))) == 4  # distractors are other dimensions than the episode's own
        assert len({int(d.answer[i][d.group[i] == 0][0, 0]) for d in drawn}) == 1
        assert len({d.place[i].tobytes() for d in drawn}) == 4


def test_distractors_are_the_same_in_context_and_as_query_and_uninformative():
    encoder = encoded(SMALL + "--n_distractors 1 --format comma")
    episodes = encoder.episodes(0, "metalearning", "unrotated", "blocked", 30)
    tokens = encoder.text(episodes.context[0]).split(" ")[1:]
    assert tokens[1::8] == tokens[3::8] == [","] * 32
    assert tokens[5::8] == [":"] * 32
    for k, query in enumerate(episodes.queries[0][:32]):
        assert encoder.text(query).split(" ")[:6] == tokens[8 * k : 8 * k + 6]
    items = encoder.task.draw(0, "metalearning", "unrotated", "blocked", 30)
    values = items.cue[:, :, [0, 2, 4]] % 8  # the irrelevant one is uniform: each of its 8 values about 8 times in 64
    assert values.min() == 0
    assert values.max() == 7


def test_sizes_and_vocabulary():
    encoder = encoded("--task category")
    episodes = encoder.episodes(1, "validation", "unrotated", "blocked", 1)
    assert episodes.context.shape == (1, 161)
    assert episodes.queries.shape == (1, 64, 4)
    assert episodes.answers.shape == (1, 64, 1)
    assert len(encoder.vocabulary) == 1607
    assert Counter(episodes.subset[0].tolist()) == {0: 16, 1: 16, 2: 32}
    assert len(encoded("--task category --lm_task causal").vocabulary) == 1606


@pytest.mark.parametrize(
    ("fmt", "item"),
    [("space", "s s :"), ("comma", "s , s :"), ("paren", "( s s ) :"), ("paren_comma", "( s , s ) :")],
)
def test_formats(fmt, item):
    encoder = encoded(SMALL + f"--format {fmt}")
    query = encoder.text(encoder.episodes(0, "test", "unrotated", "blocked", 1).queries[0, 0]).split(" ")
    assert ["s" if t.startswith("symbol_") else t for t in query] == [*item.split(" "), "<mask>"]


@pytest.mark.parametrize(
    ("flags", "right"),
    [
        ("--n_symbols 4 --n_in_context 12", True),
        ("--n_symbols 4 --n_in_context 16", False),  # no novel item
        ("--n_task_dims 6 --n_val 27 --n_test 2", True),  # of 30 ordered pairs one is left
        ("--n_task_dims 6 --n_val 28 --n_test 2", False),
        ("--n_task_dims 6 --n_distractors 4", True),
        ("--n_task_dims 6 --n_distractors 5", False),
        ("--n_labels 4 --n_labels_per_task 4 --n_rel_dims 2", True),
        ("--n_labels 4 --n_labels_per_task 4", False),
        ("--n_labels 2 --n_labels_per_task 4 --n_rel_dims 2", False),
    ],
)
def test_what_is_just_possible_and_just_not(flags, right):
    config = configured(f"--task category --n_train 5 --n_val 1 --n_test 1 {flags}")
    if right:
        CategoryTask.check(config)
        CategoryTask(config).draw(0, "metalearning", "rotated", "interleaved", 5)
    else:
        with pytest.raises(BadInput):
            CategoryTask.check(config)


def test_chance_is_one_of_the_labels_of_an_episode():
    for labels, per_task, expected in ((2, 2, 1 / 2), (6, 2, 1 / 2), (6, 4, 1 / 4)):
        assert chance({"task": "category", "n_labels": labels, "n_labels_per_task": per_task}) == expected
    assert chance({"task": "grid", "n_labels": 2, "n_labels_per_task": 2}) == 1 / 25
