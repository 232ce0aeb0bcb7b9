"""The lists of packages: what is imported is listed, and what is listed is pinned once."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import combinations
from pathlib import Path

import pytest

from tests.program import ROOT

LISTS = ("requirements", "requirements-test", "requirements-llm")
OF_TYPES = {"_typeshed"}  # there for mypy alone, which brings it
OF_LLM_TESTS = {"xllamacpp", "lm_eval"}  # tests/pretrained/requirements.txt


def listed(name: str) -> set[str]:
    """The packages that a .in file names."""
    lines = (ROOT / f"{name}.in").read_text(encoding="utf-8").splitlines()
    return {re.split(r"[=<> #]", line)[0] for line in lines if line and line[0].isalpha()}


def pinned(name: str) -> dict[str, str]:
    """Package → version of a compiled file."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / f"{name}.txt").read_text(encoding="utf-8"), re.MULTILINE))


def imported(paths: list[Path]) -> set[str]:
    """The packages that files import, by the names that pip has for them; our own modules and Python's are none."""
    own = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    modules = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module.partition(".")[0])
    of = packages_distributions()
    return {of.get(module, [module])[0].lower() for module in modules - own - OF_TYPES - set(sys.stdlib_module_names)}


def files(*, of_tests: bool) -> list[Path]:
    ours = [path for path in ROOT.rglob("*.py") if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)]
    return [path for path in ours if (path.relative_to(ROOT).parts[0] in ("tests", "benchmarks")) == of_tests]


def test_what_the_program_imports_is_listed():
    found = imported(files(of_tests=False))
    assert {"torch", "transformers", "pandas", "statsmodels"} <= found
    assert found - listed("requirements-llm") <= listed("requirements")


def test_what_the_tests_import_is_listed():
    found = imported(files(of_tests=True))
    assert {"pytest", "hypothesis", "nbclient"} <= found
    assert found - OF_LLM_TESTS - listed("requirements") <= listed("requirements-test")


@pytest.mark.parametrize("name", LISTS)
def test_what_is_listed_is_pinned(name):
    assert listed(name)
    assert listed(name) <= pinned(name).keys()


def test_no_two_files_pin_different_versions():
    for one, other in combinations(map(pinned, LISTS), 2):
        assert one.keys() & other.keys()
        assert {package: one[package] for package in one.keys() & other.keys()}.items() <= other.items()


def test_the_linter_at_a_commit_is_the_pinned_one():
    versions = re.findall(r"ruff==([\d.]+)", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert set(versions) == {pinned("requirements-test")["ruff"]}


def test_the_project_takes_its_packages_from_the_list():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "dependencies" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"]["file"] == ["requirements.in"]
