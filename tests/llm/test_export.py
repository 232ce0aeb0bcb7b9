"""Our own model through the door of language models: another program's tokenizer, forward and cache give our few-shot answers."""

import shutil

import pandas as pd
import pytest
from transformers import AutoTokenizer

from llm.export import main, tokenizer_of
from llm.prompt import Prompter
from prompts import PREFACES
from tests.conftest import configured, encoded
from tests.episodes.test_foreign import full_disk
from tests.program import run_main

FLAGS = "--task grid --real_words --generate_all --p_flip_xy 0 --n_train 200 --n_val 12 --seed 3 --threads 1 --lm_task causal"
SIZE = "--n_layers 2 --n_heads 2 --d_model 32 --d_ff 32 --queries_per_episode 5 --pretrain_bs 100 --pretrain_lr 0.01 --n_epochs 4"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    done = run_main(*f"{FLAGS} {SIZE} --test_every 20 --n_blocks 0 --out_dir {root}/job".split())
    assert done.returncode == 0, done.stderr
    assert main([f"{root}/job", f"{root}/model"]) == 0
    return root


def test_it_answers_as_in_its_own_validation(folders):
    flags = FLAGS.replace("--lm_task causal", "--pt_rot_cond unrotated --pt_cond blocked --llm_study --scoring argmax")
    asked = run_main(*f"{flags} --llm {folders}/model --out_dir {folders}/asked".split())
    assert asked.returncode == 0, asked.stderr
    answers = pd.read_csv(folders / "asked/llm_accuracy.csv").groupby("subset")[["n_correct", "n_queries"]].sum()
    validated = pd.read_csv(folders / "job/pretrain_accuracy.csv")
    best = validated[validated.step == validated[validated.is_best == 1].step.max()].set_index("subset")
    assert answers.n_queries.to_dict() == best.n_queries.to_dict()
    assert answers.n_correct.to_dict() == best.n_correct.to_dict()
    assert answers.n_correct.sum() > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{0}/nowhere", "{0}/new"], "JOB"),
        (["{0}/job", "{0}/model"], "exists already"),
        (["{0}/job", "{0}/new", "--seed", "9"], "has no seed 9"),
    ],
)
def test_bad_input_is_one_line(folders, capsys, arguments, said):
    assert main([word.format(folders) for word in arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_masked_model_is_no_language_model(finished_job, capsys, tmp_path):
    assert main([str(finished_job[1]), str(tmp_path / "new")]) == 2
    assert "--lm_task causal" in capsys.readouterr().err


@pytest.mark.parametrize("preface", range(9))
@pytest.mark.parametrize("test_preface", [0, 3])
def test_the_tokenizer_gives_the_tokens_of_the_job_whatever_the_preface(preface, test_preface):
    flags = f"--real_words --p_flip_xy 0 --lm_task causal --preface_id {preface} --test_preface_id {test_preface} --sep_id 1"
    encoder = encoded(flags)
    prompter = Prompter(configured(flags), encoder, tokenizer_of(encoder.vocabulary, PREFACES[0]))
    episodes = encoder.episodes(0, "validation", "unrotated", "blocked", 1)
    novel = episodes.subset[0] == encoder.task.n_groups
    for question, query in zip(prompter.questions(episodes, 0), episodes.queries[0][novel], strict=True):
        answer = prompter.answers(question, [question.location])[0]
        assert list(answer.ids) == [*episodes.context[0], *query]
        assert (answer.start, answer.second) == (len(answer.ids) - 2, len(answer.ids) - 1)


def test_a_tokenizer_that_was_saved_is_the_same(tmp_path):
    encoder = encoded("--real_words --lm_task causal --preface_id 7")
    made = tokenizer_of(encoder.vocabulary, PREFACES[0])
    made.save_pretrained(tmp_path)
    text = "[INST] <<SYS>>\n\n<</SYS>>\n\n red dog : 1 2 <sep>"
    assert AutoTokenizer.from_pretrained(tmp_path)(text).input_ids == made(text).input_ids
    assert encoder.vocabulary["<pad>"] not in made(text).input_ids


def test_a_path_that_is_no_text_is_one_line(capsys):
    assert main(["nowhere", "/tmp/\udcff"]) == 2
    assert capsys.readouterr().err == "llm.export: error: FOLDER /tmp/\\udcff: is not UTF-8; use another name\n"


def test_weights_that_do_not_fit_are_one_line(folders, tmp_path, capsys):
    shutil.copytree(folders / "job", tmp_path / "job")
    (tmp_path / "job/checkpoints/model.json").write_text("{}", encoding="utf-8")
    assert main([f"{tmp_path}/job", f"{tmp_path}/new"]) == 2
    error = capsys.readouterr().err
    assert "model.json cannot be read" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_after_a_full_disk_nothing_is_left_and_the_same_command_works(folders, tmp_path, capsys):
    command = [f"{folders}/job", f"{tmp_path}/in/new"]
    with full_disk(4096):
        assert main(command) == 2
    error = capsys.readouterr().err
    assert f"FOLDER {tmp_path}/in/new: cannot be written to (" in error
    assert error.count("\n") == 1
    assert not list((tmp_path / "in").iterdir())
    assert main(command) == 0
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["new"]
    new, model = tmp_path / "in/new", folders / "model"
    assert {path.name: path.read_bytes() for path in new.iterdir()} == {path.name: path.read_bytes() for path in model.iterdir()}
    (tmp_path / "plain").mkdir()
    assert new.stat().st_mode == (tmp_path / "plain").stat().st_mode  # others may read it, as any folder
