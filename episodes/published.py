"""Reads the data folders of the published code: triples of `.src`, `.tgt` and `.info.json`, a line a query.

A source line is a whole sequence, context and query; a target line the colon and the answer. Line i of both texts and
element i of the JSON array belong together, lines of all episodes are shuffled.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from data import group_names
from episodes.record import BadFile, Record

Item = tuple[tuple[str, ...], tuple[str, ...], bool]  # cue, answer, whether it is a study item


@dataclass(frozen=True)
class Line:
    """One query, as the files hold it."""

    where: str
    sequence: tuple[str, ...]
    answer: tuple[str, ...]
    is_study: bool


def is_published(folder: Path) -> bool:
    """Return True for a data folder of the published code."""
    return (folder / "pretrain.src").exists() or (folder / "pretest.src").exists() or any(folder.glob("finetune_*/episode0"))


def has_files(folder: Path) -> bool:
    """Return True if the folder holds any file of a published data folder, also of an incomplete one."""
    ends = (".src", ".tgt", ".info.json")
    triples = (folder / f"{name}{end}" for name in ("pretrain", "pretest") for end in ends)
    return any(path.exists() for path in triples) or any(folder.glob("finetune_*/episode*"))


def read_shuffled(prefix: Path, separator: str, n_groups: int) -> list[Record]:
    """Return the episodes of `pretrain` or `pretest`.

    The files do not name a study item's group. In the grid task (answers of two tokens) the position in the context gives it, in
    the category task the label, in order of name.
    """
    episodes: dict[int, list[Line]] = defaultdict(list)
    for line, info in _read_triple(prefix):
        episodes[info["episode_id"]].append(line)
    records = []
    for number in sorted(episodes):
        context, items = _split(episodes[number], separator)
        labels = sorted({answer for _, answer, _ in items})
        n_study = sum(is_study for *_, is_study in items)
        first = -(-n_study // n_groups)
        group_of = [k // first if len(answer) == 2 else labels.index(answer) for k, (_, answer, _) in enumerate(items)]
        records.append(_record(episodes[number][0].where, context, items, group_of, n_groups))
    return records


def read_finetuning(folder: Path, separator: str, n_groups: int) -> Record:
    """One episode of a `finetune_ROTATION_CURRICULUM` folder; its groups are those of the per-group files."""
    lines = [line for name in ("train_all", "test_all") for line, _ in _read_triple(folder / name, is_study=name == "train_all")]
    context, items = _split(lines, separator)
    numbers = {}
    for number, letter in enumerate(group_names(n_groups)):
        names = [name for name in (f"train{letter}", f"train{number}") if (folder / f"{name}.src").exists()]
        if not names:
            raise BadFile(folder, f"has neither train{letter}.src nor train{number}.src")
        for line, _ in _read_triple(folder / names[0], is_study=True):
            numbers[line.sequence[len(context) : -len(line.answer)]] = number
    missing = [cue for cue, _, is_study in items if is_study and cue not in numbers]
    if missing:
        raise BadFile(folder / "train_all.src", f"holds {' '.join(missing[0])!r}, which is in no group's file")
    return _record(str(folder), context, items, [numbers.get(cue, 0) for cue, *_ in items], n_groups)


def _record(where: str, context: tuple[str, ...], items: list[Item], group_of: list[int], n_groups: int) -> Record:
    names = group_names(n_groups)
    subsets = [f"study_{names[group]}" if is_study else "novel" for (*_, is_study), group in zip(items, group_of, strict=True)]
    return Record(where, list(context), [(list(cue), list(answer), s) for (cue, answer, _), s in zip(items, subsets, strict=True)])


def _split(lines: list[Line], separator: str) -> tuple[tuple[str, ...], list[Item]]:
    """Return the context of an episode, and (cue, answer, is_study) of each query.

    All sequences begin with the context; it ends with their last shared separator. Queries: study items in the order of the
    context, then novel ones in the order of the file.
    """
    shared = 0
    sequences = [line.sequence for line in lines]
    while all(len(s) > shared and s[shared] == sequences[0][shared] for s in sequences):
        shared += 1
    ends = [i for i in range(shared) if sequences[0][i] == separator]
    if not ends or len(lines) < 2:
        raise BadFile(lines[0].where, f"has no context that ends in the separator {separator!r}; is --sep_id right?")
    context = sequences[0][: ends[-1] + 1]
    items = []
    for line in lines:
        cue = line.sequence[len(context) : -len(line.answer)]
        items.append((_place(context, cue, line) if line.is_study else len(context), cue, line.answer, line.is_study))
    items.sort(key=lambda item: item[0])
    return context, [item[1:] for item in items]


def _place(context: tuple[str, ...], cue: tuple[str, ...], line: Line) -> int:
    """Return where a study item begins in the context; a test preface in front of the cue is passed over."""
    for skip in range(len(cue)):
        shown = (*cue[skip:], *line.answer)
        for start in range(len(context) - len(shown) + 1):
            if context[start : start + len(shown)] == shown:
                return start
    raise BadFile(line.where, "is a study item that its context lacks")


def _read_triple(prefix: Path, is_study: bool | None = None) -> list[tuple[Line, dict]]:
    """The lines of one triple; whether an item is a study item is said by `split`, unless the caller knows."""
    source, target, info = (prefix.parent / f"{prefix.name}{end}" for end in (".src", ".tgt", ".info.json"))
    try:
        sources, targets = (path.read_text(encoding="utf-8").splitlines() for path in (source, target))
        infos = json.loads(info.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadFile(error.filename, "is missing") from None
    except OSError as error:
        raise BadFile(error.filename, f"cannot be read ({error.strerror})") from None
    except ValueError:
        raise BadFile(info, "is not a JSON array") from None
    if not isinstance(infos, list):
        raise BadFile(info, "is not a JSON array")
    if not sources or not len(sources) == len(targets) == len(infos):
        raise BadFile(source, f"has {len(sources)} lines, its .tgt {len(targets)}, its .info.json {len(infos)}")
    lines = []
    for i, (text, answer, about) in enumerate(zip(sources, targets, infos, strict=True)):
        where = f"{source}:{i + 1}"
        tokens = answer.split(" ")
        if tokens[0] != ":" or len(tokens) < 2 or not isinstance(about, dict) or not isinstance(about.get("episode_id"), int):
            raise BadFile(where, "does not belong to a target like ': label_0' and an info with an episode_id")
        study = about.get("split") == "train" if is_study is None else is_study
        lines.append((Line(where, tuple(text.replace("\\n", "\n").split(" ")), tuple(tokens[1:]), study), about))
    return lines
