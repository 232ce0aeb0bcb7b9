"""The paper's figures, tables and statistics, from the finished jobs under a folder.

python -m analysis.report [RESULTS] [-o REPORT]
python -m analysis.report --published        print the published tests, computed again from the published counts

RESULTS: a folder of jobs (results); results/paper holds those that come with the program. REPORT (report/) gets:

index.html    the page, with its pictures within it
figures/      PDF, SVG and PNG
tables/       CSV and Markdown
report.json   the list of these files: the next report replaces them and nothing else
"""

from __future__ import annotations

import base64
import datetime
import importlib.metadata
import itertools
import os
import re
import sys
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import escape
from tqdm import tqdm

from analysis.jobs.job import CHANGED, Job
from analysis.jobs.load import Sweep, Unreadable, load
from analysis.jobs.tables import BadTable
from analysis.measures import published
from analysis.report import claims, folder, interactive, replication
from analysis.report.contents import entries_of, maker
from analysis.report.pool import ABLATIONS, pools_of
from analysis.report.readable import for_people, of_claims
from analysis.report.sections import Section
from flags.parser import Parser, named_path
from runs.machine import commit
from runs.terminal import command, say, tell

BAD_INPUT = 2
STORED = "results/paper"
NUMBER = re.compile(r"|–|all alike|[<≤]?[ ]?[-−]?[0-9].*")
LONGEST_NAME = 200  # bytes of a table's name without its ending


@dataclass(frozen=True)
class Report:
    """The content of a report. missing: by size and task, each figure without jobs and the command that makes them."""

    sweep: Sweep
    claims: pd.DataFrame
    sections: list[Section]
    missing: dict[str, list[tuple[str, str]]]


def build(sweep: Sweep, out: Path) -> Report:
    """Plot every figure that has jobs into `out`. Raises BadTable for a table that cannot be read."""
    sections, missing = [], {}
    pools = pools_of(sweep, out)
    entries = [(pool, entry) for pool in pools for entry in entries_of(pool.task)]
    for pool, entry in tqdm(entries, desc="figures", disable=not sys.stderr.isatty()):
        section = entry.build(pool)
        if section:
            sections.append(section)
        elif not pool.is_disturbed and not pool.size.endswith(CHANGED) and pool.jobs("icl_iwl", "iwl_only", *ABLATIONS):
            missing.setdefault(pool.title, []).append((entry.what, maker(entry, pool)))
    return Report(sweep, claims.table(pools), sections, missing)


def write(report: Report, out: Path) -> Path:
    """Write tables and the page; returns the page."""
    at = out / "tables"
    at.mkdir(parents=True, exist_ok=True)
    _write_table(report.claims, at / "claims")
    tables = [(section.picture.name, title, table) for section in report.sections for title, table in section.tables.items()]
    names = file_names([f"{picture}_{_file_name(title)}" for picture, title, _ in tables])
    for name, (_, _, table) in zip(names, tables, strict=True):
        _write_table(table, at / name)
    titles = pd.DataFrame([(name, title) for name, (_, title, _) in zip(names, tables, strict=True)], columns=["file", "title"])
    titles.to_csv(at / "titles.csv", encoding="utf-8", index=False)
    replicated = replication.tests()
    _write_table(replicated, at / "published_tests")
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    environment.filters.update(table=_html, picture=_embedded, chart=interactive.script)
    page = out / "index.html"
    template = environment.get_template("report.html")
    page.write_text(
        template.render(
            report=report,
            claims={
                claim: {kind: of_claims(rows) for kind, rows in of_claim.groupby("kind")}
                for claim, of_claim in report.claims.groupby("claim")
            },
            statements=published.CLAIMS,
            commands=_commands,
            has_charts=any(section.curves is not None for section in report.sections),
            library=lambda: interactive.library().replace("</script", "<\\/script"),
            files={(picture, title): name for name, (picture, title, _) in zip(names, tables, strict=True)},
            replicated=replicated,
            made=_made(report.sweep.root),
            has_readme=(report.sweep.root / "README.md").exists(),
            first_sentence=lambda text: text.split(". ")[0] + ".",
        ),
        encoding="utf-8",
        errors="backslashreplace",  # a path that is not UTF-8
    )
    return page


