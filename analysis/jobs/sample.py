"""Jobs to hand on: their tables, compressed, and what says how they were made, without weights and pictures.

python -m analysis.sample RESULTS FOLDER     copies every finished job under RESULTS to the same place under FOLDER

The report and the notebooks read such a folder as they read results/. Equal jobs give equal bytes.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

from analysis.jobs.load import Unreadable, load
from analysis.jobs.tables import COLUMNS, find
from flags.parser import Parser, named_path
from runs.terminal import command, say, tell


def copy(results: Path, folder: Path) -> int:
    """Copy the finished jobs; returns the bytes written. Raises Unreadable, also for a job that is there already. All are there
    in the end, or none is."""
    sweep = load(results)
    for line in sweep.left_out:
        say(f"analysis.sample: {line}")
    written, jobs = 0, sweep.jobs
    targets = [folder / job.folder.relative_to(results) for job in jobs]
    for there in filter(Path.exists, targets):
        raise Unreadable(f"{there}: is there already")
    unfinished = [target.with_name(f".{target.name}.new") for target in targets]  # hidden, and passed over by `load`
    for job, target in zip(jobs, unfinished, strict=True):
        target.mkdir(parents=True, exist_ok=True)
        recorded = json.loads((job.folder / "config.json").read_text(encoding="utf-8"))
        recorded["execution"]["out_dir"] = None  # a place on the machine that made it
        (target / "config.json").write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
        (target / "summary.json").write_bytes((job.folder / "summary.json").read_bytes())
        for name in COLUMNS:
            if (path := find(job.folder, name)).exists():
                content = path.read_bytes()
                content = gzip.decompress(content) if path.suffix == ".gz" else content
                (target / f"{name}.csv.gz").write_bytes(gzip.compress(content, 9, mtime=0))
        written += sum(path.stat().st_size for path in target.iterdir())
    for path, target in zip(unfinished, targets, strict=True):
        path.rename(target)
    return written


def main(arguments: list[str]) -> int:
    """Copy the jobs that the arguments name; returns the exit status."""
    parser = Parser(prog="python -m analysis.sample", description="Copy the tables of finished jobs, compressed, without weights.")
    parser.add_argument("results", type=named_path, metavar="RESULTS", help="the folder of the jobs")
    parser.add_argument("folder", type=named_path, metavar="FOLDER", help="the folder to copy them to")
    asked = parser.parse_args(arguments)
    try:
        written = copy(asked.results, asked.folder)
    except (Unreadable, OSError) as error:
        say(f"analysis.sample: error: {error}")
        return 2
    tell(f"{written / 1e6:.2f} MB in {asked.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(command(main, "analysis.sample"))
