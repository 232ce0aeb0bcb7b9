"""Tests of conditions against R (tests/analysis/r/), against independent ways to the same number, and by hand."""

import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, ttest_1samp, ttest_ind

from analysis.statistics.binomial import anova, simple_effects
from analysis.statistics.clustered import clustered
from analysis.statistics.effects import band, effect_size, mean_interval
from analysis.statistics.inference import effect_sizes, model_tests

pytestmark = pytest.mark.filterwarnings("error")

R = Path(__file__).parent / "r"
CASE = ["data", "test", "family", "contrasts", "within"]
EXPECTED, PRECISE = pd.read_csv(R / "expected.csv"), pd.read_csv(R / "precise.csv")
FACTORS = ["rotation", "curriculum"]


def cases(table):
    return [pytest.param(key, rows, id=" ".join(key)) for key, rows in table.groupby(CASE, sort=False)]


def read(name):
    """The table, in another order than R had it and with another index."""
    return pd.read_csv(R / f"{name}.csv").sample(frac=1, random_state=0)


def ours(data, test, family, contrasts, within):
    table = read(data)
    factors = [name for name in (*FACTORS, "model") if name in table]
    if test == "clustered":
        return clustered(table, factors, contrasts=contrasts)
    if test == "anova":
        return anova(table, factors, family=family, contrasts=contrasts)
    found = simple_effects(table, factors[1:], "rotation", family=family, pooled=test == "simple_pooled")
    return found[found.rotation == within]


@pytest.mark.parametrize(("case", "rows"), cases(EXPECTED))
def test_the_numbers_are_those_of_r(case, rows):
    found = ours(*case)
    assert found.term.tolist() == rows.term.tolist()
    assert found.df.tolist() == rows.df.tolist()
    if rows.dispersion.iloc[0] < 1e-8:  # R divides rounding errors by rounding errors
        assert found[["chi2", "p"]].isna().all(axis=None)
        assert found.note.str.contains("the dispersion is 0").all()
        return
    np.testing.assert_allclose(found.dispersion, rows.dispersion, rtol=1e-10)
    np.testing.assert_allclose(found.chi2, rows.chi2, rtol=1e-10, atol=1e-11)
    # a χ² that is 0 but for what rounding leaves, some 1e-14, has a p of 1 less its root: machines differ in it
    rounding = np.where(rows.chi2 < 1e-11, 1e-5, 0.0)
    assert (abs(found.p.to_numpy() - rows.p.to_numpy()) <= 1e-8 * rows.p.to_numpy() + rounding).all()


def printed():
    """From the case to the lines of its table that R printed: [term, chi2, df, p]."""
    blocks = {}
    for block in (R / "expected.txt").read_text().split("\n### ")[1:]:
        head, *lines = block.splitlines()
        tests = [line.replace("< ", "<").split()[:4] for line in lines[4:] if line and line[0].islower()]
        blocks[tuple(head.split())] = tests
    return blocks


def as_printed(number, like):
    """The number with as many digits as R's word for it has."""
    if like.startswith("<"):
        return like if number < float(like[1:]) else f"not {like}"
    mantissa, *exponent = like.split("e")
    return f"{number:.{len(mantissa.partition('.')[2])}{'e' if exponent else 'f'}}"


@pytest.mark.parametrize(("case", "lines"), [pytest.param(key, lines, id=" ".join(key)) for key, lines in printed().items()])
def test_every_digit_that_r_prints(case, lines):
    found = ours(*case)
    assert len(lines) == len(found) > 0
    if found.chi2.isna().all():
        return  # without dispersion, see above
    for (term, *words), row in zip(lines, found.itertuples(), strict=True):
        assert term == row.term
        assert [as_printed(number, word) for number, word in zip((row.chi2, row.df, row.p), words, strict=True)] == words


@pytest.mark.parametrize(("case", "rows"), cases(PRECISE[PRECISE.test == "clustered"]))
def test_score_tests_with_seeds_as_clusters_are_those_of_r(case, rows):
    found = ours(*case)
    assert found.term.tolist() == rows.term.tolist()
    assert found.df.tolist() == rows.df.tolist()
    np.testing.assert_allclose(found.chi2, rows.chi2, rtol=1e-9)
    np.testing.assert_allclose(found.p, rows.p, rtol=1e-8)


