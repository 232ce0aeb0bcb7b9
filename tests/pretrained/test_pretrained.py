"""A real pretrained model, from a GGUF file, from a folder, by a server; and an independent judge of its log-probabilities."""

import copy
import csv
import io

import pytest
import torch
from transformers import AutoModelForCausalLM

from flags import conditions
from llm import loading
from llm.prompt import Prompter, common_length
from llm.scoring import Pace, first_location, score
from tests.conftest import configured, encoded
from tests.pretrained.conftest import GRID, asked

KEY = ("rotation", "context_curriculum", "episode", "item")
SCORINGS = "--scoring argmax,candidates,generate --num_beams 1 --n_val 1"


def rows(text: str) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "model"} for row in csv.DictReader(io.StringIO(text))]


@pytest.fixture(scope="session")
def by_file(smollm2, tmp_path_factory):
    """All eight conditions by all scorings: the tables of a job that asks the file."""
    tables, done = asked(tmp_path_factory.mktemp("file") / "job", "--llm", str(smollm2), *SCORINGS.split())
    assert "GGUF" not in done.stderr  # no bar of another program
    return tables


@pytest.fixture(scope="session")
def loaded(smollm2):
    """Configuration, tokenizer and model of the file."""
    config = configured(f"--llm {smollm2} {GRID}")
    return config, loading.load_tokenizer(config), loading.load_model(config)


@pytest.fixture(scope="session")
def converted(loaded, tmp_path_factory):
    """The same model in the files of transformers."""
    _, tokenizer, model = loaded
    folder = tmp_path_factory.mktemp("converted") / "SmolLM2"
    architecture = copy.deepcopy(model.config)
    del architecture.quantization_config  # its weights were made numbers again, and are saved as such
    plain = AutoModelForCausalLM.from_config(architecture)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_file_and_the_converted_folder_give_the_same_answers(by_file, converted, tmp_path):
    """The file is asked all eight conditions, the folder one: the other seven have the same weights as well."""
    assert len(rows(by_file["llm_accuracy.csv"])) == 8 * 3
    assert len(rows(by_file["llm_generated.csv"])) == 8 * 16
    condition = ("rotated", "misaligned")
    flags = f"{SCORINGS} --pt_rot_cond {condition[0]} --pt_cond {condition[1]}"
    tables, _ = asked(tmp_path / "job", "--llm", str(converted), *flags.split())
    for name, n in (("llm_accuracy.csv", 3), ("llm_generated.csv", 16)):
        of_file = [row for row in rows(by_file[name]) if (row["rotation"], row["context_curriculum"]) == condition]
        assert rows(tables[name]) == of_file
        assert len(of_file) == n


def test_llama_cpps_server_gives_the_same_answers_but_for_near_ties(by_file, llama_cpp, loaded, smollm2, tmp_path):
    """llama.cpp quantises activations as well, which moves log-probabilities by some hundredths; and this model hardly prefers one
    digit to another. Where its answers part, the two tokens are as likely to .25 here."""
    tables, done = asked(tmp_path / "job", "--llm", str(smollm2), "--llm_api", llama_cpp, "--n_val", "1", "--llm_concurrency", "2")
    assert "128 requests" in done.stderr
    here, there = rows(by_file["llm_generated.csv"]), rows(tables["llm_generated.csv"])
    config, tokenizer, model = loaded
    prompter = Prompter(config, encoded(f"--llm {smollm2} {GRID}"), tokenizer)
    n_differ = 0
    for one, other in zip(here, there, strict=True):
        assert [one[name] for name in KEY] == [other[name] for name in KEY]
        if first_location(one["generated"]) == first_location(other["generated"]):
            continue
        n_differ += 1
        print(*(one[name] for name in KEY), repr(one["generated"]), repr(other["generated"]))
        episodes = prompter._encoder.episodes(0, "validation", one["rotation"], one["context_curriculum"], 1)
        prompt = prompter.questions(episodes, 0)[int(one["item"])].prompt
        ours, its = prompter.ids([prompt + one["generated"], prompt + other["generated"]])
        part = common_length([ours, its])
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([ours[:part]])).logits[0, -1].log_softmax(-1)
        assert abs(float(log_p[ours[part]] - log_p[its[part]])) < 0.25
    print(f"{128 - n_differ} of 128 answers are equal")
    assert n_differ < 128


def test_the_chat_of_llama_cpps_server(llama_cpp, smollm2, tmp_path):
    tables, _ = asked(
        *(tmp_path / "job", "--llm", str(smollm2), "--llm_api", llama_cpp, "--chat_template", "--n_val", "1"),
        *("--pt_rot_cond", "unrotated", "--pt_cond", "blocked"),
    )
    assert len(rows(tables["llm_generated.csv"])) == 16
    assert "[INST]" not in (tmp_path / "job" / "prompts" / "unrotated_blocked.txt").read_text()


def test_log_probabilities_are_those_of_lm_evaluation_harness(converted):
    """A hundred questions with their right answers: the sum over the answer's tokens, and whether all are the likeliest."""
    harness = pytest.importorskip("lm_eval.models.huggingface")
    flags = f"--llm {converted} {GRID} --n_val 7"
    config, encoder = configured(flags), encoded(flags)
    tokenizer, model = loading.load_tokenizer(config), loading.load_model(config)
    prompter = Prompter(config, encoder, tokenizer)
    episodes = encoder.episodes(0, "validation", "unrotated", "blocked", 7)
    questions = [prompter.questions(episodes, i) for i in range(7)]
    answers = [[prompter.answers(one, [one.location])[0] for one in of_episode] for of_episode in questions]
    ours = [one for of_episode in score(model, answers, Pace()) for one in of_episode][:100]
    flat = [(one, answer) for qs, found in zip(questions, answers, strict=True) for one, answer in zip(qs, found, strict=True)][
        :100
    ]
    judge = harness.HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=512)
    instances = [
        ((one.prompt, f" {one.location[0]} {one.location[1]}"), list(a.ids[: a.start]), list(a.ids[a.start :])) for one, a in flat
    ]
    for (context, answer), before, after in instances:
        assert tuple(map(list, judge._encode_pair(context, answer))) == (before, after)
    with torch.no_grad():
        found = judge._loglikelihood_tokens(instances, disable_tqdm=True)
    assert len(found) == 100
    for (log_p, is_greedy), mine, (_, answer) in zip(found, ours, flat, strict=True):
        of_answer = slice(answer.start - answer.scored, None)
        assert mine.log_p[of_answer].sum() == pytest.approx(log_p, abs=1e-4)
        assert mine.top[of_answer].all() == bool(is_greedy)
    assert conditions.asked(config)
