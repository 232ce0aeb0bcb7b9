"""Questions and their scores, with tokenizers and chat templates as other programs make them."""

import numpy as np
import pytest
from transformers import LlamaConfig

from flags.config import BadInput
from llm import evaluate, grading
from llm.chat import frame
from llm.prompt import Prompter, opening
from llm.scoring import likeliest, score
from runs.interrupt import STOP_SIGNALS, StopFlag
from tests.conftest import configured, encoded
from tests.llm.conftest import GRID, SIZE, Loaded, save, tokenizer_in

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SILENT = "{% for m in messages %}{% if m['role'] == 'user' %}USER {{ m['content'] }} BOT {% endif %}{% endfor %}"
CLOCK = "{{ bos_token }}Now: {{ strftime_now('%H:%M:%S.%f') }} {% for m in messages %}{{ m['content'] }} {% endfor %}"


def llama(tokenizer) -> LlamaConfig:
    return LlamaConfig(**SIZE, vocab_size=len(tokenizer))


def test_candidates_are_ranked_by_the_probability_of_the_whole_text(words, tmp_path):
    """For one digit of five, the colon belongs to the token of the answer."""
    tokenizer = tokenizer_in(words)
    tokenizer.add_tokens([" : 1"])
    one = Loaded(save(tmp_path / "model", llama(tokenizer), tokenizer))
    places, otherwise = evaluate.locations_of("unrotated"), 0
    for question in one.questions[:3]:
        answers = one.prompter.answers(question, places)
        assert len({answer.ids[: answer.scored] for answer in answers}) == 1
        assert {answer.start - answer.scored for answer in answers} == {0, 1}
        totals = [float(one.log_p(answer.ids).sum()) for answer in answers]
        scores = score(one.model, [answers], one.pace)[0]
        assert likeliest(places, scores) == places[int(np.argmax(totals))]
        np.testing.assert_allclose([s.log_p.sum() - scores[0].log_p.sum() for s in scores], np.array(totals) - totals[0], atol=1e-4)
        own = [float(s.log_p[a.start - a.scored :].sum()) for a, s in zip(answers, scores, strict=True)]
        otherwise += places[int(np.argmax(own))] != places[int(np.argmax(totals))]
    assert otherwise  # sums over spans of their own rank otherwise


def test_argmax_does_not_depend_on_the_other_scorings(words, tmp_path):
    tokenizer = tokenizer_in(words)
    tokenizer.add_tokens([" : 1"])
    one = Loaded(save(tmp_path / "model", llama(tokenizer), tokenizer))
    for place in ((1, 3), (2, 1)):
        alone = one.prompter.answers(one.questions[0], [place])[0]
        among = one.prompter.answers(one.questions[0], [(1, 0), (0, 1), place])[-1]
        assert (alone.start, alone.first_end, alone.second) == (among.start, among.first_end, among.second)
        top = np.array([False, True, True, True])[-len(alone.ids) + among.scored :]
        assert grading.halves(among, top) == grading.halves(alone, top[alone.scored - among.scored :])


@pytest.mark.parametrize(
    ("tokens", "top", "right"),
    [
        ([f" {x} {y}" for x in range(9) for y in range(9)], [0], (False, False)),  # one token an answer
        ([f" {x} {y}" for x in range(9) for y in range(9)], [1], (True, True)),
        ([f"{x} {y}" for x in range(9) for y in range(9)], [1, 0], (False, False)),  # a space, then both
        ([f"{x} {y}" for x in range(9) for y in range(9)], [1, 1], (True, True)),
        ([], [1, 0], (True, False)),
        ([], [0, 1], (False, True)),
    ],
)
def test_a_token_with_both_coordinates_counts_for_both(words, tokens, top, right):
    tokenizer = tokenizer_in(words)
    tokenizer.add_tokens(tokens)
    prompter = Prompter(configured(f"--llm X {GRID}"), encoded(f"--llm X {GRID}"), tokenizer)
    question = prompter.questions(encoded(f"--llm X {GRID}").episodes(0, "validation", "rotated", "blocked", 1), 0)[0]
    answer = prompter.answers(question, [(1, 3)])[0]
    assert len(answer.ids) - answer.start == len(top)
    assert grading.halves(answer, np.array(top, dtype=bool)) == right