@pytest.mark.parametrize("tested", [1, 2, 3])
def test_score_tests_are_those_of_generalised_estimating_equations(tested):
    table = pd.read_csv(R / "two_by_two.csv")
    first, second = table.rotation == "unrotated", table.curriculum == "interleaved"
    columns = np.column_stack([np.ones(len(table)), first, second, first & second]).astype(float)
    share = table.n_correct / table.n_queries  # of 16 trials each, so that no weights are needed

    def model(design):
        return sm.GEE(share, design, table.seed, family=sm.families.Binomial(), cov_struct=sm.cov_struct.Independence())

    null = model(np.delete(columns, tested, axis=1)).fit(ctol=1e-12)
    whole = model(columns)
    whole.fit()
    expected = whole.compare_score_test(null)
    row = clustered(table, FACTORS).iloc[tested - 1]
    assert row.chi2 == pytest.approx(expected["statistic"], rel=1e-8)
    assert row.p == pytest.approx(expected["p-value"], rel=1e-7)


def table_of(cells, n_seeds=4, trials=16):
    """cells: (rotation, curriculum) → counts by row and seed, repeated as needed."""
    return pd.DataFrame(
        [(seed, *cell, np.resize(counts, n_seeds)[seed], trials) for cell, counts in cells.items() for seed in range(n_seeds)],
        columns=["seed", "rotation", "curriculum", "n_correct", "n_queries"],
    )


BLOCKED_AT_ONE = table_of(
    {
        ("unrotated", "blocked"): [16],
        ("unrotated", "interleaved"): [10, 12, 9, 11],
        ("rotated", "blocked"): [8, 9, 7, 6],
        ("rotated", "interleaved"): [8, 5, 7, 9],
    }
)


def test_cells_without_spread_are_told():
    """A cell at 1 throughout has no residual, one at 8 of 16 throughout neither; a binomial test does not care."""
    found = anova(BLOCKED_AT_ONE, FACTORS)
    assert found.separated.all()
    told = "1 of 4 cells has no spread; the dispersion comes from the others, so χ² may be too large."
    told += " Effects between cells at 0 or 1 are not defined on the logit scale: see the effect sizes."
    assert (found.note == told).all()
    assert (anova(BLOCKED_AT_ONE, FACTORS, family="binomial").note == "").all()
    parts = simple_effects(BLOCKED_AT_ONE, "curriculum", "rotation").set_index("rotation")
    assert parts.separated.to_dict() == {"rotated": False, "unrotated": True}
    assert parts.note.to_dict() == {"rotated": "", "unrotated": told.replace("4", "2")}
    # the dispersion of both rotations lacks what the cell at 1 does not show
    assert simple_effects(BLOCKED_AT_ONE, "curriculum", "rotation", pooled=True).separated.all()
    one_miss = BLOCKED_AT_ONE.assign(n_correct=BLOCKED_AT_ONE.n_correct.where(BLOCKED_AT_ONE.index > 0, 15))
    assert not anova(one_miss, FACTORS).separated.any()
    assert (anova(one_miss, FACTORS).note == "").all()
    half = BLOCKED_AT_ONE.n_correct.where(BLOCKED_AT_ONE.rotation + BLOCKED_AT_ONE.curriculum != "rotatedblocked", 8)
    alike = anova(BLOCKED_AT_ONE.assign(n_correct=half), FACTORS)
    assert (alike.note == told.replace("1 of 4 cells has", "2 of 4 cells have")).all()


def test_an_iteration_that_runs_away_is_not_believed():
    """Five seeds on the grid, one cell at 1 and two near 0: no model's deviance can exceed that of the mean of all."""
    counts = {("unrotated", "blocked"): [160, 160, 160, 160, 160], ("unrotated", "interleaved"): [68, 160, 156, 91, 113],
              ("rotated", "blocked"): [0, 1, 0, 1, 0], ("rotated", "interleaved"): [3, 0, 0, 4, 1]}  # fmt: skip
    rows = [(seed, *cell, n, 160) for cell, of_cell in counts.items() for seed, n in enumerate(of_cell)]
    table = pd.DataFrame(rows, columns=["seed", *FACTORS, "n_correct", "n_queries"])
    found = anova(table, FACTORS, contrasts="sum").set_index("term").chi2
    assert found["rotation"] == pytest.approx(236.09, abs=0.05)  # by plain maximisation; iterated as in R, 14,709
    unexplained = anova(table, FACTORS, family="binomial", contrasts="sum").chi2
    assert (unexplained < 2 * 3200 * np.log(2)).all()


