import json
import os
import re
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

from llm import evaluate, loading, scoring
from llm.generation import generate
from llm.prompt import Prompter, common_length
from llm.scoring import Pace, Scores, first_location, likeliest, score
from tests import llm_models
from tests.conftest import configured, encoded
from tests.program import ROOT, Program, run_main
from tests.test_main import wait_for

KINDS = ("bytes", "pieces", "chat")
PROMPT = "--real_words --generate_all --p_flip_xy 0 --preface_id 7 --sep_id 1 --test_preface_id 4 --n_val 3 --threads 1"


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A saved model of each kind, trained for some seconds."""
    torch.set_num_threads(1)  # before the fixture of each test does
    root = tmp_path_factory.mktemp("models")
    return {kind: llm_models.save(root / kind, kind, steps=160) for kind in KINDS}


@pytest.fixture(params=KINDS)
def setting(request, folders):
    """Configuration, encoder, prompter, tokenizer and model, as main.py makes them."""
    flags = f"--llm {folders[request.param]} {PROMPT} --llm_study" + (" --chat_template" if request.param == "chat" else "")
    config, encoder = configured(flags), encoded(flags)
    tokenizer = loading.load_tokenizer(config)
    return request.param, config, encoder, Prompter(config, encoder, tokenizer), tokenizer, loading.load_model(config)


def questions_of(config, encoder, prompter, rotation="unrotated", curriculum="blocked"):
    return prompter.questions(encoder.episodes(0, "validation", rotation, curriculum, config.n_val), 1)


def log_p(model, ids) -> np.ndarray:
    """Of each token but the first, given those before it: one plain pass of Hugging Face's model."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].double()
    return logits.log_softmax(-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].numpy()


def test_what_is_read(setting):
    kind, config, encoder, prompter, tokenizer, _ = setting
    question = questions_of(config, encoder, prompter)[0]
    items = r"(\w+ \w+ : \d \d ; ){9}"
    literal = rf"\[INST\] <<SYS>>\n\n<</SYS>>\n\n {items}\[/INST\] \w+ \w+ :"
    chat = rf"<s><\|user\|> {items.replace('; )', '; ?)')} <\|assistant\|> \w+ \w+ :"
    assert re.fullmatch(chat if kind == "chat" else literal, question.prompt), question.prompt
    assert len(questions_of(config, encoder, prompter)) == 25
    ids = prompter.ids([question.prompt])[0]
    assert ids.count(tokenizer.bos_token_id) == (0 if kind == "bytes" else 1)
    if kind != "bytes":
        assert ids[0] == tokenizer.bos_token_id


def test_the_tokens_of_an_answer(setting):
    kind, config, encoder, prompter, tokenizer, _ = setting
    question = questions_of(config, encoder, prompter)[0]
    for answer in prompter.answers(question, [(1, 3), (0, 0)]):
        first, second = answer.ids[answer.start : answer.second], answer.ids[answer.second :]
        assert (len(first), len(second)) == ((2, 2) if kind == "pieces" else (1, 1))
        assert tokenizer.decode(answer.ids[: answer.start]).rstrip().endswith(":")
    assert tokenizer.decode(prompter.answers(question, [(1, 3)])[0].ids).endswith(" 1 3")


def test_the_system_part_of_a_preface_goes_into_the_chat(folders):
    flags = f"--llm {folders['chat']} {PROMPT} --chat_template --preface_id 4 --test_preface_id 3"
    config, encoder = configured(flags), encoded(flags)
    prompter = Prompter(config, encoder, loading.load_tokenizer(config))
    prompt = questions_of(config, encoder, prompter)[0].prompt
    assert re.match(
        r"<s><\|system\|> You give clever , .* answers \. <\|user\|> There are 5 kinds .* them : \w+ \w+ : \d \d ;", prompt
    )
    assert re.search(r"; Complete the next line .* animal \. <\|assistant\|> \w+ \w+ :$", prompt)


