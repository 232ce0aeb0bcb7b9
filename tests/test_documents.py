"""README and docs: links lead somewhere, commands name what exists, and the pages state what the program does."""

import dataclasses
import re
from importlib.util import find_spec

import pytest

from flags import presets
from flags.config import Config
from runs import lock, session, terminal
from tests.program import ROOT

PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGES.md")), *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """The targets of links and pictures that are no addresses of the web."""
    found = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text))
    return [target for target in found if not target.startswith(("http:", "https:"))]


def anchors(text: str) -> set[str]:
    """What headings are linked by, as GitHub makes it: lower case, letters, digits, hyphens, underscores; a hyphen for a blank."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text: str, program: str) -> list[str]:
    """What follows the program's name in code, up to a comment; lines that end with a backslash are joined."""
    code = [*FENCE.findall(text), *re.findall(r"`[^`\n]+`", FENCE.sub("", text))]
    joined = re.sub(r" #.*", "", "\n".join(code).replace("\\\n", " "))
    return re.findall(rf"(?<![\w./]){re.escape(program)}([^\n`;|]*)", joined)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page):
    broken = []
    for target in links(TEXTS[page]):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8"))):
            broken.append(target)
    assert not broken


def test_every_page_of_docs_is_linked_from_the_readme_or_another_page():
    linked = {(page.parent / target.partition("#")[0]).resolve() for page in PAGES for target in links(TEXTS[page])}
    assert not {page for page in PAGES if page.parent == ROOT / "docs"} - linked


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_flags_modules_scripts_and_targets_exist(page):
    fields = [field for field in dataclasses.fields(Config) if field.init]
    flags = {name for field in fields for name in (field.name, f"no_{field.name}", *field.metadata["aliases"])}
    passed = {flag for rest in commands(TEXTS[page], "python main.py") for flag in re.findall(r"(?<=--)\w+", rest)}
    assert passed - {"help"} <= flags
    modules = {rest.split()[0] for rest in commands(TEXTS[page], "python -m ") if rest.split()} - {"zipfile"}
    assert not [name for name in modules if find_spec(name) is None]
    scripts = set(re.findall(r"\b((?:scripts|benchmarks|tests)/\w+\.(?:sh|py))\b", TEXTS[page])) - {"scripts/site.sh"}
    assert not [name for name in scripts if not (ROOT / name).exists()]
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {word for rest in commands(TEXTS[page], "make ") for word in rest.split()[:1]} <= targets


def test_the_readme_is_read_in_minutes():
    assert TEXTS[ROOT / "README.md"].count("\n") <= 150


def rows(page: str, after: str) -> list[list[str]]:
    """The cells of the first table after a text, without its head."""
    lines = TEXTS[ROOT / "docs" / page].partition(after)[2].lstrip("\n").split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith("|---"))
    end = next(i for i, line in enumerate(lines) if i > start and not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 1 : end]]


def test_the_table_of_stages_is_that_of_the_robust_recipe():
    stated, task = {}, ""
    for name, _, study, layers, _, shape, bar, updates in rows("tasks.md", "## Recipes and stages"):
        task = name or task
        n_steps = int(re.match(r"\d+(,\d{3})?", updates)[0].replace(",", ""))
        stated.setdefault(task, []).append((study, layers, shape, bar, n_steps))
    for task in ("category", "grid"):
        last = presets.values("paper", task, "icl_iwl", "robust")
        paper = {"category": {"n_in_context": 32, "n_layers": 4}, "grid": {"n_in_context": 9, "n_layers": 12}}[task]
        expected = []
        for stage in (*presets.stages("paper", task, "robust"), {}):
            values = {**paper, **last, **stage}
            contexts = values["pretrain_bs"] // values["queries_per_episode"]
            bar = f"{stage['bar']:g}".lstrip("0") if stage else ""
            shape = f"{contexts} × {values['queries_per_episode']}"
            expected.append((str(values["n_in_context"]), str(values["n_layers"]), shape, bar, values["pretrain_steps"]))
        assert stated[task] == expected


def test_sizes_recipes_and_statuses_are_as_stated():
    assert presets.DEFAULT_RECIPE == {"demo": "robust", "laptop": "robust"}
    laptop = presets.values("laptop", "category", "icl_iwl", None)
    assert (laptop["n_test"], laptop["n_steps_per_block"], laptop["congruent_only"]) == (4, 500, True)
    demo = presets.values("demo", "category", "icl_iwl", None)
    assert [demo[name] for name in ("n_layers", "n_task_dims", "n_symbols", "n_in_context")] == [2, 120, 4, 8]
    assert demo["n_symbols"] ** 2 - demo["n_in_context"] == 8
    assert [presets.values("paper", task, "icl_iwl", "robust")["restarts"] for task in ("category", "grid")] == [2, 4]
    statuses = {int(status) for status, _ in rows("files.md", "## Exit status and errors")}
    assert statuses == {session.DONE, session.FAILED, session.BAD_INPUT, session.HELD, session.REQUEUE, terminal.STOPPED}
    assert lock.STALE_SECONDS == 3 * 60
