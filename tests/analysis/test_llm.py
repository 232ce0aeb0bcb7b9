"""The numbers of language models, from a table of a few lines."""

import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from analysis.jobs.sample import copy
from analysis.jobs.tables import COLUMNS
from analysis.measures import llm
from analysis.report import claims
from analysis.report.__main__ import main
from benchmarks.synthetic import write

# (subset, right, first digit right, second digit right, queries)
LINES = [("novel", 2, 5, 8, 16), ("novel", 4, 6, 10, 16), ("study_A", 5, 5, 5, 5), ("study_B", 1, 2, 3, 4)]


def rows(curriculum="blocked", model="Llama-2-70b-hf", scoring="argmax", fewer=0):
    made = [
        (model, "unrotated", curriculum, episode, subset, scoring, *(n - fewer for n in right), n)
        for episode, (subset, *right, n) in enumerate(LINES)
    ]
    return pd.DataFrame(made, columns=list(COLUMNS["llm_accuracy"]))


def test_accuracies_of_answers_and_of_each_digit(tmp_path):
    rows().to_csv(tmp_path / "llm_accuracy.csv", index=False)
    found = {row["subset"]: row for row in llm.summarise(tmp_path)}
    assert [found["novel"][name] for name in ("accuracy", "first", "second", "n_queries")] == [6 / 32, 11 / 32, 18 / 32, 32]
    assert [found["study"][name] for name in ("accuracy", "first", "second", "n_queries")] == [6 / 9, 7 / 9, 8 / 9, 9]


def test_means_are_of_novel_items_over_episodes():
    """Of each episode's accuracy, with Student's interval."""
    table = rows()
    (found,) = llm.means(table).itertuples()
    of_episode = table[table.subset == "novel"].groupby("episode")[["n_correct", "n_queries"]].sum()
    accuracy = of_episode.n_correct / of_episode.n_queries
    assert (found.mean, found.over, found.n) == (accuracy.mean(), "episodes", len(accuracy))
    low, high = ttest_1samp(accuracy, 0).confidence_interval()
    assert [found.low, found.high] == pytest.approx([max(low, 0), min(high, 1)])


def test_claims_of_language_models():
    """A difference is the first less the second, and its interval lies on the same side; beside the published numbers of
    Llama 2 70B stands its second digit alone, by argmax."""
    both = pd.concat(
        [
            rows(curriculum, model, scoring, fewer)
            for curriculum, fewer in (("blocked", 0), ("interleaved", 1))
            for model, scoring in (("Llama-2-70b-hf", "argmax"), ("Llama-2-70b-hf", "generate"), ("other", "argmax"))
        ]
    )
    found = {line["what"]: line for line in claims._language_models(both)}
    effect = found["other, argmax, rule-like: blocked − interleaved"]
    assert effect["ours"] == pytest.approx(6 / 32 - 4 / 32)
    assert effect["low"] < effect["ours"] < effect["high"]
    assert effect["high"] > -effect["low"]
    beside = {what: (line["published"], line["ours"]) for what, line in found.items() if line["published"]}
    assert beside == {
        "Llama-2-70b-hf, argmax, rule-like, blocked, second digit alone": ("0.939", 18 / 32),
        "Llama-2-70b-hf, argmax, rule-like, interleaved, second digit alone": ("0.830", 16 / 32),
    }


def test_no_claim_of_a_model_that_is_not_above_chance():
    """A chance level of 1/25: 1 of 32 in one context and none in the other may differ, and say nothing of in-context learning."""
    guessed = [
        rows("blocked").assign(n_correct=lambda table: (table.index == 0).astype(int)),
        rows("interleaved").assign(n_correct=0),
    ]
    assert sum(part.n_correct.sum() for part in guessed) / 32 < llm.chance("unrotated")
    found = {line["what"]: line for line in claims._language_models(pd.concat(guessed)) if line["kind"] == "effect"}
    assert [line["holds"] for line in found.values()] == ["not above chance"]


def test_a_model_that_was_metalearned_here_is_called_so():
    table = pd.concat([rows(model=name) for name in ("llama-causal-grid", "Llama-2-70b-hf")])
    assert list(llm.means(table).model) == ["llama-causal-grid (ours)", "Llama-2-70b-hf"]
    assert [llm.is_ours(name) for name in ("llama-causal-grid", "Llama-2-70b-hf")] == [True, False]


def test_what_a_model_was_asked_goes_with_the_tables_and_onto_the_page(tmp_path, monkeypatch):
    """A job of a sample has its prompts, and the section their texts: blocked contexts of each rotation."""
    monkeypatch.chdir(tmp_path)
    made = write(["--task", "grid", "--llm", "models/small.gguf", "--n_val", "3"])
    (made / "prompts").mkdir()
    for name in ("unrotated_blocked", "rotated_blocked", "unrotated_aligned"):
        (made / "prompts" / f"{name}.txt").write_text(f"asked: {name} <&>", encoding="utf-8")
    copy(tmp_path / "results", tmp_path / "sample")
    assert main([str(tmp_path / "sample"), "-o", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "What small.gguf was asked and said: rule-like, blocked" in page
    assert "asked: unrotated_blocked &lt;&amp;&gt;" in page
    assert "asked: rotated_blocked &lt;&amp;&gt;" in page
    assert "unrotated_aligned" not in page


def test_a_claim_about_language_models_is_none_of_a_model_that_was_metalearned_on_the_task():
    """Ours shows the difference, which is of its training: the number stands without a verdict."""
    for model, expected in (("llama-causal-grid", [""]), ("Llama-2-70b-hf", ["yes"])):
        right, wrong = (rows(curriculum, model=model) for curriculum in ("blocked", "interleaved"))
        asked = pd.concat([right.assign(n_correct=right.n_queries), wrong.assign(n_correct=0)])
        lines = [line for line in claims._language_models(asked) if line["kind"] == "effect"]
        assert [line["holds"] for line in lines] == expected


def test_above_chance_is_an_interval_above_it():
    """Episodes at 2/16 and 4/16 have a mean of .19 and a t interval that includes 1/25; three at 4/16 and one at 5/16 have not."""
    novel = rows()[lambda table: table.subset == "novel"]
    assert not llm.is_above_chance(novel, "unrotated")
    four = pd.concat([novel.iloc[:1]] * 4).assign(episode=range(4), n_correct=[4, 4, 4, 5])
    assert llm.is_above_chance(four, "unrotated")
    assert llm.is_above_chance(novel.iloc[1:], "unrotated")  # a single episode has no interval: its mean
