"""Files that flags name: full disks, other files in the folder, and files that change between two starts or two jobs."""

import contextlib
import errno
import json
import os
import resource
import shutil
import threading

import pytest

import main
from analysis.jobs.load import load
from data import Encoder
from episodes.jsonl import file_names, write
from episodes.loaded import LoadedEpisodes, episodes_of, recorded, save_files, to_record
from episodes.once import create
from episodes.record import BadFile
from episodes.vocabulary import write_vocabulary
from flags.command_line import parse
from flags.config import BadInput
from tasks import make_task
from tests.conftest import TINY, encoded
from tests.episodes.test_files import FLAGS, assert_equal, every_condition, write_published

GRID = FLAGS["grid"]
JOB = f"{TINY['grid']} --n_epochs 1 --n_blocks 1 --n_steps_per_block 1 --congruent_only"


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def full_disk(n_bytes):
    """No file may grow beyond this: what is written after it fails, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refused(capsys, flags) -> str:
    assert main.main(flags.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_after_a_full_disk_the_same_command_works(tmp_path):
    config, encoder = parse(GRID.split()), encoded(GRID)
    write(tmp_path / "whole", config, encoder)
    write_vocabulary(tmp_path / "whole.json", encoder.vocabulary)
    sizes = sorted(path.stat().st_size for path in (tmp_path / "whole").iterdir())
    for more, limit in ((f"--save_data_to {tmp_path}/d", sizes[-1] - 1), (f"--save_vocab {tmp_path}/v/v.json", 100)):
        asked = parse(f"{GRID} {more}".split())
        with full_disk(limit), pytest.raises(BadInput, match=r"cannot be written to \(File too large\)") as error:
            save_files(asked, encoder)
        assert str(error.value).startswith(more)
    assert not list((tmp_path / "v").iterdir())
    left = tree(tmp_path / "d")
    assert left.items() < tree(tmp_path / "whole").items()  # whole files, and no temporary one
    write(tmp_path / "d", config, encoder)
    write_vocabulary(tmp_path / "v" / "v.json", encoder.vocabulary)
    assert tree(tmp_path / "d") == tree(tmp_path / "whole")
    assert (tmp_path / "v" / "v.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


@pytest.mark.parametrize("left", ["all", "pretrain.src", "pretest.tgt", "pretest.info.json", "finetune_rotated_blocked"])
def test_nothing_is_written_beside_published_files(tmp_path, capsys, left):
    config, encoder = parse(GRID.split()), encoded(GRID)
    write_published(tmp_path / "d", config, encoder)
    for path in (tmp_path / "d").iterdir() if left != "all" else ():
        if path.name != left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = tree(tmp_path)
    said = refused(capsys, f"{GRID} --n_epochs 0 --n_blocks 0 --save_data_to {tmp_path}/d --out_dir {tmp_path}/job")
    assert f"--save_data_to {tmp_path}/d: {tmp_path}/d holds files of the published code, which would be read instead" in said
    assert tree(tmp_path) == before


def test_a_folder_with_both_layouts_is_not_read(tmp_path):
    config, encoder = parse(GRID.split()), encoded(GRID)
    write(tmp_path, config, encoder)
    write_published(tmp_path, config, encoder)
    with pytest.raises(BadFile, match="holds files of the published code and others"):
        LoadedEpisodes(tmp_path, config, encoder)


def test_episodes_of_a_folder_and_of_its_seeds_are_not_mixed(tmp_path):
    """Written for one seed, then for several, or the other way round: it must be clear which are read."""
    one, two = GRID, f"{GRID} --n_runs 2"
    for first, second in ((one, two), (two, f"{GRID} --seed 7")):
        folder = tmp_path / str(len(first))
        write(folder, parse(first.split()), encoded(first))
        before = tree(folder)
        with pytest.raises(BadFile, match="holds episodes of other seeds"):
            write(folder, parse(second.split()), encoded(second))
        assert tree(folder) == before
    write(tmp_path / "both", parse(one.split()), encoded(one))
    shutil.copytree(tmp_path / str(len(two)) / "seed_1", tmp_path / "both" / "seed_1")
    with pytest.raises(BadFile, match=r"holds episodes of its own and of a single seed \(seed_1\)"):
        LoadedEpisodes(tmp_path / "both", parse(one.split()), encoded(one))
    write(tmp_path / str(len(two)), parse(GRID.split()), encoded(GRID))  # seed 0 alone is what lies in seed_0


class Interrupted:
    """An encoder that does something else when it is asked for the episodes of a job's last file."""

    def __init__(self, encoder, config, something):
        self._encoder, self._left, self._something = encoder, len(config.seeds) * len(file_names(config)), something

    def __getattr__(self, name):
        return getattr(self._encoder, name)

    def episodes(self, *condition):
        self._left -= 1
        if self._left == 0:
            self._something()
        return self._encoder.episodes(*condition)


