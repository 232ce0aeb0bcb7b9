"""Episodes on disk: one readable JSON line an episode. Nothing needs them, as data are a function of the flags; they are
for reading, for other programs, and for carrying on from data that exist."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import prompts
from data import Encoder, Episodes, subset_names
from tasks.task import CURRICULA, ROTATIONS

if TYPE_CHECKING:
    from flags.config import Config


class BadFile(Exception):
    """A file that cannot be used: which, at which line, and why."""

    def __init__(self, where: object, why: str):
        super().__init__(f"{where} {why}")


@dataclass(frozen=True)
class Record:
    """An episode as tokens: its context, and (cue, answer, subset) of each query. `where` names it in messages."""

    where: str
    context: list[str]
    items: list[tuple[list[str], list[str], str]]


def file_names(config: Config) -> dict[str, tuple[str, str, str, int]]:
    """The files of a seed: name → split, rotation, context curriculum and number of episodes."""
    names = {
        "metalearning.jsonl": ("metalearning", config.pt_rot_cond, config.pt_cond, config.n_train),
        "validation.jsonl": ("validation", config.pt_rot_cond, config.pt_cond, config.n_val),
    }
    for rotation in ROTATIONS:
        for curriculum in CURRICULA[config.task]:
            names[f"test_{rotation}_{curriculum}.jsonl"] = ("test", rotation, curriculum, config.n_test)
    return names


HIGHEST_ID = 10**6  # of a token: the model has a row of weights for each id


def seed_folder(folder: Path, config: Config, seed: int) -> Path:
    """Where a seed's files lie: the folder itself for a single seed, if it has none for each."""
    of_seed = folder / f"seed_{seed}"
    return folder if config.n_runs == 1 and not of_seed.is_dir() else of_seed


def write(folder: Path, config: Config, encoder: Encoder) -> None:
    """Write all episodes of all seeds. Files that are there with the same content are kept; raises BadFile, before
    anything is written, if one has another content."""
    new = {}
    for seed in config.seeds:
        for name, condition in file_names(config).items():
            path = seed_folder(folder, config, seed) / name
            content = "".join(_lines(encoder, encoder.episodes(seed, *condition), condition[:3]))
            if not path.exists():
                new[path] = content
            elif path.read_text() != content:
                raise BadFile(path, "exists with other episodes; name another folder")
    for path, content in new.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def write_vocabulary(path: Path, vocabulary: dict[str, int]) -> None:
    """Write token → id; a file that is there with another content is a BadFile."""
    if path.exists() and read_vocabulary(path) != vocabulary:
        raise BadFile(path, "exists with another vocabulary; name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(vocabulary, ensure_ascii=False, indent=0) + "\n")


def read_vocabulary(path: Path) -> dict[str, int]:
    """Token → id, as written by us or by the published code. Raises BadFile if it is not that."""
    try:
        vocabulary = json.loads(path.read_text())
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})") from None
    except ValueError:
        raise BadFile(path, "is not JSON") from None
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else []
    if not ids or any(type(i) is not int or not 0 <= i < HIGHEST_ID for i in ids) or len(set(ids)) < len(ids):
        raise BadFile(path, "is not a vocabulary: a JSON object of tokens, each with an id of its own")
    return vocabulary


def _lines(encoder: Encoder, episodes: Episodes, condition: tuple[str, str, str]) -> Iterator[str]:
    tokens = np.full(encoder.vocab_size, "", dtype=object)
    tokens[list(encoder.vocabulary.values())] = list(encoder.vocabulary)
    n_answer = episodes.answers.shape[2]
    about = dict(zip(("split", "rotation", "curriculum"), condition, strict=True))
    for i in range(len(episodes)):
        items = [
            [" ".join(tokens[query[:-n_answer]]), " ".join(tokens[answer]), episodes.subsets[subset]]
            for query, answer, subset in zip(episodes.queries[i], episodes.answers[i], episodes.subset[i], strict=True)
        ]
        line = {**about, "episode": i, "context": " ".join(tokens[episodes.context[i]]), "items": items}
        yield json.dumps(line, ensure_ascii=False) + "\n"


