"""Episodes that files deliver instead of a task, and what of an Encoder flags have written to files."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import prompts
from data import Encoder, Episodes, subset_names
from episodes import published
from episodes.jsonl import check_layout, file_names, read_records, seed_folder, write
from episodes.record import BadFile, Record
from episodes.vocabulary import read_vocabulary, write_vocabulary
from flags.base import NoBase, find_base
from flags.config import BadInput
from tasks import make_task

if TYPE_CHECKING:
    from flags.config import Config


class LoadedEpisodes(Encoder):
    """An Encoder whose episodes are those of files, ours or the published ones; its task draws others.

    The constructor reads all episodes that the job needs. Raises BadFile for a file that cannot be used.
    """

    def __init__(self, folder: Path, config: Config, encoder: Encoder):
        super().__init__(config, encoder.task, encoder.vocabulary)
        self._first: Record | None = None  # all episodes of all files are alike
        self._episodes: dict[tuple[int, str, str, str], Episodes] = {}
        if not os.path.isdir(folder):  # also where the path cannot be looked at
            raise BadFile(folder, "is not a folder")
        check_layout(folder, config)
        for seed in config.seeds:
            for name, (split, rotation, curriculum, _) in file_names(config).items():
                if split == "metalearning" and not config.n_epochs:
                    continue
                records = self._read(seed_folder(folder, config, seed), name, (split, rotation, curriculum))
                self._episodes[seed, split, rotation, curriculum] = self._encode(records)

    def of(self, config: Config) -> LoadedEpisodes:
        """Return these episodes: no flag changes what files hold."""
        return self

    def n_episodes(self, split: str) -> int:
        """Episodes of a split: the fewest of any seed and condition."""
        return min((len(e) for (_, of, *_), e in self._episodes.items() if of == split), default=0)

    def episodes(self, seed: int, split: str, rotation: str, curriculum: str, n: int) -> Episodes:
        """Return the first n episodes of a condition of a split. Raises ValueError if the files hold fewer."""
        return self._episodes[seed, split, rotation, curriculum].first(n)

    def digests(self) -> dict[str, str]:
        """A SHA-256 of the episodes of each seed and condition, by "seed/split/rotation/curriculum"."""
        return {"/".join(map(str, key)): _digest(episodes) for key, episodes in sorted(self._episodes.items())}

    def sequence_length(self, seed: int) -> int:
        """Return the tokens of a context and one query: the same for every episode."""
        example = self._episodes[seed, "validation", *self._config.condition]
        return example.context.shape[1] + example.queries.shape[2]

    def item_length(self, seed: int) -> int:
        """Tokens of an item with its answer, as the context has them, beside its separator."""
        example = self._episodes[seed, "validation", *self._config.condition]
        n_study = int((example.subset[0] < self.task.n_groups).sum())
        return example.context.shape[1] // n_study - 1

    def _read(self, folder: Path, name: str, condition: tuple[str, str, str]) -> list[Record]:
        split, rotation, curriculum = condition
        if not published.is_published(folder):
            return read_records(folder / name, dict(zip(("split", "rotation", "curriculum"), condition, strict=True)))
        separator = prompts.SEPARATORS[self._config.sep_id]
        if split == "test":
            of_condition = folder / f"finetune_{rotation}_{curriculum}"
            folders = (of_condition / f"episode{i}" for i in range(self._config.n_test))
            return [published.read_finetuning(f, separator, self.task.n_groups) for f in folders]
        prefix = folder / ("pretrain" if split == "metalearning" else "pretest")
        return published.read_shuffled(prefix, separator, self.task.n_groups)

    def _encode(self, records: list[Record]) -> Episodes:
        """Records as token ids; they must share one shape, and every token must be in the vocabulary."""
        subsets = subset_names(self.task.n_groups)
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
        context, asked, right = (np.array(part, dtype=self.dtype) for part in (contexts, queries, answers))
        return Episodes(context, asked, right, np.array(subset, dtype=np.int8), subsets)


def _shape(record: Record) -> tuple:
    lengths = {(len(cue), len(answer)) for cue, answer, _ in record.items}
    return len(record.context), Counter(subset for *_, subset in record.items), lengths


def _digest(episodes: Episodes) -> str:
    digest = hashlib.sha256(str(episodes.context.shape).encode())
    for part in (episodes.context, episodes.queries, episodes.answers, episodes.subset):
        digest.update(np.ascontiguousarray(part, dtype=np.int64).data)
    return digest.hexdigest()


def episodes_of(config: Config) -> Encoder:
    """Return the source of episodes: made from the flags, or read from files. A base that is loaded gives
    the token ids, which its weights belong to."""
    base = _of_base(config)
    taken_over = base if config.base_seeds else None
    try:
        of_file = read_vocabulary(Path(config.load_vocab)) if config.load_vocab and not taken_over else None
        encoder = Encoder(config, make_task(config), taken_over.vocabulary if taken_over else of_file)
        if not encoder.causal and prompts.MASK not in encoder.vocabulary:
            raise KeyError(prompts.MASK)
    except BadFile as error:
        raise BadInput("load_vocab", config.load_vocab, str(error)) from None
    except KeyError as error:
        if taken_over:
            raise BadInput("load_model_from", config.load_model_from, f"its vocabulary lacks the token {error}") from None
        raise BadInput("load_vocab", config.load_vocab, f"lacks the token {error}, which the flags' episodes have") from None
    if base is not None and encoder.vocab_size == max(base.vocabulary.values()) + 1 and encoder.vocabulary != base.vocabulary:
        what = f"{base.path} has other ids for the tokens of these flags; pass the flags of that job, or name its folder"
        raise BadInput("load_model_from", config.load_model_from, what)
    if not config.load_data_from:
        return encoder
    try:
        loaded = LoadedEpisodes(Path(config.load_data_from), config, encoder)
    except BadFile as error:
        raise BadInput("load_data_from", config.load_data_from, str(error)) from None
    if taken_over and (changed := _changed(loaded.digests(), taken_over.episodes)):
        raise BadInput("load_data_from", config.load_data_from, f"has changed ({changed}) since {taken_over.path} was written")
    return loaded


@dataclass(frozen=True)
class _Recorded:
    """A job's record of its episodes in model.json: token → id, and digests of those that files delivered."""

    path: Path
    vocabulary: dict[str, int]
    episodes: dict[str, str]


