import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import finetuning_batch, metalearning_packs, n_batches
from flags.command_line import parse
from tests.conftest import configured, encoded
from tests.program import ROOT

CONDITION = ("metalearning", "unrotated", "blocked")


@pytest.mark.parametrize(("task", "megabytes"), [("grid", 4), ("category", 13)])
def test_a_whole_data_set_is_small(task, megabytes):
    episodes = encoded(f"--task {task}").episodes(0, *CONDITION, 12000)
    assert len(episodes) == 12000
    assert episodes.nbytes < megabytes * 1e6


@pytest.mark.parametrize("task", ["grid", "category"])
def test_same_bytes_in_another_process(task):
    code = (
        "import hashlib; from tests.conftest import encoded; "
        f"e = encoded('--task {task}').episodes(2, 'metalearning', 'rotated', 'interleaved', 50); "
        "print(hashlib.sha256(b''.join(x.tobytes() for x in (e.context, e.queries, e.answers, e.subset))).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True)
    e = encoded(f"--task {task}").episodes(2, "metalearning", "rotated", "interleaved", 50)
    here = hashlib.sha256(b"".join(x.tobytes() for x in (e.context, e.queries, e.answers, e.subset))).hexdigest()
    assert there.stdout.strip() == here, there.stderr


def test_golden_episodes():
    """If this changes, every published number of this program changes: say so in the release notes."""
    encoder = encoded("--preset paper --task grid")
    e = encoder.episodes(1, "test", "unrotated", "blocked", 1)
    assert encoder.text(e.context[0][:13]) == "<|endoftext|> blue bird : 1 1 <sep> red bird : 2 1 <sep>"
    encoder = encoded("--preset paper --task category")
    e = encoder.episodes(1, "test", "unrotated", "blocked", 1)
    assert (
        encoder.text(e.context[0][:11])
        == "<|endoftext|> symbol_63_4 symbol_83_2 : label_0 <sep> symbol_63_7 symbol_83_1 : label_0 <sep>"
    )


@pytest.mark.parametrize("task", ["grid", "category"])
@pytest.mark.parametrize("lm_task", ["masked", "causal"])
def test_queries_of_study_items_repeat_the_context(task, lm_task):
    encoder = encoded(f"--task {task} --lm_task {lm_task} --n_train 5")
    e = encoder.episodes(0, *CONDITION, 5)
    n_study, width, n_answer = encoder.task.n_study, e.queries.shape[2], e.answers.shape[2]
    study = e.context[:, 1:].reshape(5, n_study, width + 1)  # without the preface; the last token is the separator
    assert (study[:, :, : width - n_answer] == e.queries[:, :n_study, : width - n_answer]).all()
    assert (study[:, :, width - n_answer : width] == e.answers[:, :n_study]).all()
    hidden = e.queries[:, :, width - n_answer :]
    if lm_task == "causal":
        assert (hidden == e.answers).all()
        assert "<mask>" not in encoder.vocabulary
    else:
        assert (hidden == encoder.vocabulary["<mask>"]).all()


def test_prefaces_and_separators_stand_where_they_belong():
    encoder = encoded("--task grid --preface_id 7 --sep_id 1 --test_preface_id 4 --real_words")
    e = encoder.episodes(0, "test", "unrotated", "blocked", 1)
    text = encoder.text(np.concatenate([e.context[0], e.queries[0, 0]]))
    assert text.startswith("<s>[INST] <<SYS>>\n\n<</SYS>>\n\n ")
    assert text.count(" ; ") == 9
    assert text.endswith(" <mask> <mask>")
    assert " ; [/INST] " in text


def test_vocabulary_in_order_of_first_occurrence():
    vocabulary = encoded("--task grid --real_words").vocabulary
    assert list(vocabulary) == (
        ["<pad>", "<|endoftext|>", "red", "green", "blue", "yellow", "pink", "dog", "cat", "bird", "fish", "horse", ":"]
        + [str(i) for i in range(9)]
        + ["<sep>", "<mask>"]
    )
    assert list(vocabulary.values()) == list(range(24))


@given(
    st.integers(0, 10**6),
    st.integers(0, 100),
    st.integers(1, 30),
    st.sampled_from([(25, 1), (25, 5), (25, 25), (64, 1), (64, 8), (16, 4)]),
)
def test_an_epoch_has_every_query_once(seed, epoch, n_episodes, sizes):
    n_queries, per_episode = sizes
    episode, queries = metalearning_packs(seed, epoch, n_episodes, n_queries, per_episode)
    assert queries.shape == (len(episode), per_episode)
    pairs = sorted(zip(np.repeat(episode, per_episode).tolist(), queries.ravel().tolist(), strict=True))
    assert pairs == [(e, q) for e in range(n_episodes) for q in range(n_queries)]


def test_epochs_and_seeds_are_shuffled_differently():
    orders = {metalearning_packs(s, e, 20, 25, 5)[1].tobytes() for s in range(3) for e in range(3)}
    assert len(orders) == 9


@pytest.mark.parametrize(
    ("flags", "n_queries", "updates"),
    [
        ("--task grid", 25, 1172),  # 12,000 × 25 / 256 = 1171.9
        ("--task category", 64, 3000),
        ("--task grid --queries_per_episode 25", 25, 1200),  # 10 episodes a batch
        ("--task category --queries_per_episode 8", 64, 3000),
        ("--task grid --queries_per_episode 5", 25, 1177),  # 51 packs a batch: 255 queries
    ],
)
def test_updates_of_an_epoch(flags, n_queries, updates):
    assert n_batches(parse(flags.split()), 12000, n_queries) == updates
    assert configured(flags).pretrain_bs == 256


def test_finetuning_batches_of_nine_items():
    sizes = [len(finetuning_batch(np.arange(9), 5, step, "key")) for step in range(6)]
    assert sizes == [5, 4, 5, 4, 5, 4]
    for first in (0, 2, 4):
        both = [*finetuning_batch(np.arange(9), 5, first, "key"), *finetuning_batch(np.arange(9), 5, first + 1, "key")]
        assert sorted(both) == list(range(9))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5))
def test_every_pass_has_every_item_once(n_items, batch_size, number):
    per_pass = -(-n_items // batch_size)
    items = np.arange(100, 100 + n_items)
    batches = [finetuning_batch(items, batch_size, number * per_pass + i, 1, "x") for i in range(per_pass)]
    assert sorted(np.concatenate(batches).tolist()) == items.tolist()
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= batch_size


def test_passes_and_keys_are_shuffled_differently():
    """Of the 9! orders of nine items, twenty passes of each of three keys have sixty."""
    keys = [(1, "x", 0), (1, "x", 1), (2, "x", 0)]
    orders = {tuple(finetuning_batch(np.arange(9), 9, step, *key)) for key in keys for step in range(20)}
    assert len(orders) == 60
