"""The command line as its users type it: published commands, what each flag changes, and what fails late."""

import dataclasses
import json
import os
import resource
import shlex
import time

import pandas as pd
import pytest

import main
from flags import conditions
from flags.command_line import parse
from flags.config import METALEARNING, BadInput, Config
from tests.conftest import TINY, configured, encoded
from tests.program import Program, run_main
from tests.test_main import contents

# Every value of the published scripts, as a flag.
PUBLISHED = {
    "grid": "--task grid --n_train 12000 --n_val 100 --n_test 10 --n_symbols 5 --max_len 200 --lm_task masked --real_words "
    "--n_positions 1 --p_flip_xy 0.5 --generate_all --preface_id 0 --template_id 0 --sep_id 0 --test_preface_id 0 "
    "--pt_rot_cond unrotated --pt_cond blocked --n_epochs 500 --print_every 500 --test_every 1000 --pretrain_bs 256 "
    "--pretrain_lr 0.001 --stop_early --patience 200 --n_blocks 4 --n_steps_per_block 1000 --finetune_lr 0.0001 --finetune_bs 5 "
    "--finetune_test_every 20 --model_name llama2 --n_layers 12 --n_heads 8 --d_model 64 --d_ff 128 --dropout_p 0.1",
    "category": "--task category --n_train 12000 --n_val 100 --n_test 10 --n_task_dims 200 --n_symbols 8 --n_rel_dims 1 "
    "--n_labels 2 --n_labels_per_task 2 --n_distractors 0 --n_in_context 32 --format space --max_len 320 --lm_task masked "
    "--preface_id 0 --sep_id 0 --test_preface_id 0 --pt_rot_cond unrotated --pt_cond blocked --n_epochs 20 --print_every 500 "
    "--test_every 1000 --pretrain_bs 256 --pretrain_lr 0.0001 --n_blocks 4 --n_steps_per_block 1000 --finetune_lr 0.00001 "
    "--finetune_bs 32 --finetune_test_every 20 --model_name llama2 --n_layers 4 --n_heads 8 --d_model 64 --d_ff 128 "
    "--dropout_p 0.1",
}
FOR_BOTH = "--seed 1 --n_runs 1 --use_cuda"
SMALLER = (
    "--n_train 20 --n_val 4 --n_test 2 --n_epochs 1 --n_layers 2 --d_model 16 --n_heads 2 --d_ff 16 --n_blocks 2 "
    "--n_steps_per_block 3 --finetune_test_every 3 --threads 1"
)
TRADE_OFF = {
    "grid": "--n_steps_per_block 2000 --finetune_test_every 200",
    "category": "--n_steps_per_block 2000 --finetune_test_every 20",
}


@pytest.mark.parametrize("task", ["grid", "category"])
def test_published_values_are_the_paper_preset(task):
    passed = parse(f"{FOR_BOTH} {PUBLISHED[task]} --out_file F".split())
    preset = parse(f"--preset paper --task {task} --n_runs 1 --out_dir F".split())
    assert passed.defining_values() == preset.defining_values()


@pytest.mark.parametrize("task", ["grid", "category"])
@pytest.mark.parametrize(
    ("kind", "levels", "experiment"), [("mask", (0, 1, 11), "tradeoff_mask"), ("gaussian", (0, 8, 9), "tradeoff_noise")]
)
def test_published_trade_offs_are_the_paper_preset(task, kind, levels, experiment, finished_job):
    if finished_job[0] != task:
        pytest.skip("the other task's base")
    low, high, number = levels
    passed = parse(
        f"--load_model_from {finished_job[1]} --n_epochs 0 --pt_cond interleaved --test_one_rot_cond --congruent_only "
        f"--step_cond interleaved --ablation {kind} --ablation_level 0.3 --test_ablation_level_min {low} "
        f"--test_ablation_level_max {high} --test_ablation_level_num {number} --n_blocks 4 {TRADE_OFF[task]}".split()
    )
    preset = parse(f"--preset paper --experiment {experiment} --load_model_from {finished_job[1]} --ablation_level 0.3".split())
    here, there = passed.defining_values(), preset.defining_values()
    assert {name for name in here if here[name] != there[name]} <= {"experiment"}
    assert len(passed.test_levels) == number + (kind == "gaussian")  # 0.3 is not among 0, 1, …, 8