@pytest.mark.parametrize(
    ("tokens", "top", "right"),
    [
        ([" : 1", " 0 3"], [0], (False, False)),  # the other first coordinate parts before the answer begins
        ([" : 1", " 0 3"], [1], (True, True)),
        ([" : 1", "0 3"], [1, 0], (False, False)),  # a space, which says nothing, then both
        ([" : 1", "0 3"], [1, 1], (True, True)),
        ([" : 1", " 0 "], [1, 0], (True, False)),
        ([" : 1", " 0 "], [0, 1], (False, True)),
    ],
)
def test_a_coordinate_without_a_token_of_its_own_is_not_right_by_default(words, tokens, top, right):
    tokenizer = tokenizer_in(words)
    tokenizer.add_tokens(tokens)
    prompter = Prompter(configured(f"--llm X {GRID}"), encoded(f"--llm X {GRID}"), tokenizer)
    question = prompter.questions(encoded(f"--llm X {GRID}").episodes(0, "validation", "rotated", "blocked", 1), 0)[0]
    answer = prompter.answers(question, [(0, 3)])[0]
    assert len(answer.ids) - answer.start == len(top)
    assert grading.halves(answer, np.array(top, dtype=bool)) == right


def test_the_system_text_goes_before_the_users_where_a_template_has_no_system_role(words):
    tokenizer = tokenizer_in(words)
    for template in (GEMMA, SILENT):  # one raises, one says nothing
        tokenizer.chat_template = template
        before, after = frame(tokenizer, "Be short.", "red dog : 1 2")
        assert before.endswith("Be short.\n\n")
        assert "system" not in before
        assert after.rstrip().endswith(("model", "BOT"))


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no') }}", "{{ messages[-1]['content'] | upper }}", "nothing", "{{ x.y }}"]
)
def test_a_template_that_does_not_write_what_is_asked_is_refused(words, template):
    tokenizer = tokenizer_in(words)
    tokenizer.chat_template = template
    for system in ("Be short.", ""):
        with pytest.raises(BadInput, match=r"^--chat_template: the tokenizer's template .*; leave the flag out$"):
            frame(tokenizer, system, "red dog : 1 2")


def test_a_resumed_job_asks_with_the_date_that_it_began_with(words, tmp_path):
    tokenizer = tokenizer_in(words)
    tokenizer.chat_template = CLOCK
    folder = save(tmp_path / "model", llama(tokenizer), tokenizer)
    flags = f"--llm {folder} --out_dir {tmp_path / 'job'} {GRID} --chat_template --pt_rot_cond unrotated"
    import main

    stop = StopFlag()
    stop.signal = STOP_SIGNALS[1]  # after the first condition
    assert main.run(configured(flags), stop) == 75
    assert main.main(flags.split()) == 0
    texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "job/prompts").iterdir()]
    assert len(texts) == 4
    assert len({text.partition(" ")[2].split()[0] for text in texts}) == 1, texts
    assert all(text.startswith("<s>Now: ") for text in texts)


def test_what_a_tokenizer_writes_before_a_text_stands_there_once(words):
    from tokenizers import processors

    tokenizer = tokenizer_in(words)
    assert opening(tokenizer) == []
    special = [("<s>", 0), ("</s>", 1)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="</s> <s> $A </s>", special_tokens=special)
    assert opening(tokenizer) == [1, 0]
    prompter = Prompter(configured(f"--llm X {GRID}"), encoded(f"--llm X {GRID}"), tokenizer)
    plain = tokenizer("red", add_special_tokens=False).input_ids
    assert prompter.ids(["red", "</s><s>red"]) == [[1, 0, *plain]] * 2
