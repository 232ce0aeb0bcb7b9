"""The measures, on small tables counted by hand."""

import pandas as pd
import pytest

from analysis.measures import derive
from analysis.statistics.effects import band

COLUMNS = ["seed", "init", "rotation", "context_curriculum", "step_curriculum", "episode", "block", "trained_group", "step",
           "test_level", "subset", "n_correct", "n_queries", "job", "training_level", "experiment", "pt_rotation",
           "pt_curriculum"]  # fmt: skip


def rows(*of, seed=1, init="metalearned", rotation="unrotated", context="blocked", steps="blocked", job=0, experiment="icl_iwl"):
    """of: (episode, block, trained_group, step, subset, n_correct, n_queries)."""
    pt = ("", "") if experiment == "iwl_only" else ("unrotated", "blocked")
    return pd.DataFrame(
        [
            (seed, init, rotation, context, steps, e, b, g, step, 0.0, subset, right, n, job, 0.0, experiment, *pt)
            for e, b, g, step, subset, right, n in of
        ],
        columns=COLUMNS,
    )


# Two blocks of ten updates, tested at 0, 5 and each end; group A has 5 items, B 4.
EPISODE = [
    (0, None, "", 0, "study_A", 1, 5), (0, None, "", 0, "study_B", 1, 4), (0, None, "", 0, "novel", 15, 16),
    (0, 0, "A", 5, "study_A", 3, 5), (0, 0, "A", 5, "study_B", 0, 4), (0, 0, "A", 5, "novel", 2, 16),
    (0, 0, "A", 10, "study_A", 5, 5), (0, 0, "A", 10, "study_B", 0, 4), (0, 0, "A", 10, "novel", 2, 16),
    (0, 1, "B", 15, "study_A", 2, 5), (0, 1, "B", 15, "study_B", 3, 4), (0, 1, "B", 15, "novel", 0, 16),
    (0, 1, "B", 20, "study_A", 1, 5), (0, 1, "B", 20, "study_B", 4, 4), (0, 1, "B", 20, "novel", 0, 16),
]  # fmt: skip


def test_after_training_is_the_last_step_and_weights_groups_alike():
    last = derive.after_training(rows(*EPISODE))
    assert last[["subset", "n_correct"]].values.tolist() == [["study_A", 1], ["study_B", 4]]
    assert derive.by_seed(last, ["rotation"]).value.tolist() == [pytest.approx((1 / 5 + 4 / 4) / 2)]  # and not 5 of 9


def test_items_alike_adds_the_groups_up():
    last = derive.items_alike(derive.after_training(rows(*EPISODE)))
    assert last[["n_correct", "n_queries"]].values.tolist() == [[5, 9]]


def test_few_shot_is_counted_once_for_both_step_curricula():
    both = pd.concat([rows(*EPISODE), rows(*EPISODE, steps="interleaved")])
    first = derive.few_shot(both)
    assert first[["step", "subset", "n_correct", "n_queries"]].values.tolist() == [[0, "novel", 15, 16]]


def test_forgetting_at_the_switch():
    lost = derive.forgetting(rows(*EPISODE))
    assert lost[["block", "group", "before", "after"]].values.tolist() == [[0, "A", 1.0, 0.2]]