def _made(results: Path) -> dict[str, str | None]:
    """Return the page's date, the command that made it, the commit, and the versions of the libraries."""
    made = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())  # as of reproducible builds
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "pandas", "scipy", "statsmodels", "matplotlib")}
    return {
        "date": datetime.datetime.fromtimestamp(made, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": f"python -m analysis.report {results}",
        "commit": commit(),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _write_table(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path.with_name(f"{path.name}.csv"), encoding="utf-8", index=False, float_format="%.6g")
    cells = for_people(table)
    lines = ["| " + " | ".join(map(str, cells.columns)) + " |", "|" + "---|" * len(cells.columns)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells.itertuples(index=False)]
    path.with_name(f"{path.name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _file_name(title: str) -> str:
    return re.sub(r"\W+", "_", title.lower().partition("(")[0]).strip("_")


def file_names(names: list[str]) -> list[str]:
    """The names, cut to what a file system takes; one that a name before it has too, on some file system, gets a number."""
    taken, found = {"claims", "titles", "published_tests"}, []
    for name in names:
        short = name.encode()[:LONGEST_NAME].decode(errors="ignore")
        numbered = (short if n == 1 else f"{short}_{n}" for n in itertools.count(1))
        found.append(next(one for one in numbered if unicodedata.normalize("NFKC", one).casefold() not in taken))
        taken.add(unicodedata.normalize("NFKC", found[-1]).casefold())
    return found


def _html(table: pd.DataFrame, title: str) -> str:
    """A table as HTML with its title for who cannot see it, escaped; columns of numbers stand to the right."""
    shown = for_people(table)
    classes = [' class="number"' if all(map(_is_number, shown[name])) else "" for name in shown.columns]
    head = "".join(f'<th scope="col"{c}>{escape(str(name))}</th>' for name, c in zip(shown.columns, classes, strict=True))
    lines = [
        "<tr>" + "".join(f"<td{c}>{escape(str(cell))}</td>" for cell, c in zip(row, classes, strict=True)) + "</tr>"
        for row in shown.itertuples(index=False)
    ]
    name = escape(title)
    opening = (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{name}"><table class="table"><thead><tr>{head}</tr></thead>'
    )
    return f"{opening}<tbody>{''.join(lines)}</tbody></table></div>"


def _is_number(cell: object) -> bool:
    """Return True for a cell that is a number, an interval, or nothing."""
    return bool(NUMBER.fullmatch(str(cell)))


def _embedded(path: Path) -> str:
    return base64.b64encode(path.with_suffix(".svg").read_bytes()).decode()


def _commands(jobs: list[Job]) -> list[str]:
    """Return the commands that make a section's jobs, each once."""
    return list(dict.fromkeys(job.command for job in jobs))


def main(argv: list[str]) -> int:
    """Write the report on a folder of jobs; returns the exit status."""
    parser = Parser(prog="python -m analysis.report", description="The paper's figures and tables from jobs' folders.")
    parser.add_argument("results", nargs="?", type=named_path, default=Path("results"), help="a folder of jobs (results)")
    parser.add_argument("-o", "--out", type=named_path, default=Path("report"), help="the folder of the report (report/)")
    parser.add_argument("--published", action="store_true", help="print the published tests, computed again, and stop")
    arguments = parser.parse_args(argv)
    if arguments.published:
        tell(for_people(replication.tests()).to_string(index=False))
        return 0
    root, out = arguments.results, arguments.out
    try:
        folder.check(out)
        sweep = load(root).sound()
        if not sweep.jobs:
            rest = f"{len(sweep.unfinished)} unfinished ones, and " if sweep.unfinished else ""
            remedy = "; ".join(sweep.left_out) or f"{STORED} has some, or: python main.py"
            raise Unreadable(f"{root}: holds {rest}no finished job; {remedy}")
        with folder.replaced(out) as staged:
            report = build(sweep, staged)
            page = out / write(report, staged).name
    except (Unreadable, BadTable, OSError) as error:
        say(f"analysis.report: error: {error}")
        return BAD_INPUT
    for line in sweep.left_out:
        say(f"analysis.report: {line}")
    tell(f"{len(sweep.jobs)} finished jobs, {len(sweep.unfinished)} unfinished")
    for job in sweep.unfinished:
        tell(f"  unfinished: {job.folder} ({job.progress})")
    for section in report.sections:
        for note in section.notes:
            tell(f"  {section.title}: {note}")
    tell(f"{len(report.sections)} figures. The page: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(command(main, "analysis.report"))