def test_a_table_says_once_what_cannot_be_relied_on():
    found = model_tests(BLOCKED_AT_ONE)
    assert found.note.str.contains("no spread").sum() == 2  # of the model with both rotations, and of one rotation alone
    assert found.note.str.contains("1 of 4").sum() == 1


def test_a_row_of_the_model_is_a_seed_and_condition():
    """Episodes and groups are summed: the paper's data sets have no row an episode (160 of 2,000 right is one number a seed)."""
    rng = np.random.default_rng(0)
    places = product(range(5), ["rotated", "unrotated"], ["blocked", "interleaved"], range(10), ["study_A", "study_B"])
    table = pd.DataFrame(places, columns=["seed", *FACTORS, "episode", "subset"]).assign(n_queries=9)
    table["n_correct"] = rng.binomial(9, rng.uniform(0.2, 0.9, len(table)))
    by_hand = table.groupby(["seed", *FACTORS])[["n_correct", "n_queries"]].sum().reset_index()
    assert by_hand.n_queries.eq(180).all()
    found = model_tests(table).set_index(["model", "term"])["χ²"]
    of_seeds = anova(by_hand, FACTORS).set_index("term").chi2
    for term in of_seeds.index:
        assert found["quasibinomial, treatment contrasts", term] == pytest.approx(of_seeds[term], rel=1e-9)
    of_episodes = anova(table, FACTORS).set_index("term").chi2
    assert abs(of_episodes - of_seeds).max() > 0.5  # another test


@pytest.mark.parametrize("level", [0, 8, 16])
def test_no_dispersion_no_statistic(level):
    table = table_of(
        {(r, c): [level if c == "blocked" else 3] for r in ("unrotated", "rotated") for c in ("blocked", "interleaved")}
    )
    found = anova(table, FACTORS)
    assert found[["chi2", "p"]].isna().all(axis=None)
    assert found.note.str.contains("the dispersion is 0").all()
    assert found.separated.tolist() == [level in (0, 16)] * 3
    assert anova(table, FACTORS, family="binomial").chi2.notna().all()
    single = anova(table[table.seed == 0], FACTORS)
    assert single[["chi2", "p", "dispersion"]].isna().all(axis=None)
    assert single.note.str.contains("One row a cell").all()


def test_treatment_contrasts_test_the_simple_effect_at_the_reference_level():
    table = read("two_by_four")
    pooled = simple_effects(table, "curriculum", "rotation", pooled=True).set_index("rotation").chi2
    for level in ("rotated", "unrotated"):
        found = anova(table, FACTORS, reference={"rotation": level}).set_index("term").chi2
        assert found["curriculum"] == pytest.approx(pooled[level], rel=1e-6)
    default = anova(table, FACTORS)
    pd.testing.assert_frame_equal(default, anova(table, FACTORS, reference={"rotation": "rotated", "curriculum": "blocked"}))
    assert anova(table, FACTORS, reference={"curriculum": "aligned"}).chi2[0] != pytest.approx(default.chi2[0], rel=0.01)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=2, max_size=5))
def test_one_factor_is_the_g_test_of_a_contingency_table(counts):
    """Also where a level is at 0 or 1 throughout: there the deviance converges while the coefficient does not."""
    counts = [(right, wrong) for right, wrong in counts if right + wrong]
    if len(counts) < 2 or not all(np.sum(counts, axis=0)):
        return
    table = pd.DataFrame([(f"c{i}", right, right + wrong) for i, (right, wrong) in enumerate(counts)])
    table.columns = ["curriculum", "n_correct", "n_queries"]
    expected = chi2_contingency(counts, lambda_="log-likelihood", correction=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for contrasts in ("treatment", "sum"):
            found = anova(table, ["curriculum"], family="binomial", contrasts=contrasts).iloc[0]
            assert found.chi2 == pytest.approx(expected.statistic, abs=1e-6)
            assert found.df == expected.dof
            assert found.separated == any(0 in pair for pair in counts)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=24, max_size=24), st.sampled_from(["treatment", "sum"]))
