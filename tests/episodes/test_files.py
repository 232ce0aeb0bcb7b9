"""Episodes on disk, ours and in the published layout."""

import json
import random

import numpy as np
import pytest

import main
from episodes.jsonl import file_names, write
from episodes.loaded import LoadedEpisodes, episodes_of
from episodes.record import BadFile
from episodes.vocabulary import read_vocabulary, write_vocabulary
from flags.command_line import parse
from tests.conftest import encoded

FLAGS = {
    "grid": "--task grid --n_train 6 --n_val 3 --n_test 2 --real_words",
    "category": "--task category --n_train 6 --n_val 3 --n_test 2 --n_task_dims 20 --n_symbols 4 --n_in_context 8",
}
PARTS = ("context", "queries", "answers", "subset")


def every_condition(config):
    for split, rotation, curriculum, n in file_names(config).values():
        for seed in config.seeds:
            yield seed, split, rotation, curriculum, n


def assert_equal(a, b):
    for part in PARTS:
        x, y = getattr(a, part), getattr(b, part)
        assert x.dtype == y.dtype
        assert (x == y).all(), part
    assert a.subsets == b.subsets


@pytest.mark.parametrize("task", ["grid", "category"])
@pytest.mark.parametrize("more", ["", "--lm_task causal --n_runs 2", "--preface_id 7 --sep_id 2 --test_preface_id 1 --max_len 400"])
def test_written_and_read_back_equal(task, more, tmp_path):
    config, encoder = parse(f"{FLAGS[task]} {more}".split()), encoded(f"{FLAGS[task]} {more}")
    write(tmp_path / "d", config, encoder)
    loaded = LoadedEpisodes(tmp_path / "d", config, encoder)
    for condition in every_condition(config):
        assert_equal(loaded.episodes(*condition), encoder.episodes(*condition))
    assert loaded.n_episodes("metalearning") == 6
    assert loaded.sequence_length(0) == encoder.sequence_length(0)


def test_a_line_is_readable(tmp_path):
    config, encoder = parse(FLAGS["grid"].split()), encoded(FLAGS["grid"])
    write(tmp_path, config, encoder)
    lines = (tmp_path / "test_rotated_blocked.jsonl").read_text().splitlines()
    assert len(lines) == 2
    line = json.loads(lines[1])
    assert (line["split"], line["rotation"], line["curriculum"], line["episode"]) == ("test", "rotated", "blocked", 1)
    cue, answer, subset = line["items"][0]
    assert f" {cue} {answer} <sep> " in line["context"]
    assert subset == "study_A"
    assert len(line["items"]) == 25


def test_an_existing_folder_is_kept_or_refused(tmp_path):
    config, encoder = parse(FLAGS["grid"].split()), encoded(FLAGS["grid"])
    write(tmp_path, config, encoder)
    (tmp_path / "notes.txt").write_text("mine")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    write(tmp_path, config, encoder)
    other = f"{FLAGS['grid']} --seed 1"
    with pytest.raises(BadFile, match="exists with other episodes"):
        write(tmp_path, parse(other.split()), encoded(other))
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


def write_published(folder, config, encoder):
    """The published layout as flags.md describes it, written from an encoder's episodes."""

    def triple(prefix, rows):
        prefix.parent.mkdir(parents=True, exist_ok=True)
        sources, targets, infos = zip(*rows, strict=True)
        (prefix.parent / f"{prefix.name}.src").write_text("".join(s.replace("\n", "\\n") + "\n" for s in sources))
        (prefix.parent / f"{prefix.name}.tgt").write_text("".join(f": {t}\n" for t in targets))
        (prefix.parent / f"{prefix.name}.info.json").write_text(json.dumps(infos))

    def rows_of(e, i, number):
        names = ["train" if e.subsets[s] != "novel" else "test" for s in e.subset[i]]
        return [
            (encoder.text(np.concatenate([e.context[i], q])), encoder.text(a), {"split": name, "episode_id": number})
            for q, a, name in zip(e.queries[i], e.answers[i], names, strict=True)
        ]

    for split, rotation, curriculum, n in file_names(config).values():
        e = encoder.episodes(0, split, rotation, curriculum, n)
        if split != "test":
            rows = [row for i in range(n) for row in rows_of(e, i, i)]
            random.Random(0).shuffle(rows)
            triple(folder / {"metalearning": "pretrain", "validation": "pretest"}[split], rows)
            continue
        for i in range(n):
            episode, rows = folder / f"finetune_{rotation}_{curriculum}" / f"episode{i}", rows_of(e, i, i)
            study = [row for row in rows if row[2]["split"] == "train"]
            triple(episode / "train_all", study)
            triple(episode / "test_all", [row for row in rows if row[2]["split"] == "test"])
            for group in (0, 1):
                name = f"train{'AB'[group]}" if config.task == "grid" else f"train{group}"
                triple(episode / name, [row for row, s in zip(rows, e.subset[i], strict=True) if s == group])


