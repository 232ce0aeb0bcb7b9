"""Episodes that files deliver instead of an Encoder, and what of an Encoder flags have written to files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import prompts
from data import Encoder, Episodes, subset_names
from episodes import published
from episodes.jsonl import file_names, read_records, seed_folder, write
from episodes.record import BadFile, Record
from episodes.vocabulary import read_vocabulary, write_vocabulary
from flags.config import BadInput
from tasks import make_task

if TYPE_CHECKING:
    from flags.config import Config


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
        split, rotation, curriculum = condition
        if not published.is_published(folder):
            return read_records(folder / name, dict(zip(("split", "rotation", "curriculum"), condition, strict=True)))
        separator = prompts.SEPARATORS[self._config.sep_id]
        if split == "test":
            of_condition = folder / f"finetune_{rotation}_{curriculum}"
            folders = (of_condition / f"episode{i}" for i in range(self._config.n_test))
            return [published.read_finetuning(f, separator, self._n_groups) for f in folders]
        prefix = folder / ("pretrain" if split == "metalearning" else "pretest")
        return published.read_shuffled(prefix, separator, self._n_groups)

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


def episodes_of(config: Config) -> Encoder:
    """Where episodes come from: made from the flags, or read from files."""
    try:
        vocabulary = read_vocabulary(Path(config.load_vocab)) if config.load_vocab else None
        encoder = Encoder(config, make_task(config), vocabulary)
    except BadFile as error:
        raise BadInput("load_vocab", config.load_vocab, str(error)) from None
    except KeyError as error:
        raise BadInput("load_vocab", config.load_vocab, f"lacks the token {error}, which the flags' episodes have") from None
    if not config.load_data_from:
        return encoder
    try:
        return LoadedEpisodes(Path(config.load_data_from), config, encoder)
    except BadFile as error:
        raise BadInput("load_data_from", config.load_data_from, str(error)) from None


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