def test_whatever_the_counts_no_warning_and_no_surprise(counts, contrasts):
    places = [(seed, r, c) for seed in range(3) for r in "ab" for c in "wxyz"]
    table = pd.DataFrame([(*place, count, 3) for place, count in zip(places, counts, strict=True)])
    table.columns = ["seed", "rotation", "curriculum", "n_correct", "n_queries"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for family in ("binomial", "quasibinomial"):
            found = anova(table, FACTORS, family=family, contrasts=contrasts)
            fine = found.dropna()
            assert len(fine) in (0, 3)
            assert (fine.chi2 >= 0).all()
            assert fine.p.between(0, 1).all()
            shares = (table.n_correct / 3).groupby([table.rotation, table.curriculum]).nunique()
            told = family == "quasibinomial" and bool((shares == 1).any() or not len(fine))
            assert (found.note != "").tolist() == [told] * 3
        scores = clustered(table, FACTORS, contrasts=contrasts)
        assert scores.chi2.isna().tolist() == [False, True, True]  # three seeds, three degrees of freedom
        assert scores.note.str.len().gt(0).tolist() == [False, True, True]
        assert 0 <= scores.chi2[0] <= 3 + 1e-9


def test_seeds_that_agree_entirely_give_their_number():
    table = table_of(
        {(r, c): [4 if c == "blocked" else 9] for r in ("unrotated", "rotated") for c in ("blocked", "interleaved")}, 10
    )
    assert clustered(table, FACTORS).chi2.tolist() == pytest.approx([0, 10, 0], abs=1e-9)


def test_rows_of_a_seed_are_not_independent():
    """Ten times the same rows: the likelihood ratio takes them for ten times the evidence, clusters do not."""
    table = read("two_by_two")
    repeated = pd.concat([table] * 10)
    once, ten_times = anova(table, FACTORS, family="binomial").chi2, anova(repeated, FACTORS, family="binomial").chi2
    np.testing.assert_allclose(ten_times, 10 * once, rtol=1e-5)
    np.testing.assert_allclose(clustered(repeated, FACTORS).chi2, clustered(table, FACTORS).chi2, rtol=1e-8)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.drop(columns="rotation"), "no column rotation"),
        (lambda t: t[t.rotation == "rotated"], "rotation has fewer than two levels"),
        (lambda t: t[(t.rotation == "rotated") | (t.curriculum == "blocked")], "some combination of rotation, curriculum"),
        (lambda t: t.assign(n_correct=t.n_queries + 1), "0 ≤ n_correct ≤ n_queries"),
        (lambda t: t.assign(n_correct=np.nan), "0 ≤ n_correct ≤ n_queries"),
        (lambda t: t.assign(n_correct=0, n_queries=0), "rotation has fewer than two levels"),
    ],
)
def test_tables_that_cannot_be_tested(change, complaint):
    for test in (anova, clustered):
        with pytest.raises(ValueError, match=complaint):
            test(change(BLOCKED_AT_ONE), FACTORS)


TESTS = {
    "anova": lambda t, **more: anova(t, FACTORS, **more),
    "clustered": lambda t, **more: clustered(t, FACTORS, **more),
    "simple_effects": lambda t, **more: simple_effects(t, "curriculum", "rotation", **more),
    "effect_size": lambda t, **more: effect_size(t, "curriculum", "rotation", **more),
    "mean_interval": lambda t, **more: mean_interval(t, FACTORS, **more),
    "model_tests": lambda t, **more: model_tests(t, **more),
    "effect_sizes": lambda t, **more: effect_sizes(t, **more),
}
OF_SEEDS = ("clustered", "effect_size", "mean_interval", "effect_sizes")