def test_the_criterion_tells_who_is_left_out():
    good, bad = rows(*EPISODE), rows(*[(*row[:5], row[5] // 2, row[6]) for row in EPISODE], seed=2)
    exactly = rows((0, None, "", 0, "novel", 9, 10), seed=3)  # .9 is not above .9
    kept, seeds, left_out = derive.meet_criterion(pd.concat([good, bad, exactly]))
    assert (seeds, left_out) == ([1], [2, 3])
    assert set(kept.seed) == {1}
    assert derive.meet_criterion(good, "rotated")[1:] == ([], [1])


def test_models_without_metalearning_come_from_one_place_each():
    own = rows(*EPISODE, init="random", experiment="iwl_only", job=1)
    beside = pd.concat([rows(*EPISODE, init="random", seed=seed, job=job) for seed in (1, 2) for job in (2, 3)])
    found = derive.iwl_only(pd.concat([beside, own, rows(*EPISODE, job=2)]))
    assert found.groupby("seed").job.unique().map(list).to_dict() == {1: [1], 2: [2]}
    assert set(found.init) == {"random"}
    assert set(derive.metalearned(pd.concat([beside, own, rows(*EPISODE, job=2)])).init) == {"metalearned"}


def test_the_composite_takes_rule_like_rows_few_shot_and_rotated_ones_after_training():
    both = pd.concat([rows(*EPISODE), rows(*EPISODE, rotation="rotated"), rows(*EPISODE, context="interleaved")])
    found = derive.composite(both)
    of = {name: part[["curriculum", "subset"]].values.tolist() for name, part in found.groupby("rotation")}
    assert of == {
        "unrotated": [["blocked", "novel"], ["interleaved", "novel"]],
        "rotated": [["blocked", "study_A"], ["blocked", "study_B"]],
    }


def test_curves_and_their_band():
    curves = derive.learning_curves(pd.concat([rows(*EPISODE), rows(*[(*r[:5], r[6], r[6]) for r in EPISODE], seed=2)]))
    a = curves[curves.subset == "study_A"].pivot_table(index="seed", columns="step", values="value")
    assert a.loc[1].tolist() == pytest.approx([0.2, 0.6, 1.0, 0.4, 0.2])
    found = band(a, (-10.0, 10.0))
    assert found["mean"].tolist() == pytest.approx([0.6, 0.8, 1.0, 0.7, 0.6])
    assert found.high[0] == pytest.approx(0.6 + 12.7062 * 0.4, abs=1e-4)  # .2 and 1.0: standard error .4, one degree of freedom
    assert found.low[10] == found.high[10] == 1.0
    assert band(a.loc[[1]], (0.0, 1.0)).low.isna().all()


def test_losses_are_means_over_episodes():
    part = rows(*EPISODE[:2]).assign(loss=[1.0, 3.0], step=10)
    assert derive.losses(part).value.tolist() == [2.0]


def test_congruent_rows_have_one_curriculum_for_context_and_steps():
    """Of the six pairs, two: aligned contexts have no steps of their own kind."""
    pairs = [(context, steps) for context in ("blocked", "interleaved", "aligned") for steps in ("blocked", "interleaved")]
    everything = pd.concat([rows(*EPISODE, context=context, steps=steps) for context, steps in pairs])
    found = derive.congruent(everything)
    kept = found[["context_curriculum", "step_curriculum", "curriculum"]].drop_duplicates().values.tolist()
    assert kept == [["blocked"] * 3, ["interleaved"] * 3]
    assert set(derive.composite(pd.concat([everything, everything.assign(rotation="rotated")])).context_curriculum) == {
        "blocked",
        "interleaved",
    }


def test_metalearned_rows_are_plain_and_of_one_condition():
    """Neither of a trade-off, nor ablated, nor of random models beside them, nor of another metalearning condition."""
    wanted = rows(*EPISODE)
    others = [
        wanted.assign(experiment="tradeoff_mask"), wanted.assign(test_level=0.5), wanted.assign(init="random"),
        wanted.assign(pt_rotation="rotated"), wanted.assign(pt_curriculum="interleaved"),
    ]  # fmt: skip
    everything = pd.concat([part.assign(seed=seed) for seed, part in enumerate([wanted, *others])])
    assert set(derive.metalearned(everything).seed) == {0}
    assert set(derive.metalearned(everything, "rotated").seed) == {4}
    assert set(derive.metalearned(everything, "unrotated", "interleaved").seed) == {5}


def test_models_without_metalearning_are_tested_without_ablation():
    random = rows(*EPISODE, init="random")
    found = derive.iwl_only(pd.concat([random, random.assign(test_level=0.5), random.assign(experiment="tradeoff_mask", job=1)]))
    assert found[["test_level", "experiment"]].drop_duplicates().values.tolist() == [[0.0, "icl_iwl"]]
    assert len(found) == len(random)


def test_few_shot_keeps_jobs_models_contexts_and_levels_apart():
    first = rows(*EPISODE)
    changes = [{"job": 1}, {"seed": 2}, {"init": "random"}, {"rotation": "rotated"}, {"context_curriculum": "aligned"},
               {"episode": 1}, {"test_level": 0.5}]  # fmt: skip
    assert len(derive.few_shot(pd.concat([first, *(first.assign(**change) for change in changes)]))) == 1 + len(changes)


def test_the_last_step_and_the_ends_of_blocks_are_each_jobs_own():
    """One job has blocks of ten updates, the other of five; a third was not finetuned."""
    shorter = rows(*EPISODE, seed=2, job=1)
    shorter = shorter.assign(step=shorter.step.map({0: 0, 5: 2, 10: 5, 15: 7, 20: 10}))
    few_shot_alone = rows(*EPISODE[:3], seed=3, job=2)
    both = pd.concat([rows(*EPISODE), shorter, few_shot_alone])
    last = derive.after_training(both)
    assert last.groupby("seed").step.unique().map(list).to_dict() == {1: [20], 2: [10]}
    assert derive.forgetting(both)[["seed", "before", "after"]].values.tolist() == [[1, 1.0, 0.2], [2, 1.0, 0.2]]


def test_the_criterion_looks_at_blocked_contexts_of_one_rotation():
    blocked = rows(*EPISODE)  # .9375 of the novel items
    worse = [(*row[:5], 0, row[6]) for row in EPISODE]
    everything = pd.concat([blocked, rows(*worse, context="interleaved"), rows(*worse, rotation="rotated")])
    assert derive.criterion(everything).to_dict() == {1: 15 / 16}
    assert derive.criterion(everything, "rotated").to_dict() == {1: 0}


def test_few_shot_rows_have_the_steps_of_their_context():
    """Contexts that are no step curricula count with the blocked ones."""
    contexts = ("blocked", "interleaved", "aligned", "misaligned")
    found = derive.few_shot_by_steps(pd.concat([rows(*EPISODE, context=c, steps="interleaved") for c in contexts]))
    steps = found.set_index("context_curriculum").step_curriculum.to_dict()
    assert steps == {"blocked": "blocked", "interleaved": "interleaved", "aligned": "blocked", "misaligned": "blocked"}