def recorded(path: Path) -> _Recorded | None:
    """Return what a model.json says of the episodes; None without such a file. Raises BadFile for a damaged one."""
    if not path.exists():
        return None
    vocabulary = read_vocabulary(path, key="vocabulary")
    episodes = json.loads(path.read_text(encoding="utf-8")).get("episodes")
    return _Recorded(path, vocabulary, episodes if isinstance(episodes, dict) else {})


def to_record(encoder: Encoder) -> dict[str, Any]:
    """Return what a job records of its episodes, for `recorded`."""
    episodes = {"episodes": encoder.digests()} if isinstance(encoder, LoadedEpisodes) else {}
    return {"vocabulary": encoder.vocabulary, **episodes}


def _of_base(config: Config) -> _Recorded | None:
    """Return what the job recorded whose weights --load_model_from names, if it did. Files that the base was told to read may have
    changed since."""
    if not config.load_model_from:
        return None
    try:
        base = find_base(Path(config.load_model_from), config.base_seed, config.n_runs)
        of_jobs = [weights.with_name("model.json") for weights in base.weights if weights.parent.name == "checkpoints"]
        found = [of for path in of_jobs if (of := recorded(path))]
    except (NoBase, BadFile) as error:
        raise BadInput("load_model_from", config.load_model_from, str(error)) from None
    for other in found[1:]:
        if other.vocabulary != found[0].vocabulary:
            why = f"has seeds of different vocabularies, {found[0].path} and {other.path}; choose one with --base_seed"
            raise BadInput("load_model_from", config.load_model_from, why)
    return found[0] if found else None


def check_unchanged(config: Config, encoder: Encoder) -> None:
    """Raise BadInput if the job in the folder was begun with other token ids or episodes: a file has changed that flags name."""
    read = (config.load_vocab, config.load_data_from, config.load_model_from)
    if config.overwrite or not config.resume or not any(read):
        return
    begun = config.folder / "checkpoints" / "model.json"
    try:
        before = recorded(begun)
    except BadFile as error:
        raise BadInput("out_dir", config.out_dir, f"{error}; pass --no_resume to start anew") from None
    if before is None:
        return
    remedy = f"has changed since the job in {config.out_dir} began; restore it, or name another --out_dir"
    if before.vocabulary != encoder.vocabulary:
        flag = "load_vocab" if config.load_vocab else "load_model_from"
        raise BadInput(flag, getattr(config, flag), f"the vocabulary {remedy}")
    if isinstance(encoder, LoadedEpisodes) and (changed := _changed(encoder.digests(), before.episodes)):
        raise BadInput("load_data_from", config.load_data_from, f"{changed} {remedy}")


def _changed(found: dict[str, str], before: dict[str, str]) -> str:
    """The first condition of both whose episodes differ, as "seed/split/rotation/curriculum"; empty if none does."""
    return next((key for key in found if before.get(key, found[key]) != found[key]), "")


def save_files(config: Config, encoder: Encoder) -> None:
    """Write the vocabulary and the episodes, where flags say so."""
    for flag, path, save in (
        ("save_vocab", config.save_vocab, lambda path: write_vocabulary(path, encoder.vocabulary)),
        ("save_data_to", config.save_data_to, lambda path: write(path, config, encoder)),
    ):
        try:
            if path:
                save(Path(path))
        except BadFile as error:
            raise BadInput(flag, path, str(error)) from None
        except OSError as error:
            raise BadInput(flag, path, f"cannot be written to ({error.strerror or error})") from None