@pytest.mark.parametrize(
    ("change", "more", "complaint", "tests"),
    [
        (lambda t: t.drop(columns="curriculum"), {}, "the table has no column curriculum", TESTS),
        (lambda t: t.drop(columns="seed"), {}, "the table has no column seed", OF_SEEDS),
        (lambda t: t.drop(columns="n_queries"), {}, "the table has no column n_queries", TESTS),
        (lambda t: t.assign(curriculum=t.curriculum.where(t.index != 3)), {}, "^curriculum: 1 of 80 rows have no value", TESTS),
        (lambda t: t.assign(seed=t.seed.where(t.index > 1)), {}, "^seed: 2 of 80 rows have no value", OF_SEEDS),
        (lambda t: t.assign(n_correct="many"), {}, "n_correct and n_queries must be numbers", TESTS),
        (lambda t: t.assign(n_correct=t.n_correct.where(t.index != 3)), {}, "0 ≤ n_correct ≤ n_queries", TESTS),
        (lambda t: t.assign(curriculum=[0, "a"] * 40), {}, "curriculum: has levels of several types", list(TESTS)[:4]),
        (lambda t: t, {"family": "quasi"}, "family is one of 'quasibinomial', 'binomial', not 'quasi'",
         ("anova", "simple_effects", "model_tests")),
        (lambda t: t, {"reference": {"curiculum": "blocked"}}, "reference: curiculum is none of the factors rotation, curriculum",
         list(TESTS)[:4]),
    ],
)  # fmt: skip
def test_what_a_test_cannot_use_is_named(change, more, complaint, tests):
    rng = np.random.default_rng(0)
    rows = product(range(10), ["rotated", "unrotated"], ["blocked", "interleaved"], range(2))
    table = pd.DataFrame(rows, columns=["seed", *FACTORS, "repeat"]).assign(n_queries=9)
    table["n_correct"] = rng.integers(0, 10, len(table))
    for test in tests:
        TESTS[test](table)
        with pytest.raises(ValueError, match=complaint):
            TESTS[test](change(table), **more)


def test_simple_effects_take_the_reference_of_both_factors():
    plain = simple_effects(BLOCKED_AT_ONE, "curriculum", "rotation")
    turned = simple_effects(BLOCKED_AT_ONE, "curriculum", "rotation", reference={"rotation": "unrotated", "curriculum": "blocked"})
    assert turned.rotation.tolist() == plain.rotation.tolist()[::-1]


def test_a_reference_level_that_is_not_there():
    with pytest.raises(ValueError, match="no rows of the reference level 'aligned'; levels are blocked, interleaved"):
        anova(BLOCKED_AT_ONE, FACTORS, reference={"curriculum": "aligned"})


def test_effect_sizes_by_hand():
    found = effect_size(BLOCKED_AT_ONE, "curriculum", "rotation")
    assert found.rotation.tolist() == ["rotated", "unrotated", "unrotated − rotated"]
    # interleaved − blocked: (29 − 30) / 64, (42 − 64) / 64, and the difference of the two
    assert found.difference.tolist() == [-1 / 64, -22 / 64, -21 / 64]
    assert (found.level == "interleaved").all()
    assert (found.against == "blocked").all()
    assert found.n.tolist() == [4, 4, 4]
    assert (found.over == "seeds").all()
    assert found.paired.all()
    # rotated: by seed 0, −4, 0, 3 sixteenths; t of three degrees of freedom is 3.1824
    by_seed = np.array([0, -4, 0, 3]) / 16
    half = 3.182446 * by_seed.std(ddof=1) / 2
    assert [found.low[0], found.high[0]] == pytest.approx([-1 / 64 - half, -1 / 64 + half], abs=1e-6)
    pd.testing.assert_frame_equal(found, effect_size(BLOCKED_AT_ONE[::-1], "curriculum", "rotation"))


def test_intervals_are_those_of_scipy():
    """Of a mean Student's, of a difference of other seeds Welch's."""
    rng = np.random.default_rng(0)
    one, other = rng.integers(3, 12, 7), rng.integers(5, 15, 4)
    table = table_of({("rotated", "blocked"): one, ("rotated", "interleaved"): other}, 7)
    table = table[(table.curriculum == "blocked") | (table.seed < 4)]
    means = mean_interval(table, ["curriculum"]).set_index("curriculum")
    of_one = ttest_1samp(one / 16, 0).confidence_interval()
    assert [means.low["blocked"], means.high["blocked"]] == pytest.approx(list(of_one))
    found = effect_size(table, "curriculum").iloc[0]
    of_both = ttest_ind(other / 16, one / 16, equal_var=False).confidence_interval()
    assert [found.low, found.high] == pytest.approx(list(of_both))
    assert (found.n, found.paired) == (4, False)


