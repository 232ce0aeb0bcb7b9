"""English of docstrings and of --help: how a docstring begins, and the length of a sentence."""

import ast
import dataclasses
import re
from collections.abc import Iterator

from flags.config import Config
from tests.program import ROOT

# A docstring begins with a verb or a noun, never with one of these.
FORBIDDEN = re.compile(
    r"(?:The same|As|At|By|For|From|Here|How|If|In|It|Its|Like|Of|On|So|That|There|These|This|Those|To|What|When|Where|Whether"
    r"|Which|Who|Whose|Why|With)(?![\w-])"
)
LONGEST_SENTENCE = 25  # words


def nodes() -> Iterator[tuple[str, ast.AST]]:
    """Yield the syntax of the program, each node with its file and line; tests are exempt."""
    folders = (path for path in ROOT.glob("[a-z]*/") if path.name not in ("tests", "results"))
    for path in [*ROOT.glob("*.py"), *(path for folder in folders for path in folder.rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", node


def test_docstrings_begin_with_a_verb_or_a_noun():
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    found = {(place, type(node)): ast.get_docstring(node) for place, node in nodes() if isinstance(node, documented)}
    found = {place: text for place, text in found.items() if text}
    assert len(found) > 900
    assert {place: text for place, text in found.items() if FORBIDDEN.match(text) or not text[0].isupper()} == {}


def test_words_that_a_docstring_may_not_begin_with():
    bad = ("What it is.", "Whether it is.", "The same, with noise.", "In how many ways.")
    good = ("Return what it is.", "The samples.", "In-context learning.", "Attention.", "Items.", "Format of an item.")
    assert all(map(FORBIDDEN.match, bad))
    assert not any(map(FORBIDDEN.match, good))


def test_sentences_of_help_are_short():
    helps = [(f"--{field.name}", field.metadata["help"]) for field in dataclasses.fields(Config)]
    calls = ((place, node) for place, node in nodes() if isinstance(node, ast.keyword) and node.arg == "help")
    helps += [(place, node.value.value) for place, node in calls if isinstance(node.value, ast.Constant)]
    assert len(helps) > 100
    sentences = [(flag, sentence) for flag, text in helps for sentence in re.split(r"(?<=[.?!]) ", text)]
    assert [(flag, sentence) for flag, sentence in sentences if len(sentence.split()) > LONGEST_SENTENCE] == []