def in_any_order(e, i):
    """An episode's queries as a set: the published files shuffle novel items, and do not number groups in `pretrain`."""
    return {
        (q.tobytes(), a.tobytes(), bool(s == len(e.subsets) - 1))
        for q, a, s in zip(e.queries[i], e.answers[i], e.subset[i], strict=True)
    }


@pytest.mark.parametrize("task", ["grid", "category"])
@pytest.mark.parametrize("more", ["", "--lm_task causal", "--preface_id 7 --test_preface_id 4 --max_len 400"])
def test_the_published_layout_is_read(task, more, tmp_path):
    config, encoder = parse(f"{FLAGS[task]} {more}".split()), encoded(f"{FLAGS[task]} {more}")
    write_published(tmp_path, config, encoder)
    loaded = LoadedEpisodes(tmp_path, config, encoder)
    for condition in every_condition(config):
        ours, read = encoder.episodes(*condition), loaded.episodes(*condition)
        assert (ours.context == read.context).all()
        n_study = encoder.task.n_study
        assert (ours.queries[:, :n_study] == read.queries[:, :n_study]).all()  # study items in context order
        for i in range(len(ours)):
            assert in_any_order(ours, i) == in_any_order(read, i)
        if condition[1] == "test" or task == "grid":
            assert (ours.subset == read.subset).all()


def spoil_line(number, change):
    def spoil(path):
        lines = path.read_text().splitlines()
        lines[number] = change(lines[number])
        path.write_text("\n".join(lines) + "\n")

    return spoil


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("validation.jsonl", lambda p: p.unlink(), "validation.jsonl is missing"),
        ("validation.jsonl", lambda p: p.write_text(""), "validation.jsonl is empty"),
        ("validation.jsonl", lambda p: p.write_bytes(b"\xff\xfe\x00\x80"), "validation.jsonl is not text"),
        ("metalearning.jsonl", lambda p: p.write_text(p.read_text()[:-30]), "metalearning.jsonl:6 is not an episode"),
        ("metalearning.jsonl", lambda p: p.write_text('{"a": 1}\n'), "metalearning.jsonl:1 is not an episode"),
        ("validation.jsonl", spoil_line(1, lambda s: s.replace("red", "mauve")), "validation.jsonl:2 has the token 'mauve'"),
        ("validation.jsonl", spoil_line(2, lambda s: s.replace("novel", "old")), "validation.jsonl:3 has a subset that is none of"),
        (
            "validation.jsonl",
            spoil_line(1, lambda s: s.replace("unrotated", "rotated")),
            ":2 is of rotation rotated, not unrotated",
        ),
        (
            "validation.jsonl",
            spoil_line(1, lambda s: s.replace('<sep>", "items', '<sep> red", "items')),
            ":2 has other lengths, or groups of other sizes, than",
        ),
        ("validation.jsonl", lambda p: (p.unlink(), p.mkdir()), "validation.jsonl cannot be read"),
        (
            "test_unrotated_aligned.jsonl",
            spoil_line(1, lambda s: s.replace("study_B", "study_A", 1)),
            ":2 has other lengths, or groups of other sizes, than",
        ),
        (
            "test_rotated_blocked.jsonl",
            lambda p: p.write_text(p.read_text().replace("<|endoftext|> ", "<|endoftext|> red ")),
            "test_rotated_blocked.jsonl:1 has other lengths",
        ),
        (
            "metalearning.jsonl",
            lambda p: p.write_text(
                '{"split": "metalearning", "rotation": "unrotated", "curriculum": "blocked", "context": "red", "items": []}\n'
            ),
            "metalearning.jsonl:1 ",
        ),
        (
            "test_rotated_blocked.jsonl",
            lambda p: p.write_text(p.read_text().splitlines()[0] + "\n"),
            "--n_test 2: --load_data_from",
        ),
    ],
)
def test_files_that_cannot_be_used(name, spoil, message, tmp_path, capsys):
    write(tmp_path / "d", parse(FLAGS["grid"].split()), encoded(FLAGS["grid"]))
    spoil(tmp_path / "d" / name)
    flags = f"{FLAGS['grid']} --load_data_from {tmp_path}/d --out_dir {tmp_path}/job"
    assert main.main(flags.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pretest.tgt", ": 1 3\n", "its .tgt 1"),
        ("pretest.info.json", "[{", "is not a JSON array"),
        ("finetune_rotated_blocked/episode1/train_all.src", None, "train_all.src is missing"),
        ("finetune_rotated_blocked/episode1/trainA.src", None, "has neither trainA.src nor train0.src"),
    ],
)
def test_published_files_that_cannot_be_used(name, content, message, tmp_path):
    config, encoder = parse(FLAGS["grid"].split()), encoded(FLAGS["grid"])
    write_published(tmp_path, config, encoder)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(BadFile, match=message):
        LoadedEpisodes(tmp_path, config, encoder)