def test_a_seed_brings_all_of_its_conditions():
    """Seeds that differ by much, but all by the same between conditions: paired, they are all alike."""
    table = table_of({("rotated", "blocked"): [1, 4, 7, 10], ("rotated", "interleaved"): [3, 6, 9, 12]})
    found = effect_size(table, "curriculum").iloc[0]
    assert (found.difference, found.paired, found.alike) == (0.125, True, True)
    assert np.isnan([found.low, found.high]).all()
    fewer = effect_size(table[(table.curriculum == "blocked") | (table.seed < 3)], "curriculum").iloc[0]
    assert (fewer.n, fewer.paired, fewer.alike) == (3, False, False)
    assert fewer.low < -0.1
    assert fewer.high > 0.2


def test_intervals_stay_within_what_there_can_be():
    table = table_of({("rotated", "blocked"): [16, 16, 16, 9], ("rotated", "interleaved"): [0, 0, 0, 9]})
    means = mean_interval(table, ["curriculum"]).set_index("curriculum")
    assert means.high["blocked"] == 1.0
    assert means.low["interleaved"] == 0.0
    assert effect_size(table, "curriculum").low[0] == -1.0
    points = pd.DataFrame([[0.9, 0.5], [1.0, 0.5], [0.2, 0.5]])
    found = band(points, (0.0, 1.0))
    assert found.high.tolist() == [1.0, 0.5]
    assert found.low[0] == 0.0  # .7 − 4.30 · .436 / √3 is below it
    assert band(points, (-np.inf, np.inf)).low[0] == pytest.approx(0.7 - 4.302653 * np.std([0.9, 1.0, 0.2], ddof=1) / 3**0.5)


def test_one_seed_has_its_episodes_for_units():
    rows = [(0, c, episode, right, 4) for c, counts in (("blocked", [4, 3, 4, 2]), ("interleaved", [1, 1, 2, 0]))
            for episode, right in enumerate(counts)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["seed", "curriculum", "episode", "n_correct", "n_queries"])
    means = mean_interval(table, ["curriculum"])
    assert (means.over == "episodes").all()
    assert means.n.tolist() == [4, 4]
    blocked, interleaved = np.array([4, 3, 4, 2]) / 4, np.array([1, 1, 2, 0]) / 4
    apart, paired = effect_size(table, "curriculum").iloc[0], effect_size(table, "curriculum", same_episodes=True).iloc[0]
    assert not apart.paired
    assert paired.paired
    welch = ttest_ind(interleaved, blocked, equal_var=False).confidence_interval()
    assert [apart.low, apart.high] == pytest.approx(list(welch))
    assert [paired.low, paired.high] == pytest.approx(list(ttest_1samp(interleaved - blocked, 0).confidence_interval()))
    pd.testing.assert_frame_equal(means, mean_interval(table.drop(columns="seed"), ["curriculum"]))  # a language model


def test_rows_count_alike_and_single_seeds_have_no_interval():
    rows = [(0, "rotated", 5, 5), (0, "rotated", 0, 4), (0, "rotated", 0, 0)]  # groups of 5 and 4; no trials
    table = pd.DataFrame(rows, columns=["seed", "rotation", "n_correct", "n_queries"])
    found = mean_interval(table, ["rotation"]).iloc[0]
    assert found["mean"] == 0.5
    assert np.isnan(found.low)
    assert np.isnan(found.high)
    assert (found.n, found.over, found.alike) == (1, "seeds", False)


def test_other_conditions_do_not_move_an_interval():
    table = read("two_by_four")
    all_four = effect_size(table, "curriculum", "rotation")
    two = effect_size(table[table.curriculum.isin(["blocked", "misaligned"])], "curriculum", "rotation")
    pd.testing.assert_frame_equal(all_four[all_four.level == "misaligned"].reset_index(drop=True), two)


def test_conditions_with_other_seeds_are_not_paired_however_many_there_are():
    """Three of four seeds in each, not the same three: the interval is Welch's."""
    table = table_of({("rotated", "blocked"): [1, 4, 7, 10], ("rotated", "interleaved"): [3, 6, 9, 12]})
    first = (table.curriculum == "blocked") & (table.seed < 3)
    found = effect_size(table[first | ((table.curriculum == "interleaved") & (table.seed > 0))], "curriculum").iloc[0]
    assert not found.paired
    assert found.n == 3
    assert found.difference == pytest.approx(9 / 16 - 4 / 16)
    assert found.low < found.difference < found.high
