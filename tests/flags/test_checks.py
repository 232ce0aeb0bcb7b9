"""Every combination of data and prompt options, read back by a parser that knows only the rules of the tasks."""

import dataclasses
import itertools
import re
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import main
import prompts
from data import Encoder
from flags.checks import check
from flags.command_line import parse
from flags.config import BadInput, Config
from tasks import ROTATIONS, TASKS, check_task, make_task

GRID_ITEM = {
    0: r"^(?P<color>\S+(?: \S+)*?) (?P<animal>animal_.*|{animals}) : (?P<x>\d) (?P<y>\d)$",
    1: r"^(?P<color>.+?) , (?P<animal>.+) : (?P<x>\d) (?P<y>\d)$",
    2: r"^\( (?P<color>\S+(?: \S+)*?) (?P<animal>animal_.*|{animals}) \) : (?P<x>\d) (?P<y>\d)$",
    3: r"^\( (?P<color>.+?) , (?P<animal>.+) \) : (?P<x>\d) (?P<y>\d)$",
}
CATEGORY_ITEM = {
    "space": r"^(?P<symbols>symbol_\S+(?: symbol_\S+)*) : (?P<label>label_\d+)$",
    "comma": r"^(?P<symbols>symbol_\S+(?: , symbol_\S+)*) : (?P<label>label_\d+)$",
    "paren": r"^\( (?P<symbols>symbol_\S+(?: symbol_\S+)*) \) : (?P<label>label_\d+)$",
    "paren_comma": r"^\( (?P<symbols>symbol_\S+(?: , symbol_\S+)*) \) : (?P<label>label_\d+)$",
}

prompt_flags = st.fixed_dictionaries(
    {
        "preface_id": st.integers(0, 8),
        "sep_id": st.integers(0, 3),
        "test_preface_id": st.integers(0, 4),
        "lm_task": st.sampled_from(["masked", "causal"]),
        "seed": st.integers(0, 10**9),
        "max_len": st.just(2000),
        "n_val": st.just(2),
        "n_test": st.just(2),
    }
)
grid_flags = st.fixed_dictionaries(
    {
        "template_id": st.integers(0, 3),
        "n_symbols": st.integers(5, 12),
        "p_flip_xy": st.sampled_from([0.0, 0.5, 1.0]),
        "n_train": st.integers(1, 30),
    },
    optional={
        "n_positions": st.integers(1, 3),
        "real_words": st.just(True),
        "generate_all": st.just(True),
        "strict_train": st.just(True),
        "strict_test": st.just(True),
    },
)
category_flags = st.fixed_dictionaries(
    {
        "format": st.sampled_from(list(prompts.CATEGORY_FORMATS)),
        "n_symbols": st.sampled_from([4, 6, 8]),
        "n_in_context": st.sampled_from([4, 8, 12]),
        "n_task_dims": st.integers(8, 20),
        "n_rel_dims": st.sampled_from([1, 2]),
        "n_labels": st.integers(2, 6),
        "n_labels_per_task": st.sampled_from([2, 4]),
        "n_distractors": st.integers(0, 3),
        "n_train": st.integers(1, 30),
    }
)


def episodes_of(task, flags, rotation, curriculum):
    """Two test episodes as texts: context, queries with answers, and subsets; None if the flags contradict."""
    words = [f"--task={task}", *(f"--{name}" if value is True else f"--{name}={value}" for name, value in flags.items())]
    config = parse(words)
    try:
        check(config)
        check_task(config)
    except BadInput:
        return None
    encoder = Encoder(config, make_task(config))
    e = encoder.episodes(config.seed, "test", rotation, curriculum, 2)
    n_answer = e.answers.shape[2]
    texts = []
    for i in range(2):
        queries = []
        for query, answer in zip(e.queries[i], e.answers[i], strict=True):
            hidden = encoder.text(query[-n_answer:])
            right = encoder.text(answer)
            assert hidden == (right if flags["lm_task"] == "causal" else " ".join(["<mask>"] * n_answer))
            queries.append(f"{encoder.text(query[:-n_answer])} {right}")
        texts.append((encoder.text(e.context[i]), queries, [e.subsets[s] for s in e.subset[i]]))
    assert len({len(context.split(" ")) for context, _, _ in texts}) == 1
    return texts


