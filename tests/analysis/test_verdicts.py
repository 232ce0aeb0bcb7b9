"""What an interval settles, and the published tests computed again."""

import numpy as np
import pandas as pd
import pytest

from analysis.measures import published
from analysis.report import replication, verdicts
from analysis.statistics.effects import Interval, difference
from tests.analysis.test_stats import as_printed

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "low", "high", "expected", "verdict"),
    [
        (0.3, 0.1, 0.5, "more", "yes"),
        (0.3, -0.1, 0.5, "more", "not settled"),
        (0.3, 0.0, 0.5, "more", "not settled"),
        (-0.3, -0.5, -0.1, "more", "no"),
        (-0.3, -0.5, -0.1, "less", "yes"),
        (0.3, 0.1, 0.5, "less", "no"),
        (-0.1, -0.5, 0.2, "less", "not settled"),
        (0.0, -0.05, 0.05, "alike", "yes"),
        (0.02, -0.01, 0.06, "alike", "not settled"),
        (0.2, 0.06, 0.4, "alike", "no"),
        (-0.2, -0.4, -0.06, "alike", "no"),
        (0.3, NAN, NAN, "more", "not settled"),  # one seed and one episode
    ],
)
def test_whether_a_claim_holds(value, low, high, expected, verdict):
    assert verdicts.holds(Interval(value, low, high, 5, False), expected) == verdict


@pytest.mark.parametrize(
    ("value", "expected", "verdict"),
    [(0.5, "more", "yes"), (0.0, "more", "no"), (-0.5, "more", "no"), (-0.5, "less", "yes"), (0.0, "alike", "yes"),
     (0.04, "alike", "yes"), (0.06, "alike", "no")],
)  # fmt: skip
def test_where_all_seeds_are_alike_the_value_is_judged(value, expected, verdict):
    assert verdicts.holds(Interval(value, NAN, NAN, 5, True), expected) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.01, 0.04, "agrees"), (0.01, 0.04, "agrees"), (0.01, 0.06, "differs"), (-0.2, -0.01, "differs"),
     (-0.01, 0.06, "not settled"), (NAN, NAN, "not settled")],
)  # fmt: skip
def test_whether_a_mean_agrees(low, high, verdict):
    assert verdicts.agrees(Interval((low + high) / 2, low, high, 5, False)) == verdict


def test_a_difference_of_two_means_without_spread_is_judged_itself():
    """.999 against 1.000 agrees, although no interval of theirs holds the other."""
    assert verdicts.agrees(difference([0.999] * 5, [1.0] * 10)) == "agrees"
    assert verdicts.agrees(difference([0.9] * 5, [1.0] * 10)) == "differs"


def test_every_printed_digit_of_the_published_tests():
    found = replication.tests()
    assert len(found) == 38
    told = found[found["χ²"].isna()]
    assert told["χ² published"].tolist() == ["6.9963e+16"]  # two cells without any spread
    assert told.note.str.contains("the dispersion is 0").all()
    for row in found.drop(told.index).itertuples(index=False):
        of = dict(zip(found.columns, row, strict=True))
        for ours, theirs in ((of["χ²"], of["χ² published"]), (of["p"], of["p published"])):
            shown = theirs if "." in theirs or theirs.startswith("<") else f"{theirs}.0000"[:1]
            assert as_printed(ours, shown) == shown, row


def test_the_published_counts_give_the_published_means():
    """Where there are counts of every seed: few-shot, and after training of the category task, whose groups are equal."""
    checked = 0
    for value in published.VALUES:
        of_seeds = published.by_seed(value.task, value.model, value.measure, value.rotation, value.curriculum)
        if len(of_seeds) and not value.at_most and (value.task, value.measure) != ("grid", "after"):
            assert of_seeds.mean() == pytest.approx(value.mean, abs=0.5 * 10**-value.decimals + 1e-9), value
            checked += 1
    assert checked == 12
    assert published.by_seed("category", "icl", "few_shot", "unrotated", "interleaved").std(ddof=1) == pytest.approx(
        0.26, abs=0.005
    )
    assert len(published.by_seed("grid", "Llama 2 70B", "few_shot", "unrotated", "blocked")) == 0  # it has no seeds
    assert isinstance(published.counts(), pd.DataFrame)
    assert np.isnan(published.counts().seed).sum() == 16
