"""What lab.py gives, on a small model."""

import numpy as np
import pytest

from flags.config import BadInput
from lab import Lab, with_answers_swapped, without_item

SMALL = "--task grid --real_words --n_layers 2 --n_heads 2 --d_model 16 --d_ff 16 --n_train 4 --n_runs 2 --init_scale 0.3"


@pytest.fixture(scope="module")
def lab():
    return Lab(SMALL)


def test_two_members_are_asked_and_trained_apart(lab):
    episodes = [lab.episodes(3, "validation", seed=seed) for seed in lab.seeds]
    ensemble = lab.ensemble()
    answers = lab.answers(ensemble, *episodes)
    assert answers.shape == (2, 3, 25)
    alone = [lab.answers(lab.ensemble([seed]), e)[0] for seed, e in zip(lab.seeds, episodes, strict=True)]
    assert (answers == np.stack(alone)).all()
    assert ensemble.step(lab.batch(*episodes)).shape == (2, 3, 25)


@pytest.mark.parametrize("more", ["", "--lm_task causal", "--model_name qwen3"])
def test_attention_is_that_of_the_answer(more):
    lab = Lab(f"{SMALL} {more}")
    episodes = lab.episodes(1)
    n_context, length = episodes.context.shape[1], episodes.queries.shape[2]
    found = lab.attention(lab.weights(0), episodes, 3)
    assert found.shape == (2, 2, 2, n_context + length)
    assert found.sum(-1) == pytest.approx(np.ones((2, 2, 2)), abs=1e-5)
    first = n_context + length - 2 - bool("causal" in more)  # where the first token of the answer is predicted
    assert (found[:, :, 0, : first + 1] > 0).all()
    assert not found[:, :, 0, first + 1 :].any()


def test_changed_contexts_by_hand(lab):
    episodes = lab.episodes(2)
    examples = lab.encoder.examples(episodes)
    words = lab.encoder.text(episodes.context[1]).split(" ")  # a word of preface, then nine times: a b : x y <sep>
    swapped = words.copy()
    swapped[4:6], swapped[52:54] = words[52:54], words[4:6]
    assert lab.encoder.text(with_answers_swapped(episodes, examples, 0, 8).context[1]).split(" ") == swapped
    less = without_item(episodes, examples, 2)
    assert lab.encoder.text(less.context[1]).split(" ") == words[:13] + words[19:]
    assert (less.queries == episodes.queries).all()
    assert lab.answers(lab.ensemble([0]), less).shape == (1, 2, 25)
    for item in (0, 9):
        with pytest.raises(ValueError, match=f"item {item} cannot be left out; choose 1 to 8"):
            without_item(episodes, examples, item)


def test_flags_that_do_not_work():
    with pytest.raises(BadInput, match="--n_heads 3: must divide --d_model 64"):
        Lab("--n_heads 3")
