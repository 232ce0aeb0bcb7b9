"""Folders of models and tokenizers that do not belong together, or lack something: one line, and what is sound works."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPTNeoXConfig, LlamaConfig, T5Config, T5ForConditionalGeneration

import main
from flags.config import BadInput
from llm import scoring
from llm.generation import generate
from llm.scoring import Pace, score
from tests.conftest import configured
from tests.llm.conftest import GRID, ONE, SIZE, Loaded, run, save, tokenizer_in


@pytest.fixture
def sound(words, tmp_path):
    """A folder for a test to break."""
    tokenizer = tokenizer_in(words)
    return save(tmp_path / "model", LlamaConfig(**SIZE, vocab_size=len(tokenizer)), tokenizer)


def refused(folder, tmp_path, capsys, message: str, flags: str = "") -> None:
    capsys.readouterr()
    assert run(folder, tmp_path / "job", flags) == 2
    said = capsys.readouterr().err
    assert said.startswith("main.py: error: --")
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "job").exists()


def edit(path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def test_weights_that_are_not_all_there_are_named(words, tmp_path, capsys):
    folder = save(tmp_path / "model", GPTNeoXConfig(**SIZE, vocab_size=len(tokenizer_in(words))), tokenizer_in(words))
    weights = load_file(folder / "model.safetensors")
    head = next(name for name in weights if name in ("embed_out.weight", "lm_head.weight"))
    save_file({name: weight for name, weight in weights.items() if name != head}, folder / "model.safetensors", {"format": "pt"})
    refused(folder, tmp_path, capsys, "its weights lack lm_head.weight, which would be random")  # its name in transformers


def test_tied_and_sharded_weights_are_all_there(words, tmp_path):
    tokenizer = tokenizer_in(words)
    folder = save(tmp_path / "tied", LlamaConfig(**SIZE, vocab_size=len(tokenizer), tie_word_embeddings=True), tokenizer)
    one = Loaded(folder)
    one.model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    tokenizer.save_pretrained(tmp_path / "sharded")
    shards = sorted((tmp_path / "sharded").glob("model-*.safetensors"))
    assert len(shards) > 1
    ids = one.samples[0][0].ids
    assert torch.equal(one.log_p(ids), Loaded(tmp_path / "sharded").log_p(ids))
    shards[0].unlink()
    with pytest.raises(BadInput, match=r"cannot be loaded \("):
        Loaded(tmp_path / "sharded")


def test_token_ids_without_an_embedding(words, tmp_path, capsys):
    tokenizer = tokenizer_in(words)
    n = len(tokenizer)
    few = save(tmp_path / "few", LlamaConfig(**SIZE, vocab_size=n - 7), tokenizer)
    refused(few, tmp_path, capsys, f"its tokenizer has token ids up to {n - 1}, its embeddings end at {n - 8}")
    tokenizer.add_special_tokens({"pad_token": "<pad>"})  # a usual addition, which no prompt has
    Loaded(save(tmp_path / "padded", LlamaConfig(**SIZE, vocab_size=n), tokenizer), "--scoring argmax,generate")
    tokenizer.add_tokens([" dog"])
    added = save(tmp_path / "added", LlamaConfig(**SIZE, vocab_size=n), tokenizer)
    refused(added, tmp_path, capsys, f"its tokenizer has token ids up to {n + 1}, its embeddings end at {n - 1}")


def test_a_tokenizer_that_cannot_tell_answers_apart(words, sound, tmp_path, capsys):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    lossy = Tokenizer(models.WordLevel({"<unk>": 0, "red": 1}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=lossy, unk_token="<unk>").save_pretrained(sound)
    refused(sound, tmp_path, capsys, "its tokenizer writes different answers with the same tokens")


def test_vocab_and_merges_are_a_tokenizer(words, sound):
    whole = json.loads((sound / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    before = Loaded(sound).samples[0][0].ids
    for path in sound.glob("*token*"):
        path.unlink()
    (sound / "vocab.json").write_text(json.dumps(whole["vocab"]), encoding="utf-8")
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in whole["merges"]]
    (sound / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    edit(sound / "config.json", tokenizer_class="GPT2Tokenizer")
    assert Loaded(sound).samples[0][0].ids == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"model_type": "llama"', "cannot be loaded ("),
        ("[]", "cannot be loaded ("),
        ("{}", "cannot be loaded (Unrecognized model in"),
        ('{"model_type": "nothing"}', "cannot be loaded ("),
        (
            '{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}',
            "code of its own",
        ),
        ('{"model_type": "t5"}', "is no causal language model (its config.json names t5)"),
    ],
)
def test_a_config_of_another_kind(sound, tmp_path, capsys, content, message):
    (sound / "config.json").write_text(content, encoding="utf-8")
    (sound / "mine.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n", encoding="utf-8")
    refused(sound, tmp_path, capsys, message)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("changes", [{"hidden_size": 48}, {"num_attention_heads": 0}, {"vocab_size": "many"}])
def test_a_config_that_does_not_fit_the_weights(sound, tmp_path, capsys, changes):
    edit(sound / "config.json", **changes)
    refused(sound, tmp_path, capsys, "cannot be loaded (")


def test_an_encoder_and_decoder_is_no_causal_model(words, tmp_path, capsys):
    T5ForConditionalGeneration(T5Config(d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8, vocab_size=400)).save_pretrained(
        tmp_path / "model"
    )
    tokenizer_in(words).save_pretrained(tmp_path / "model")
    refused(tmp_path / "model", tmp_path, capsys, "is no causal language model")


def test_the_models_own_generation_settings_do_not_act(sound):
    one = Loaded(sound, "--scoring generate")
    prompts = one.prompter.ids([question.prompt for question in one.questions[:4]])
    plain = generate(one.model, one.tokenizer, prompts, 6, 3, Pace())
    settings = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "min_new_tokens": 6, "num_return_sequences": 2}
    settings |= {"suppress_tokens": list(range(300)), "num_beam_groups": 3, "penalty_alpha": 0.6, "prompt_lookup_num_tokens": 3}
    for content in (json.dumps(settings), '{"temperature": "warm", "guidance_scale": 3.0, "max_length": 2}', "no JSON"):
        (sound / "generation_config.json").write_text(content, encoding="utf-8")
        other = Loaded(sound, "--scoring generate")
        assert generate(other.model, other.tokenizer, prompts, 6, 3, Pace()) == plain


def test_outputs_that_a_config_asks_for_do_not_matter(sound):
    ids = Loaded(sound).samples[0][0].ids
    before = Loaded(sound).log_p(ids)
    edit(sound / "config.json", return_dict=False, use_cache=False, output_hidden_states=True, output_attentions=True)
    assert torch.equal(Loaded(sound).log_p(ids), before)


def test_episodes_that_come_later_count_for_the_models_length(words, tmp_path, capsys):
    tokenizer = tokenizer_in(words)
    one = Loaded(save(tmp_path / "long", LlamaConfig(**SIZE, vocab_size=len(tokenizer)), tokenizer), "--n_val 6")
    lengths = []
    for episode in range(6):
        episodes = one.encoder.episodes(0, "validation", "unrotated", "blocked", 6)
        lengths.append(max(len(one.prompter.ids([f"{q.prompt} 4 4"])[0]) for q in one.prompter.questions(episodes, episode)))
    assert max(lengths) > lengths[0]
    config = LlamaConfig(**{**SIZE, "max_position_embeddings": lengths[0]}, vocab_size=len(tokenizer))
    short = save(tmp_path / "short", config, tokenizer)
    refused(short, tmp_path, capsys, f"a context with a query and its answer takes {max(lengths)}", f"{ONE} --n_val 6")


def test_out_of_memory_on_a_cpu_halves_and_then_is_one_line(sound, tmp_path, monkeypatch, capsys):
    """The error of torch's own allocator, which is a RuntimeError."""
    one, really = Loaded(sound), scoring._run
    answers = [one.prompter.answers(question, [(0, 0)])[0] for question in one.questions]
    plenty = score(one.model, [answers], Pace())
    limit = 3

    def run_within(chunk, *rest):
        if len(chunk) > limit:
            torch.empty(2**60, dtype=torch.uint8)
        return really(chunk, *rest)

    monkeypatch.setattr(scoring, "_run", run_within)
    capsys.readouterr()
    little = score(one.model, [answers], Pace(rows_at_once=16))
    assert "out of memory; continuing with 2 sequences at once" in capsys.readouterr().err
    for a, b in zip(plenty[0], little[0], strict=True):
        np.testing.assert_allclose(a.log_p, b.log_p, atol=1e-5)
    limit = 0
    assert run(sound, tmp_path / "job", ONE) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("main.py: failed: out of memory (")


def test_a_folder_named_by_a_dot_has_its_own_name(words, sound, tmp_path, monkeypatch):
    monkeypatch.chdir(sound)
    for flag in (".", "./", "../model/.", "../model/sub/.."):
        assert configured(f"--llm {flag}").model_label == "model"
        assert "/model/" in configured(f"--llm {flag}").out_dir
    assert configured("--llm org/name").model_label == "name"


@pytest.mark.parametrize("condition", ["", "--pt_cond blocked", "--pt_rot_cond rotated"])
def test_episodes_are_saved_of_one_condition(tmp_path, capsys, condition):
    flags = f"--llm X {GRID} --save_data_to {tmp_path / 'data'} {condition}"
    assert main.main(flags.split()) == 2
    assert "writes one condition; name it with --pt_rot_cond and --pt_cond" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_show_of_a_language_models_job_are_episodes_that_it_is_asked(capsys):
    assert main.main(f"--llm X --show 2 {GRID} --n_val 5".split()) == 0
    shown = capsys.readouterr().out
    assert "Episode 1 · grid · unrotated · aligned context · seed 0" in shown
    assert "Episode 2" not in shown