def test_sharing_the_context_changes_no_number(setting):
    _, config, encoder, prompter, _, model = setting
    episodes = [
        [answer for question in asked[:3] for answer in prompter.answers(question, [(0, 0), (3, 1), (3, 2)])]
        for asked in (questions_of(config, encoder, prompter, "rotated", "interleaved"), questions_of(config, encoder, prompter))
    ]
    shared, flat = Pace(rows_at_once=4), Pace(shared=False)
    ours, plain = score(model, episodes, shared), score(model, episodes, flat)
    for answers, some, others in zip(episodes, ours, plain, strict=True):
        for answer, a, b in zip(answers, some, others, strict=True):
            np.testing.assert_allclose(a.log_p, b.log_p, atol=1e-5)
            np.testing.assert_allclose(a.log_p, log_p(model, answer.ids)[answer.start - 1 :], atol=1e-5)
            assert (a.top == b.top).all()
    assert shared.flat_tokens == flat.flat_tokens > 5 * shared.tokens


def test_argmax_is_right_exactly_when_greedy_generation_says_the_answer(setting):
    _, config, encoder, prompter, _, model = setting
    asked = [q for curriculum in ("blocked", "misaligned") for q in questions_of(config, encoder, prompter, curriculum=curriculum)]
    answers = [prompter.answers(question, [question.location])[0] for question in asked]
    right = [bool(one.top.all()) for one in score(model, [answers], Pace())[0]]
    for question, answer, is_right in zip(asked, answers, right, strict=True):
        ids = torch.tensor([answer.ids[: answer.start]])
        n_new = len(answer.ids) - answer.start
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=n_new, do_sample=False, pad_token_id=1
        )
        assert is_right == (out[0, answer.start :].tolist() == list(answer.ids[answer.start :])), question
    assert 0 < sum(right) < len(right)


@pytest.mark.parametrize("rotation", ["unrotated", "rotated"])
def test_candidates_are_brute_force_over_all_locations(setting, rotation):
    _, config, encoder, prompter, _, model = setting
    places = evaluate.locations_of(rotation)
    assert len(places) == (25 if rotation == "unrotated" else 81)
    for question in questions_of(config, encoder, prompter, rotation)[:2]:
        answers = prompter.answers(question, places)
        totals = [log_p(model, answer.ids)[answer.start - 1 :].sum() for answer in answers]
        scored = score(model, [answers], Pace())[0]
        np.testing.assert_allclose([one.log_p.sum() for one in scored], totals, atol=1e-4)
        assert likeliest(places, scored) == places[int(np.argmax(totals))]


def test_candidates_are_ranked_by_the_probability_of_the_whole_answer():
    """Three tokens of .8 each are less likely than one of .6, whatever their mean says."""
    scored = [Scores(np.log([0.8, 0.8, 0.8]), np.ones(3, bool)), Scores(np.log([0.6]), np.ones(1, bool))]
    assert likeliest([(0, 0), (3, 1)], scored) == (3, 1)
    assert likeliest([(3, 1), (0, 0)], scored[::-1]) == (3, 1)


@pytest.mark.parametrize(
    ("text", "location"),
    [
        (" 2 3", (2, 3)),
        (" 2 3 ; red dog : 1 1", (2, 3)),
        ("The blue cat lives at (2, 3), next to 4 others.", (2, 3)),
        ("2", (2, None)),
        ("2\n3", (2, None)),
        ("", (None, None)),
        ("nowhere", (None, None)),
        ("23", (23, None)),
    ],
)
def test_the_first_location_counts(text, location):
    assert first_location(text) == location


def test_a_generation_goes_on_from_each_prompt_as_if_it_were_alone(setting):
    _, config, encoder, prompter, tokenizer, model = setting
    prompts = prompter.ids([question.prompt for question in questions_of(config, encoder, prompter)[:5]] + ["red"])
    together = generate(model, tokenizer, prompts, 6, 2, Pace())
    assert together == [generate(model, tokenizer, [prompt], 6, 2, Pace())[0] for prompt in prompts]


def test_common_length():
    assert common_length([(1, 2, 3), (1, 2, 4), (1, 2)]) == 2
    assert common_length([(5,), (6,)]) == 0
    assert common_length([(1, 2)]) == 2


