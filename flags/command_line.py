"""The command line: flags as people type them, to a `Config`."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import sys
import types
import typing
from typing import Any

from flags.bounds import fault, is_utf8
from flags.config import DERIVED, BadInput, Config
from flags.resolve import resolve
from flags.start import base_of, check_vocabulary, with_default


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> typing.NoReturn:
        self.exit(2, f"main.py: error: {message} (see main.py --help)\n")


def parse(argv: list[str]) -> Config:
    """Return the configuration that a command line asks for, with what it has from a base.

    Raises BadInput, or leaves with status 2, for a wrong one.
    """
    passed = with_default(read(argv))
    base = base_of(passed)
    config = resolve(passed, base)
    check_vocabulary(passed, base)
    return config


def read(argv: list[str]) -> dict[str, Any]:
    """Return the flags that a command line passes, by name. Of each alone it is known that its value can be."""
    parser = _Parser(
        prog="main.py",
        description="In-context and in-weight learning in one transformer. Without any flag: --preset demo.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=110),
    )
    kinds = typing.get_type_hints(Config)
    sections: dict[str, Any] = {}
    for field in dataclasses.fields(Config):
        meta = field.metadata
        if meta["heading"] == DERIVED:
            continue
        if meta["heading"] not in sections:
            sections[meta["heading"]] = parser.add_argument_group(meta["heading"])
        section = sections[meta["heading"]]
        names = [f"--{name}" for name in (field.name, *meta["aliases"])]
        kind = _plain(kinds[field.name])
        if kind is bool:
            section.add_argument(f"--{field.name}", action="store_true", help=meta["help"])
            section.add_argument(f"--no_{field.name}", action="store_false", dest=field.name, help=argparse.SUPPRESS)
        else:
            choices = (
                f" ({', '.join(map(str, meta['choices']))})"
                if meta["choices"]
                else f" [{field.default}]"
                if field.default is not None
                else ""
            )
            section.add_argument(
                *names, dest=field.name, type=_reader(field, kind), metavar=kind.__name__, help=meta["help"] + choices
            )
    _ask_for_task(argv)
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        options = list(parser._option_string_actions)
        near = difflib.get_close_matches(unknown[0].split("=")[0], options, n=1)
        word = unknown[0] if unknown[0].startswith("-") else "-"
        if word == "-":
            raise BadInput("-", "", f"{unknown[0]} belongs to no flag; flags begin with --")
        raise BadInput(word, "", f"unknown flag{f'; did you mean {near[0]}?' if near else ''}")
    if "dropout_p" in known:
        print("main.py: --dropout_p is accepted and does nothing: no dropout acted in the published runs", file=sys.stderr)
    return vars(known)


def _ask_for_task(argv: list[str]) -> None:
    """Import an outside task before other flags are read: it decides which context curricula exist."""
    first = _Parser(allow_abbrev=False, add_help=False)
    task = next(field for field in dataclasses.fields(Config) if field.name == "task")
    first.add_argument("--task", type=_reader(task, str))
    first.parse_known_args(argv)


def _plain(kind: Any) -> type:
    """Return the type without None: int for int and for int | None."""
    if isinstance(kind, types.UnionType):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    return kind


def _reader(field: dataclasses.Field, kind: type) -> Any:
    """Return a function that reads and checks a value of one flag."""

    def read(text: str) -> Any:
        words = {int: "a whole number", float: "a number", str: "text"}[kind]
        try:
            value = kind(text)
        except ValueError:
            raise BadInput(field.name, text, f"must be {words}") from None
        if kind is str and not is_utf8(text):
            raise BadInput(field.name, ascii(text)[1:-1], "is not UTF-8; use another name")
        if wrong := fault(field, value):
            raise BadInput(field.name, text, wrong)
        return value

    return read