class LoadedEpisodes:
    """Stands in for an Encoder: the same episodes, from files, ours or the published ones.

    Everything that the job will need is read when this is made. Raises BadFile for what cannot be used.
    """

    def __init__(self, folder: Path, config: Config, encoder: Encoder):
        self.vocabulary, self.causal, self.vocab_size = encoder.vocabulary, encoder.causal, encoder.vocab_size
        self.text, self.examples, self.dtype = encoder.text, encoder.examples, encoder.dtype
        self._config, self._n_groups = config, encoder.task.n_groups
        self._first: Record | None = None  # all episodes of all files are alike
        self._episodes: dict[tuple[int, str, str, str], Episodes] = {}
        if not folder.is_dir():
            raise BadFile(folder, "is not a folder")
        for seed in config.seeds:
            for name, (split, rotation, curriculum, _) in file_names(config).items():
                if split == "metalearning" and not config.n_epochs:
                    continue
                records = self._read(seed_folder(folder, config, seed), name, (split, rotation, curriculum))
                self._episodes[seed, split, rotation, curriculum] = self._encode(records)

    def n_episodes(self, split: str) -> int:
        """Episodes of a split: the fewest of any seed and condition."""
        return min((len(e) for (_, of, *_), e in self._episodes.items() if of == split), default=0)

    def episodes(self, seed: int, split: str, rotation: str, curriculum: str, n: int) -> Episodes:
        return self._episodes[seed, split, rotation, curriculum].first(n)

    def sequence_length(self, seed: int) -> int:
        example = self._episodes[seed, "validation", self._config.pt_rot_cond, self._config.pt_cond]
        return example.context.shape[1] + example.queries.shape[2]

    def _read(self, folder: Path, name: str, condition: tuple[str, str, str]) -> list[Record]:
        import published_files

        split, rotation, curriculum = condition
        if not published_files.is_published(folder):
            return read_records(folder / name, dict(zip(("split", "rotation", "curriculum"), condition, strict=True)))
        separator = prompts.SEPARATORS[self._config.sep_id]
        if split == "test":
            of_condition = folder / f"finetune_{rotation}_{curriculum}"
            folders = (of_condition / f"episode{i}" for i in range(self._config.n_test))
            return [published_files.read_finetuning(f, separator, self._n_groups) for f in folders]
        prefix = folder / ("pretrain" if split == "metalearning" else "pretest")
        return published_files.read_shuffled(prefix, separator, self._n_groups)

    def _encode(self, records: list[Record]) -> Episodes:
        """Records as token ids; they must share one shape, and every token must be in the vocabulary."""
        subsets = subset_names(self._n_groups)
        contexts, queries, answers, subset = [], [], [], []
        for record in records:
            try:
                contexts.append([self.vocabulary[token] for token in record.context])
                answers.append([[self.vocabulary[token] for token in answer] for _, answer, _ in record.items])
                hidden = [a if self.causal else [self.vocabulary[prompts.MASK]] * len(a) for a in answers[-1]]
                cues = [[self.vocabulary[token] for token in cue] for cue, _, _ in record.items]
                queries.append([cue + end for cue, end in zip(cues, hidden, strict=True)])
                subset.append([subsets.index(name) for _, _, name in record.items])
            except KeyError as error:
                raise BadFile(record.where, f"has the token {error} that the vocabulary lacks; pass --load_vocab") from None
            except ValueError:
                raise BadFile(record.where, f"has a subset that is none of {', '.join(subsets)}") from None
            self._first = self._first or record
            if _shape(record) != _shape(self._first):
                raise BadFile(record.where, f"has other lengths, or groups of other sizes, than {self._first.where}")
            if len(_shape(record)[2]) != 1 or {name for *_, name in record.items} != set(subsets):
                raise BadFile(record.where, f"must have items of one length, and some of each of {', '.join(subsets)}")
        arrays = (np.array(part, dtype=self.dtype) for part in (contexts, queries, answers))
        return Episodes(*arrays, np.array(subset, dtype=np.int8), subsets)


def _shape(record: Record) -> tuple:
    lengths = {(len(cue), len(answer)) for cue, answer, _ in record.items}
    return len(record.context), Counter(subset for *_, subset in record.items), lengths


def read_records(path: Path, about: dict[str, str]) -> list[Record]:
    """The episodes of one of our files; `about` is what each line must say of split, rotation and curriculum."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise BadFile(path, "is missing") from None
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadFile(path, "is not text") from None
    if not lines:
        raise BadFile(path, "is empty")
    return [_record(f"{path}:{i + 1}", line, about) for i, line in enumerate(lines)]


def _record(where: str, line: str, about: dict[str, str]) -> Record:
    try:
        content: dict[str, Any] = json.loads(line)
        items = [(cue.split(" "), answer.split(" "), subset) for cue, answer, subset in content["items"]]
        record = Record(where, content["context"].split(" "), items)
        found = {key: content[key] for key in about}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadFile(where, "is not an episode (a JSON object with context and items)") from None
    for key, value in found.items():
        if value != about[key]:
            raise BadFile(where, f"is of {key} {value}, not {about[key]}")
    return record