def items_of(context, queries, flags, pattern):
    """The study items and all items, as matches of the pattern; nothing but preface and separators is between them."""
    preface = prompts.PREFACES[flags["preface_id"]]
    separator = prompts.SEPARATORS[flags["sep_id"]]
    assert context.startswith(f"{preface} " if preface else "")
    body = context[len(preface) + bool(preface) :]
    test_preface = prompts.TEST_PREFACES[flags["test_preface_id"]]
    asked = []
    for query in queries:
        assert query.startswith(f"{test_preface} " if test_preface else "")
        asked.append(query[len(test_preface) + bool(test_preface) :])
    shown = []
    while body:  # a separator may also stand inside an item, so the items are found by what they are
        shown.append(next(text for text in asked if body.startswith(f"{text} {separator}")))
        body = body[len(shown[-1]) + 1 + len(separator) + 1 :]
    for text in asked:
        assert re.match(pattern, text), text
        assert "  " not in text
    return [re.match(pattern, text) for text in shown], [re.match(pattern, text) for text in asked]


@settings(max_examples=60, deadline=None)
@given(prompt_flags, grid_flags, st.sampled_from(ROTATIONS), st.sampled_from(TASKS["grid"].curricula))
def test_grid_answers_follow_from_the_text(prompt, grid, rotation, curriculum):
    flags = {**prompt, **grid}
    texts = episodes_of("grid", flags, rotation, curriculum)
    assume(texts is not None)
    pattern = GRID_ITEM[flags["template_id"]].replace("{animals}", "|".join(prompts.ANIMALS))
    for context, queries, subsets in texts:
        study, asked = items_of(context, queries, flags, pattern)
        assert (len(study), len(asked)) == (9, 25)
        assert Counter(subsets) == {"study_A": 5, "study_B": 4, "novel": 16}
        assert [s.group() for s in study] == [a.group() for a in asked[:9]]
        assert len({(a["color"], a["animal"]) for a in asked}) == 25
        names = {kind: {a[kind] for a in asked} for kind in ("color", "animal")}
        assert {kind: len(found) for kind, found in names.items()} == {"color": 5, "animal": 5}

        def place(item):
            x, y = int(item["x"]), int(item["y"])
            if rotation == "rotated":  # undo (x + y, y - x + 4)
                assert (x + y) % 2 == 0
                x, y = (x - y + 4) // 2, (x + y - 4) // 2
            return x, y

        rules = []
        for flipped in (False, True):
            coordinate = {"color": {}, "animal": {}}
            for item in study:
                for kind, value in zip(("color", "animal"), place(item)[:: -1 if flipped else 1], strict=True):
                    coordinate[kind].setdefault(item[kind], set()).add(value)
            if all(len(values) == 1 for found in coordinate.values() for values in found.values()):
                rules.append((flipped, {kind: {n: min(v) for n, v in found.items()} for kind, found in coordinate.items()}))
        (flipped, rule) = rules[0]
        assert len(rules) == 1
        assert flipped or flags["p_flip_xy"] < 1
        assert not flipped or flags["p_flip_xy"] > 0
        for item in asked[9:]:
            answer = (rule["color"][item["color"]], rule["animal"][item["animal"]])
            assert place(item) == (answer[::-1] if flipped else answer)


def quadrant(x, y, n, rotated):
    """The rule as science.md says it, with fractions."""
    p, q, m = (x - y + n - 1, x + y, n - 1) if rotated else (x, y, (n - 1) / 2)
    if p <= m and q < m:
        return 0
    if p < m and q >= m:
        return 1
    return 2 if p > m and q <= m else 3