def test_out_of_memory_halves_and_goes_on(setting, monkeypatch, capsys):
    _, config, encoder, prompter, _, model = setting
    answers = [prompter.answers(question, [(0, 0)])[0] for question in questions_of(config, encoder, prompter)]
    plenty = score(model, [answers], Pace())
    really = scoring._run

    def run(chunk, *rest):
        if len(chunk) > 3:
            raise torch.OutOfMemoryError
        return really(chunk, *rest)

    monkeypatch.setattr(scoring, "_run", run)
    pace = Pace(rows_at_once=16)
    little = score(model, [answers], pace)
    assert pace.rows_at_once == 2
    assert "out of memory; continuing with 2 sequences at once" in capsys.readouterr().err
    for a, b in zip(plenty[0], little[0], strict=True):
        np.testing.assert_allclose(a.log_p, b.log_p, atol=1e-5)
    monkeypatch.setattr(scoring, "_run", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(torch.OutOfMemoryError):
        score(model, [answers], Pace())


@pytest.fixture(scope="session")
def finished(folders, tmp_path_factory):
    """A job of all eight conditions and every scoring."""
    folder = tmp_path_factory.mktemp("llm") / "job"
    flags = ["--llm", str(folders["pieces"]), *PROMPT.split(), "--scoring", "argmax,candidates", "--test_gen", "--num_beams", "2"]
    done = run_main(*flags, "--out_dir", str(folder))
    assert done.returncode == 0, done.stderr
    return flags, folder, done


def test_a_job_asks_all_eight_conditions(finished):
    _, folder, done = finished
    rows = pd.read_csv(folder / "llm_accuracy.csv")
    assert len(rows) == 8 * 3 * 3  # conditions × episodes × scorings
    assert (rows.n_queries == 16).all()
    assert set(rows.model) == {"pieces"}
    assert set(rows.subset) == {"novel"}
    prompts = {f"{r}_{c}.txt" for r in ("unrotated", "rotated") for c in ("blocked", "interleaved", "aligned", "misaligned")}
    assert {path.name for path in (folder / "prompts").iterdir()} == prompts
    assert "times as many if each were a sequence of its own" in done.stderr
    summary = json.loads((folder / "summary.json").read_text())["llm"]
    for row in summary:
        there = rows[(rows.scoring == row["scoring"]) & (rows.rotation == row["rotation"])]
        there = there[there.context_curriculum == row["context_curriculum"]]
        assert row["accuracy"] == there.n_correct.sum() / 48
        assert f"{row['accuracy']:.3f}" in done.stdout
    assert len(summary) == 8 * 3


def test_counts_are_those_of_what_was_generated(finished):
    _, folder, _ = finished
    rows = pd.read_csv(folder / "llm_accuracy.csv")
    said = pd.read_csv(folder / "llm_generated.csv", keep_default_na=False)
    assert len(said) == 8 * 3 * 16
    for key, part in said.groupby(["rotation", "context_curriculum", "episode"]):
        found = [[*re.findall(r"\d+", text), "", ""][:2] for text in part.generated]
        right = [
            [a == b for a, b in zip(words, expected.split(), strict=True)]
            for words, expected in zip(found, part.expected, strict=True)
        ]
        row = rows[
            (rows.scoring == "generate") & (rows[["rotation", "context_curriculum", "episode"]] == list(key)).all(axis=1)
        ].iloc[0]
        assert [row.n_correct, row.n_first, row.n_second] == [sum(map(all, right)), *np.sum(right, axis=0)]


def test_a_stopped_job_goes_on_with_the_next_episode(finished, tmp_path):
    flags, undisturbed, _ = finished
    folder = tmp_path / "job"
    command = [*flags, "--out_dir", str(folder)]
    for stop, status in ((signal.SIGTERM, 75), (signal.SIGKILL, -9)):
        process = Program(*command)
        before = (folder / "llm_accuracy.csv").stat().st_size if folder.exists() else 0
        wait_for(process, folder / "llm_accuracy.csv", before + 600)
        process.send_signal(stop)
        process.communicate()
        assert process.returncode == status
    assert run_main(*command).returncode == 0
    for name in ("llm_accuracy.csv", "llm_generated.csv", "summary.json", "prompts/rotated_misaligned.txt"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()


def test_the_published_command(folders, tmp_path):
    shutil.copytree(folders["pieces"], tmp_path / "Llama-2-70b-hf")
    text = (ROOT / "scripts/grid_llama_70b.sh").read_text().replace("\\\n", " ")
    flags = re.search(r"^run (.*)$", text, re.MULTILINE)[1].replace("--use_quant ", "")
    flags = flags.replace('"$CACHE_DIR"', str(tmp_path)).replace("--experiment llm ", "").split()
    done = run_main(*flags, "--pt_rot_cond", "rotated", "--pt_cond", "blocked", "--n_val", "2", cwd=tmp_path, env=os.environ)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path / "results/grid_llm/Llama-2-70b-hf/rotated_blocked/seeds_00/llm_accuracy.csv")
    assert rows[["model", "rotation", "context_curriculum"]].drop_duplicates().values.tolist() == [
        ["Llama-2-70b-hf", "rotated", "blocked"]
    ]
    assert rows.n_queries.tolist() == [16, 16]


def _broken(folders, tmp_path) -> None:
    """Folders with something missing or wrong."""
    shutil.copytree(folders["bytes"], tmp_path / "no_tokenizer", ignore=shutil.ignore_patterns("tokenizer*", "special*"))
    shutil.copytree(folders["bytes"], tmp_path / "no_weights", ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "empty").mkdir()
    llm_models.save(tmp_path / "short", "bytes", positions=40)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--llm ./nowhere", "--llm ./nowhere: folder ./nowhere does not exist"),
        ("--llm empty", "--llm empty: empty holds no model (config.json)"),
        ("--llm no_tokenizer", "--llm no_tokenizer: no_tokenizer holds no tokenizer"),
        ("--llm no_weights", "--llm no_weights: cannot be loaded (Error no file named"),
        ("--llm short", "--llm short: has 40 positions; a context with a query and its answer takes "),
        ("--llm ok --chat_template", "--chat_template: the tokenizer of ok has none"),
        (
            "--llama2_size 70B --cache_dir .",
            "--llama2_size 70B: must be one of 7b, 7b-chat, 13b, 13b-chat, 70b, 70b-chat; did you mean 70b?",
        ),
        ("--llama2_size 7b --cache_dir .", "--llama2_size 7b: folder Llama-2-7b-hf does not exist"),
        ("--llama2_size 7b", "--cache_dir: unset; name the folder that holds Llama-2-7b-hf"),
        ("--llm ok --use_quant --use_cuda", "--use_quant: 4 bits take a GPU, and this machine has none"),
        ("--llm ok --scoring argmax,best", "--scoring argmax,best: 'best' is none of argmax, candidates, generate"),
        ("--llm ok --task category", "--task category: --experiment llm takes grid"),
        ("--llm ok --n_runs 2", "--n_runs 2: a pretrained model has no seeds"),
        ("--experiment llm", "--llm: --experiment llm takes a model: --llm NAME_OR_PATH"),
        ("--chat_template", "--chat_template: is for --experiment llm, and this is icl_iwl"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(folders, tmp_path, flags, message):
    if torch.cuda.is_available() and "use_quant" in flags:
        pytest.skip("there is a GPU")
    _broken(folders, tmp_path)
    shutil.copytree(folders["bytes"], tmp_path / "ok")
    done = run_main(*flags.split(), "--real_words", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"main.py: error: {message}"), done.stderr
    assert not (tmp_path / "results").exists()


def test_a_dry_run_shows_the_first_prompt(folders, tmp_path):
    done = run_main("--llm", str(folders["bytes"]), *PROMPT.split(), "--dry_run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("8 conditions of 3 episodes with 16 questions each, scored by argmax\n")
    assert re.search(r"\[/INST\] \w+ \w+ : → \d \d\n$", done.stdout)
    assert not (tmp_path / "results").exists()


def test_the_saved_model_is_loaded_in_the_number_format_asked_for(folders):
    config = configured(f"--llm {folders['bytes']} --model_dtype bf16")
    assert loading.load_model(config).dtype == torch.bfloat16
    assert isinstance(loading.load_model(config), type(AutoModelForCausalLM.from_pretrained(folders["bytes"])))