def test_of_two_jobs_that_write_a_folder_at_once_one_is_refused(tmp_path):
    flags = (GRID, f"{GRID} --seed 1")
    together, refusals = threading.Barrier(2), []

    def job(flags):
        config = parse(flags.split())
        try:
            write(tmp_path / "d", config, Interrupted(encoded(flags), config, together.wait))
        except BadFile as error:
            refusals.append((flags, str(error)))

    threads = [threading.Thread(target=job, args=(of_one,)) for of_one in flags]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refusals) == 1
    assert "exists with other episodes" in refusals[0][1]
    winner = next(of_one for of_one in flags if of_one != refusals[0][0])
    write(tmp_path / "alone", parse(winner.split()), encoded(winner))
    assert tree(tmp_path / "d") == tree(tmp_path / "alone")


def test_seeds_that_another_job_writes_in_the_meantime_are_noticed(tmp_path):
    config, more = parse(GRID.split()), f"{GRID} --n_runs 2"
    encoder = Interrupted(encoded(GRID), config, lambda: write(tmp_path, parse(more.split()), encoded(more)))
    with pytest.raises(BadFile, match="holds episodes of its own and of a single seed"):
        write(tmp_path, config, encoder)


@pytest.mark.parametrize("links", [True, False])
def test_what_another_process_has_written_stays(tmp_path, monkeypatch, links):
    def unsupported(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")  # what FAT answers

    if not links:
        monkeypatch.setattr(os, "link", unsupported)
    path = tmp_path / "new" / "file"
    assert create(path, b"mine")
    assert not create(path, b"other")
    assert path.read_bytes() == b"mine"
    assert os.listdir(path.parent) == ["file"]
    assert path.stat().st_nlink == 1


def test_loaded_episodes_are_written_again(tmp_path):
    """Episodes that were read are written, however many episodes the flags ask for; without metalearning, none of its."""
    config, encoder = parse(GRID.split()), encoded(GRID)
    write(tmp_path / "d", config, encoder)
    flags = f"{GRID} --n_train 500 --load_data_from {tmp_path}/d"
    for more in ("", "--n_epochs 0"):
        loaded = episodes_of(parse(f"{flags} {more}".split()))
        write(tmp_path / f"again{more}", parse(f"{flags} {more}".split()), loaded)
    assert tree(tmp_path / "again") == tree(tmp_path / "d")
    assert tree(tmp_path / "again--n_epochs 0").keys() == tree(tmp_path / "d").keys() - {"metalearning.jsonl"}


@pytest.mark.parametrize("task", ["grid", "category"])
def test_a_small_published_data_set_with_its_own_vocabulary(task, tmp_path, capsys):
    """Its vocabulary holds the tokens of its episodes alone, fewer than the flags' episodes would have."""
    more = {"grid": "--no_real_words --n_symbols 60", "category": "--n_task_dims 200"}[task]
    flags = f"{FLAGS[task]} {more}"
    config, encoder = parse(flags.split()), encoded(flags)
    write_published(tmp_path / "d", config, encoder)
    used = {encoder.vocabulary["<mask>"], *(i for c in every_condition(config) for i in used_ids(encoder.episodes(*c)))}
    tokens = [token for token, i in encoder.vocabulary.items() if i in used]
    (tmp_path / "v.json").write_text(json.dumps({token: i for i, token in enumerate(["<pad>", *tokens])}), encoding="utf-8")
    config = parse(f"{flags} --load_data_from {tmp_path}/d --load_vocab {tmp_path}/v.json".split())
    loaded = episodes_of(config)
    assert loaded.vocab_size == len(tokens) + 1 < encoder.vocab_size
    for condition in every_condition(config):
        ours, read = encoder.episodes(*condition), loaded.episodes(*condition)
        assert [encoder.text(row) for row in ours.context] == [loaded.text(row) for row in read.context]
    loaded.examples(loaded.episodes(*next(every_condition(config))))  # an ablation knows the study items
    (tmp_path / "v.json").write_text(
        json.dumps({token: i for i, token in enumerate(tokens) if token != "<mask>"}), encoding="utf-8"
    )
    flags = f"{flags} --load_data_from {tmp_path}/d --load_vocab {tmp_path}/v.json --out_dir {tmp_path}/job"
    assert f"--load_vocab {tmp_path}/v.json: lacks the token '<mask>'" in refused(capsys, flags)


def used_ids(episodes):
    return {int(i) for part in (episodes.context, episodes.queries, episodes.answers) for i in part.ravel()}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny job of a vocabulary and episodes from files, and these files."""
    folder = tmp_path_factory.mktemp("base")
    config = parse(JOB.split())
    plain = Encoder(config, make_task(config))
    write(folder / "data", config, plain)
    vocabulary = {token: 2 * i + 1 for i, token in enumerate(plain.vocabulary)}
    (folder / "v.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    flags = f"{JOB} --load_vocab {folder}/v.json --load_data_from {folder}/data"
    assert main.main(f"{flags} --out_dir {folder}/job".split()) == 0
    return folder, flags, vocabulary


@pytest.fixture
def changed(base, tmp_path):
    """The base's files are restored afterwards."""
    folder, *_ = base
    shutil.copytree(folder, tmp_path / "before")
    yield
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "before", folder)