@pytest.mark.parametrize(
    ("flags", "untested"),
    [
        ("--task grid --pt_cond aligned --congruent_only", "aligned"),
        ("--preset laptop --task category --pt_cond blocked --step_cond interleaved", "blocked"),
        ("--task grid --pt_cond aligned", ""),
        ("--task grid --pt_cond aligned --congruent_only --n_epochs 0", ""),  # nothing is metalearned
        ("--preset demo", ""),
    ],
)
def test_models_that_are_not_tested_on_what_they_learned_are_pointed_out(flags, untested, tmp_path, capsys):
    assert conditions.untested(parse(flags.split())) == untested
    assert main.main([*flags.split(), "--dry_run", "--out_dir", str(tmp_path / "job"), "--n_train", "5", "--n_val", "2"]) == 0
    said = f"this job tests no {untested} contexts (--congruent_only)"
    assert (said in capsys.readouterr().err) == bool(untested)


@pytest.mark.parametrize("task", ["grid", "category"])
def test_published_command_lines_run(task, tmp_path):
    """Metalearning that leaves data, vocabulary and weights; then trade-offs that start from them; only smaller."""
    data, vocabulary, weights = tmp_path / "data", tmp_path / "vocab.json", tmp_path / "model"
    first = f"{FOR_BOTH} {PUBLISHED[task]} --pt_cond interleaved {SMALLER}"
    done = run_main(
        *f"{first} --out_file {tmp_path}/base --save_data_to {data} --save_vocab {vocabulary} --model_path {weights}".split()
    )
    assert done.returncode == 0, done.stderr
    assert "--use_cuda: this machine has no GPU" in done.stderr
    assert "--dropout_p is accepted and does nothing" in done.stderr
    assert json.loads(vocabulary.read_text())["<pad>"] == 0
    for kind, level in (("mask", "0.3"), ("gaussian", "2")):
        flags = (
            f"{first} --n_epochs 0 --load_data_from {data} --load_vocab {vocabulary} --load_model_from {weights}_run0.pt "
            f"--test_one_rot_cond --congruent_only --ablation {kind} --ablation_level {level} --test_ablation_level_min 0 "
            f"--test_ablation_level_max {2 * float(level)} --test_ablation_level_num 3 --out_file {tmp_path}/{kind}"
        )
        done = run_main(*flags.split())
        assert done.returncode == 0, done.stderr
        rows = pd.read_csv(tmp_path / kind / "finetune_accuracy.csv")
        assert sorted(set(rows.test_level)) == [0, float(level), 2 * float(level)]
        assert set(rows.init) == {"loaded"}
        base = pd.read_csv(tmp_path / "base" / "finetune_accuracy.csv")
        keys = ["context_curriculum", "step_curriculum", "episode", "subset"]
        here, there = (
            t[(t.step == 0) & (t.test_level == 0) & (t.rotation == "unrotated") & (t.context_curriculum == t.step_curriculum)]
            .sort_values(keys)
            .n_correct.tolist()
            for t in (rows, base)
        )
        assert here == there


def first_context(flags):
    """The text of the first metalearning context and query, and how many tokens the vocabulary has."""
    config, encoder = configured(flags), encoded(flags)
    e = encoder.episodes(config.seed, "metalearning", config.pt_rot_cond, config.pt_cond, 1)
    return f"{encoder.text(e.context[0])} {encoder.text(e.queries[0, 0])}", len(encoder.vocabulary)