def test_a_wrong_separator_is_named(tmp_path):
    config, encoder = parse(FLAGS["grid"].split()), encoded(FLAGS["grid"])
    write_published(tmp_path, config, encoder)
    other = f"{FLAGS['grid']} --sep_id 1"
    with pytest.raises(BadFile, match="is --sep_id right"):
        LoadedEpisodes(tmp_path, parse(other.split()), encoded(other))


def test_vocabularies(tmp_path, capsys):
    vocabulary = encoded(FLAGS["grid"]).vocabulary
    write_vocabulary(tmp_path / "v.json", vocabulary)
    write_vocabulary(tmp_path / "v.json", vocabulary)
    assert list(read_vocabulary(tmp_path / "v.json").items()) == list(vocabulary.items())
    with pytest.raises(BadFile, match="exists with another vocabulary"):
        write_vocabulary(tmp_path / "v.json", {"<pad>": 0})
    for name, content, message in (
        ("missing.json", None, "cannot be read"),
        ("cut.json", '{"<pad>": 0,', "is not JSON"),
        ("list.json", "[1, 2]", "is not a vocabulary"),
        ("twice.json", '{"a": 1, "b": 1}', "is not a vocabulary"),
        ("few.json", '{"<pad>": 0, "red": 1}', "lacks the token '<|endoftext|>'"),
    ):
        if content is not None:
            (tmp_path / name).write_text(content)
        assert main.main(f"{FLAGS['grid']} --load_vocab {tmp_path / name}".split()) == 2
        error = capsys.readouterr().err
        assert message in error
        assert f"--load_vocab {tmp_path / name}" in error


def test_a_loaded_vocabulary_sets_ids_and_size(tmp_path):
    vocabulary = {token: 3 * i + 1 for i, token in enumerate(reversed(encoded(FLAGS["grid"]).vocabulary))}
    (tmp_path / "v.json").write_text(json.dumps(vocabulary))
    config = parse(f"{FLAGS['grid']} --load_vocab {tmp_path}/v.json".split())
    encoder = episodes_of(config)
    assert encoder.vocab_size == 3 * 23 + 2
    plain, renumbered = (e.episodes(0, "test", "unrotated", "blocked", 2) for e in (encoded(FLAGS["grid"]), encoder))
    assert encoder.text(renumbered.context[1]) == encoded(FLAGS["grid"]).text(plain.context[1])
    assert renumbered.context[0, 0] == vocabulary["<|endoftext|>"]