def permuted(vocabulary):
    return dict(zip(vocabulary, reversed(vocabulary.values()), strict=True))


def swap_episodes(folder):
    path = folder / "data" / "test_unrotated_blocked.jsonl"
    one, two = path.read_text(encoding="utf-8").splitlines()
    path.write_text(f"{two}\n{one}\n", encoding="utf-8")


def test_a_bases_token_ids_are_those_of_its_weights(base, changed, tmp_path, capsys):
    folder, _, vocabulary = base
    flags = f"--load_model_from {folder}/job --n_epochs 0 --out_dir {tmp_path}/next"
    before = episodes_of(parse(flags.split()))
    for content in (json.dumps(permuted(vocabulary)), "{", None):
        (folder / "v.json").unlink(missing_ok=True)
        if content is not None:
            (folder / "v.json").write_text(content, encoding="utf-8")
        now = episodes_of(parse(flags.split()))
        assert now.vocabulary == before.vocabulary == vocabulary
        for condition in file_names(parse(flags.split())).values():
            if condition[0] == "test":
                assert_equal(now.episodes(0, *condition), before.episodes(0, *condition))
        passed = refused(capsys, f"{flags} --load_vocab {folder}/v.json")
        assert f"--load_vocab {folder}/v.json: has other ids than the base in {folder}/job" in passed
    (folder / "v.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    assert episodes_of(parse(f"{flags} --load_vocab {folder}/v.json".split())).vocabulary == vocabulary


def test_a_bases_episodes_are_those_that_it_held_out(base, changed, tmp_path, capsys):
    folder, *_ = base
    swap_episodes(folder)
    said = refused(capsys, f"--load_model_from {folder}/job --n_epochs 0 --out_dir {tmp_path}/next")
    assert (
        f"--load_data_from {folder}/data: has changed (0/test/unrotated/blocked) since {folder}/job/checkpoints/model.json" in said
    )


def test_a_weight_file_with_other_token_ids(base, tmp_path, capsys):
    """Beside a job's weight file lies what its ids are; flags of as many ids in another order are refused."""
    folder, flags, vocabulary = base
    (tmp_path / "v.json").write_text(json.dumps(permuted(vocabulary)), encoding="utf-8")
    weights = f"--load_model_from {folder}/job/checkpoints/best_seed0.safetensors --n_epochs 0 --out_dir {tmp_path}/next"
    assert "has other ids for the tokens of these flags" in refused(capsys, f"{flags} --load_vocab {tmp_path}/v.json {weights}")
    assert episodes_of(parse(f"{flags} {weights}".split())).vocabulary == vocabulary


@pytest.mark.parametrize("finished", [True, False])
def test_files_that_change_before_a_job_is_resumed(base, changed, tmp_path, capsys, finished):
    folder, flags, vocabulary = base
    if not finished:
        (folder / "job" / "summary.json").unlink()
    before = tree(folder / "job")
    (folder / "v.json").write_text(json.dumps(permuted(vocabulary)), encoding="utf-8")
    said = refused(capsys, f"{flags} --out_dir {folder}/job --save_vocab {tmp_path}/saved.json")
    assert f"--load_vocab {folder}/v.json: the vocabulary has changed since the job in {folder}/job began" in said
    (folder / "v.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    swap_episodes(folder)
    said = refused(capsys, f"{flags} --out_dir {folder}/job --save_data_to {tmp_path}/saved")
    assert f"--load_data_from {folder}/data: 0/test/unrotated/blocked has changed since the job in {folder}/job began" in said
    assert tree(folder / "job") == before
    assert not [path for path in os.listdir(tmp_path) if path.startswith("saved")]


def test_what_is_recorded_is_read(base):
    folder, flags, _ = base
    encoder = episodes_of(parse(flags.split()))
    found = recorded(folder / "job" / "checkpoints" / "model.json")
    assert (found.vocabulary, found.episodes) == tuple(to_record(encoder).values())
    assert len(found.episodes) == 2 + 8  # metalearning, validation, and tests


def test_the_tables_of_such_a_job_are_whole(base):
    """The flags do not say then how many updates an epoch has."""
    sweep = load(base[0] / "job")
    for table in ("pretrain_accuracy", "pretrain_loss", "finetune_accuracy", "finetune_loss"):
        assert len(sweep.table(table))