@pytest.mark.parametrize(
    ("flags", "expected", "n_tokens"),
    [
        ("--task grid --real_words", r"<|endoftext|> ", 24),
        ("--task grid", "color_", 24),
        ("--task grid --lm_task causal", " : ", 23),
        ("--task grid --n_symbols 9", "color_", 32),
        ("--task grid --n_positions 2 --n_symbols 3", r"color_", 20),
        ("--task grid --template_id 3", "( color_", 27),
        ("--task grid --sep_id 1", " ; ", 24),
        ("--task grid --preface_id 3", "color_", 23),
        ("--task grid --test_preface_id 4", "[/INST] color_", 25),
        ("--task category", " : label_", 1607),
        ("--task category --lm_task causal", " : label_", 1606),
        ("--task category --n_task_dims 120 --n_symbols 4 --n_in_context 8", "symbol_", 487),
        ("--task category --n_labels 6", "label_", 1611),
        ("--task category --format paren_comma", " ) : label_", 1610),
        ("--task category --n_rel_dims 2 --n_labels 4 --n_labels_per_task 4", "label_3", 1609),
    ],
)
def test_what_a_flag_makes_of_the_text(flags, expected, n_tokens):
    text, size = first_context(flags)
    assert expected in text
    assert size == n_tokens


def test_distractors_and_positions_lengthen_items():
    def length(flags):
        return len(first_context(flags)[0].split(" "))

    assert length("--task grid") == 60
    assert length("--task grid --n_positions 2") == 60 + 10 * 2  # nine study items and the query: one more symbol each, twice
    assert length("--task category") == 165
    assert length("--task category --n_distractors 2") == 165 + 33 * 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--model_dtype fp16", "--model_dtype fp16: is for pretrained language models; training from scratch needs fp32"),
        ("--model_name gpt2", "--model_name gpt2: must be one of llama2"),
        ("--ablation noise", "--ablation noise: must be one of mask, bernoulli, gaussian"),
        ("--ablation mask --ablation_level 1.5", "--ablation_level 1.5: is a probability with --ablation mask: at most 1"),
        ("--ablation bernoulli --test_ablation_level_max 8", "--test_ablation_level_max 8.0: is a probability"),
        ("--ablation mask --test_ablation_level_min 0.9 --test_ablation_level_max 0.5", "--test_ablation_level_min 0.9: must be"),
        ("--ablation mask --ablation_level -0.1", "--ablation_level -0.1: must be at least 0"),
        ("--ablation_level inf", "--ablation_level inf: must be a finite number"),
        ("--test_repeats 0", "--test_repeats 0: must be at least 1"),
        ("--attention_dropout 1", "--attention_dropout 1: must be at most 0.999"),
        (
            "--experiment tradeoff_mask",
            "--load_model_from: unset, and results/grid_icl_iwl/unrotated_interleaved does not exist",
        ),
        (
            "--preset demo --task category --experiment tradeoff_noise",
            "scripts/cat_iwl_icl.sh PRESET=demo makes it, or: python main.py --preset demo --task category",
        ),
        ("--log_with mlflow", "--log_with mlflow: must be one of tensorboard, wandb"),
        ("--log_with wandb", "--log_with wandb: is not installed: pip install wandb"),
        ("--save_data_to file --n_train 20 --n_val 4 --n_test 2", "--save_data_to file: cannot be written to"),
        ("--save_vocab file/v.json", "--save_vocab file/v.json: cannot be written to"),
        ("--load_data_from nowhere", "--load_data_from nowhere: "),
        ("--load_vocab nowhere", "--load_vocab nowhere: "),
        ("--model_path nowhere/m", "--model_path nowhere/m_run0.pt: its folder does not exist"),
        ("--n_layers 0", "--n_layers 0: must be at least 1"),
        ("--n_train 1000000000000", "--n_train 1000000000000: must be at most 10000000"),
        ("-seed 3", "-seed: unknown flag; did you mean --seed?"),
        ("demo", "demo belongs to no flag; flags begin with --"),
        (
            "--n_epochs 0 --load_model_from BASE --experiment tradeoff_mask --n_blocks 0",
            "--n_blocks 0: a trade-off needs finetuning",
        ),
        ("--load_model_from BASE --experiment tradeoff_mask --with_iwl_only", "--with_iwl_only: a trade-off has"),
        ("--load_model_from BASE --experiment tradeoff_mask --pt_rot_cond rotated", "--pt_rot_cond rotated: a trade-off is"),
        ("--load_model_from BASE --experiment tradeoff_mask --step_cond blocked", "--step_cond blocked: a trade-off is"),
        ("--load_model_from BASE --experiment tradeoff_mask --model_path m", "--model_path m: a trade-off at all levels has"),
        (
            "--load_model_from BASE --experiment tradeoff_mask --out_dir BASE",
            "holds a job; name a folder for the jobs of all levels",
        ),
        ("--load_model_from BASE --seed 9", "--seed 9: the base in"),
        ("--dry_run --out_dir BASE --n_epochs 9", "holds a job with other flags"),
        ("--dry_run --load_model_from file --n_epochs 0", "is neither a job's folder nor"),
        ("--seed 1.5", "--seed 1.5: must be a whole number"),
        ("--checkpoint_every nan", "--checkpoint_every nan: must be a finite number"),
    ],
)
def test_errors_name_flag_value_and_remedy(flags, message, finished_job, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    before = contents(finished_job[1])
    assert main.main(flags.replace("BASE", str(finished_job[1])).split()) == 2
    assert contents(finished_job[1]) == before
    error = capsys.readouterr().err
    assert error.startswith("main.py: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "mine"}


def test_contradicting_a_trade_off(finished_job):
    assert run_main(
        "--experiment", "tradeoff_mask", "--ablation", "gaussian", "--load_model_from", str(finished_job[1])
    ).stderr == ("main.py: error: --ablation gaussian: --experiment tradeoff_mask takes --ablation mask\n")


def test_every_switch_has_its_opposite():
    config = parse(shlex.split("--preset paper --task grid --no_real_words --no_generate_all --no_stop_early --seed 3"))
    assert [config.real_words, config.generate_all, config.stop_early] == [False] * 3
    assert (config.seed, config.n_runs) == (3, 10)
    assert parse(["--no_resume"]).resume is False


def flags_of(task, folder):
    return [*TINY[task].split(), "--n_runs", "2", "--checkpoint_every", "0", "--out_dir", str(folder)]


def test_a_full_disk_is_one_line_and_loses_nothing(finished_job, tmp_path):
    """No file may grow beyond a size that the saved states do not reach, as on a disk that is full."""
    task, undisturbed, _ = finished_job
    if task == "category":
        pytest.skip("the files are the same")
    folder = tmp_path / "job"
    limit = (undisturbed / "finetune_accuracy.csv").stat().st_size // 2

    def smaller_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (max(limit, 200_000), resource.RLIM_INFINITY))

    needed = max(path.stat().st_size for path in (undisturbed / "checkpoints").iterdir())
    assert needed < 200_000
    done = run_main(*flags_of(task, folder), preexec_fn=smaller_files)
    if done.returncode == 0:
        pytest.fail("the limit must be felt")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "main.py: failed: [Errno 27] File too large" in done.stderr
    again = run_main(*flags_of(task, folder))
    assert again.returncode == 0, again.stderr
    assert contents(folder) == contents(undisturbed)


def test_a_folder_that_goes_away_is_one_line_and_loses_nothing(finished_job, tmp_path):
    task, undisturbed, _ = finished_job
    if task == "grid":
        pytest.skip("the files are the same")
    folder, elsewhere = tmp_path / "job", tmp_path / "elsewhere"
    process = Program(*flags_of(task, folder))
    losses = folder / "pretrain_loss.csv"
    while not losses.exists() or losses.stat().st_size < 100:
        assert process.poll() is None
        time.sleep(0.005)
    os.rename(folder, elsewhere)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in errors
    # Whatever is written next notices it: a table, the heartbeat, or the look at the lock before a save.
    assert errors.splitlines()[-1].startswith("main.py: failed: ")
    assert str(folder) in errors.splitlines()[-1]
    os.rename(elsewhere, folder)
    assert run_main(*flags_of(task, folder)).returncode == 0
    assert contents(folder) == contents(undisturbed)


def test_tensorboard_is_sent_what_is_measured(finished_job, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    task, undisturbed, _ = finished_job
    if task == "grid":
        pytest.skip("what is sent is the same")
    folder = tmp_path / "job"
    done = run_main(*TINY[task].split(), "--n_runs", "2", "--log_with", "tensorboard", "--out_dir", str(folder))
    assert done.returncode == 0, done.stderr
    assert contents(folder) == contents(undisturbed)
    events = EventAccumulator(str(folder / "tracking")).Reload()
    assert {"metalearning/loss", "metalearning/novel", "finetuning/loss", "finetuning/study"} <= set(events.Tags()["scalars"])
    validation = pd.read_csv(folder / "pretrain_accuracy.csv").query("subset == 'novel'")
    means = validation.groupby("step")[["n_correct", "n_queries"]].sum().eval("n_correct / n_queries")
    sent = {event.step: event.value for event in events.Scalars("metalearning/novel")}
    assert sent == pytest.approx(means.to_dict())


def test_a_log_has_plain_lines_with_the_time_left(finished_job):
    errors = finished_job[2].stderr
    last = [line for line in errors.splitlines() if line.startswith("finetuning: ")][-1]
    assert "0:00:00 left, study 0." in last or "0:00:00 left, loss" in last
    assert "\r" not in errors


@pytest.mark.parametrize(
    ("preset", "task", "rate", "updates", "batch", "of_trade_off"),
    [
        ("demo", "grid", 1e-4, 300, 9, (3e-4, 200, 5)),
        ("laptop", "grid", 1e-4, 500, 5, (1e-4, 500, 5)),
        ("demo", "category", 1e-4, 200, 8, (3e-4, 200, 8)),
        ("laptop", "category", 1e-5, 500, 32, (1e-5, 500, 32)),
    ],
)
def test_small_presets_finetune_for_less(preset, task, rate, updates, batch, of_trade_off, tmp_path):
    config = configured(f"--preset {preset} --task {task}")
    assert (config.finetune_lr, config.n_steps_per_block, config.finetune_bs) == (rate, updates, batch)
    (tmp_path / "base.safetensors").touch()
    config = configured(f"--preset {preset} --task {task} --experiment tradeoff_mask --load_model_from {tmp_path}/base.safetensors")
    assert (config.finetune_lr, config.n_steps_per_block, config.finetune_bs) == of_trade_off
    assert (config.restarts, config.stages) == (0, ())


@pytest.mark.parametrize("task", ["grid", "category"])
def test_a_recipe_changes_how_metalearning_goes_and_nothing_else(task):
    paper, published, robust = (
        configured(f"--preset paper --task {task} {recipe}") for recipe in ("", "--recipe published", "--recipe robust")
    )
    assert paper.defining_values() == published.defining_values()
    assert paper.stages == ()
    changed = {name for name, value in robust.defining_values().items() if value != paper.defining_values()[name]}
    of_metalearning = {f.name for f in dataclasses.fields(Config) if f.metadata["heading"] == METALEARNING}
    assert {"stages", "keep_by", "pretrain_bs", "queries_per_episode", "adam_beta2", "init_scale"} < changed
    assert changed <= of_metalearning | {"stages"}
    assert robust.out_dir == paper.out_dir.replace("results/", "results/robust_")
    assert configured(f"--recipe robust --task {task} --pretrain_lr 0.5").pretrain_lr == 0.5


@pytest.mark.parametrize("task", ["grid", "category"])
def test_the_laptop_is_the_published_model_and_task_in_the_robust_way(task):
    """What is left different is how much is finetuned."""
    small, robust = (
        configured(f"--preset {preset} --task {task} --n_runs 1 --seed 1") for preset in ("laptop", "paper --recipe robust")
    )
    changed = {name for name, value in small.defining_values().items() if value != robust.defining_values()[name]}
    assert changed == {"n_test", "congruent_only", "with_iwl_only", "n_steps_per_block"}
    assert small.stages == robust.stages


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Config) if f.type in ("str", "str | None")])
def test_text_that_is_not_utf_8_is_refused(name):
    with pytest.raises(BadInput, match=rf"^--{name} caf..dce9: is not UTF-8; use another name$"):
        parse([f"--{name}", os.fsdecode(b"caf\xe9")])