@settings(max_examples=60, deadline=None)
@given(prompt_flags, category_flags, st.sampled_from(ROTATIONS), st.sampled_from(TASKS["category"].curricula))
def test_category_answers_follow_from_the_text(prompt, category, rotation, curriculum):
    flags = {**prompt, **category}
    texts = episodes_of("category", flags, rotation, curriculum)
    assume(texts is not None)
    n, n_groups = flags["n_symbols"], flags["n_labels_per_task"]
    for context, queries, subsets in texts:
        study, asked = items_of(context, queries, flags, CATEGORY_ITEM[flags["format"]])
        n_study, n_novel = flags["n_in_context"], n**2 - flags["n_in_context"]
        sizes = Counter(subsets)
        assert (len(study), len(asked), sizes["novel"]) == (n_study, n**2, n_novel)
        assert [sizes[f"study_{g}"] for g in "ABCD"[:n_groups]] == [n_study // n_groups] * n_groups
        shown = [[tuple(map(int, s.split("_")[1:])) for s in re.findall(r"symbol_\d+_\d+", item["symbols"])] for item in asked]
        assert {tuple(dim for dim, _ in symbols) for symbols in shown} == {tuple(dim for dim, _ in shown[0])}
        assert len({dim for dim, _ in shown[0]}) == len(shown[0]) == 2 + flags["n_distractors"]
        labels = [item["label"] for item in asked]
        by_quadrant = {1: [(0, 0, 1, 1), (0, 1, 0, 1)], 2: [(0, 1, 1, 0)] if n_groups == 2 else [(0, 1, 2, 3)]}[flags["n_rel_dims"]]
        fitting = []
        for (first, second), groups in itertools.product(itertools.permutations(range(len(shown[0])), 2), by_quadrant):
            places = [(symbols[first][1], symbols[second][1]) for symbols in shown]
            if len(set(places)) < n**2:
                continue  # distractors
            of_item = [quadrant(x, y, n, rotation == "rotated") for x, y in places]
            pairs = {(groups[q], label) for q, label in zip(of_item, labels, strict=True)}
            if len(pairs) == n_groups == len({label for _, label in pairs}):
                fitting.append(of_item)
        assert fitting, "no rule of the task gives these labels"
        for of_item in fitting:
            assert Counter(of_item[:n_study]) == dict.fromkeys(range(4), n_study // 4)
            assert Counter(of_item[n_study:]) == dict.fromkeys(range(4), n_novel // 4)
            if curriculum == "blocked":  # four runs of one quadrant each
                assert len(list(itertools.groupby(of_item[:n_study]))) == 4
        group_of = {label: subset for label, subset in zip(labels, subsets, strict=True) if subset != "novel"}
        assert [subset == "novel" or subset == group_of[label] for label, subset in zip(labels, subsets, strict=True)]


@pytest.mark.parametrize("task", ["grid", "category"])
def test_metalearning_and_tests_have_one_length(task):
    config = parse(["--task", task, "--n_train", "40"])
    encoder = Encoder(config, make_task(config))
    shapes = {
        (e.context.shape[1], e.queries.shape[1:], e.answers.shape[1:])
        for rotation in ROTATIONS
        for curriculum in TASKS[task].curricula
        for split, n in (("metalearning", 40), ("validation", 100), ("test", 10))
        for e in [encoder.episodes(0, split, rotation, curriculum, n)]
    }
    assert len(shapes) == 1


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_path_is_an_error(value):
    """As of a shell's variable that is not set."""
    texts = [f for f in dataclasses.fields(Config) if f.type in ("str", "str | None") and not f.metadata["choices"]]
    paths = [f for f in texts if f.metadata["path"]]
    assert {f.name for f in texts} - {f.name for f in paths} == {"scoring", "llm_api"}
    for name in [name for f in paths for name in (f.name, *f.metadata["aliases"])]:
        with pytest.raises(BadInput, match=r": is an empty path; name a file or folder, or leave the flag out$"):
            parse([f"--{name}", value])


@pytest.mark.parametrize(
    "flag", ["out_dir", "save_data_to", "save_vocab", "model_path", "load_data_from", "load_vocab", "load_model_from"]
)
def test_a_path_that_no_file_system_takes_is_one_line(flag, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main([*["--n_epochs", "0", "--n_train", "4", "--n_val", "2", "--n_test", "1"], f"--{flag}", "x" * 300]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"main.py: error: --{flag} xxx")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--llm_api", ""], "--llm_api: is no address; it has the form http://HOST:PORT/v1"),
        (["--llm_api", "localhost:8080"], "--llm_api localhost:8080: is no address"),
        (["--llm_api", "http://host:99999/v1"], "--llm_api http://host:99999/v1: is no address"),
        (["--llm_api", "http://me:hunter2@host/v1"], "--llm_api: must be an address without a name, password or query"),
        (["--llm_api", "http://me:hunter2@host:99999/v1"], "--llm_api: must be an address without"),
        (["--llm_api", "http://host/v1?key=hunter2"], "--llm_api: must be an address without a name, password or query"),
        (["--llm_api", "http://host/v1", "--use_cuda"], "--use_cuda: is for a model that is loaded here"),
        (["--llm_api", "http://host/v1", "--model_dtype", "bf16"], "--model_dtype bf16: is for a model that is loaded here"),
        (["--llm_api", "http://host/v1", "--num_beams", "5"], "--num_beams 5: is for a model that is loaded here"),
    ],
)
def test_an_address_of_a_server_and_flags_of_models_loaded_here(flags, said):
    with pytest.raises(BadInput) as error:
        check(parse(["--llm", "name", *flags]))
    assert str(error.value).startswith(said)
    assert "hunter2" not in str(error.value)


def test_a_server_is_asked_for_what_every_server_can_do():
    config = parse(["--llm", "org/name", "--llm_api", "http://host/v1", "--preset", "laptop", "--task", "grid"])
    check(config)
    assert (config.scoring, config.num_beams, config.model_label) == ("generate", 1, "name_api")
    assert parse(["--llm", "name", "--llm_api", "http://host/v1", "--scoring", "argmax"]).scoring == "argmax"
    with pytest.raises(BadInput, match="--llm_api: is for --experiment llm"):
        check(parse(["--llm_api", "http://host/v1"]))
