"""Our own model through the door of language models: another program's tokenizer, forward and cache give our few-shot answers."""

import pandas as pd
import pytest

from llm.export import main
from tests.conftest import run_main

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
