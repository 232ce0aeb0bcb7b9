"""Jobs to hand on: their tables, compressed, what says how they were made, and what a language model was asked; without pictures.

python -m analysis.jobs.sample RESULTS FOLDER              copies every finished job under RESULTS to the same place under FOLDER
python -m analysis.jobs.sample RESULTS FOLDER --weights    with the kept weights of each metalearned seed, and their SHA-256

The report and the notebooks read such a folder as they read results/. Equal jobs give equal bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

from analysis.jobs.load import Unreadable, load
from analysis.jobs.tables import COLUMNS, find
from flags.parser import Parser, named_path
from runs.terminal import command, say, tell


def copy(results: Path, folder: Path, weights: bool = False) -> int:
    """Copy the finished jobs, on demand with their kept weights; returns the bytes written.

    Raises Unreadable, also for a job that the folder holds already. Copies all jobs, or none.
    """
    sweep = load(results)
    for line in sweep.left_out:
        say(f"analysis.jobs.sample: {line}")
    written, jobs = 0, sweep.jobs
    targets = [folder / job.folder.relative_to(results) for job in jobs]
    for there in filter(Path.exists, targets):
        raise Unreadable(f"{there}: exists already")
    beside = folder if folder.exists() else folder.parent  # of one file system with the targets
    beside.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".new", dir=beside))  # hidden: `load` passes it over
    moved: list[Path] = []
    try:
        for number, job in enumerate(jobs):
            is_metalearned = job.flags["n_epochs"] > 0  # else the weights are its base's, or drawn
            written += _copy_job(job.folder, unfinished / str(number), weights and is_metalearned)
        for number, target in sorted(enumerate(targets), key=lambda each: len(each[1].parts)):  # a job may lie in another's folder
            target.parent.mkdir(parents=True, exist_ok=True)
            (unfinished / str(number)).rename(target)
            moved.append(target)
    except BaseException:
        for target in moved:
            shutil.rmtree(target, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return written


def _copy_job(job: Path, target: Path, weights: bool) -> int:
    """Copy a job's tables and what says how they were made to a new folder; returns the bytes written."""
    target.mkdir()
    recorded = json.loads((job / "config.json").read_text(encoding="utf-8"))
    recorded["execution"]["out_dir"] = None  # a place on the machine that made it
    (target / "config.json").write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
    (target / "summary.json").write_bytes((job / "summary.json").read_bytes())
    for name in COLUMNS:
        if (path := find(job, name)).exists():
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            (target / f"{name}.csv.gz").write_bytes(gzip.compress(content, 9, mtime=0))
    if (job / "prompts").is_dir():
        shutil.copytree(job / "prompts", target / "prompts")
    if weights:
        _copy_weights(job / "checkpoints", target / "checkpoints")
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _copy_weights(checkpoints: Path, target: Path) -> None:
    """Copy the kept weights and what they are weights of, and write `SHA256SUMS`, as sha256sum reads it."""
    target.mkdir()
    sums = []
    for path in sorted([checkpoints / "model.json", *checkpoints.glob("best_seed*.safetensors")]):
        content = path.read_bytes()
        (target / path.name).write_bytes(content)
        sums.append(f"{hashlib.sha256(content).hexdigest()}  {path.name}\n")
    (target / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Copy the jobs that the arguments name; returns the exit status."""
    parser = Parser(prog="python -m analysis.jobs.sample", description="Copy the tables of finished jobs, compressed.")
    parser.add_argument("results", type=named_path, metavar="RESULTS", help="the folder of the jobs")
    parser.add_argument("folder", type=named_path, metavar="FOLDER", help="the folder to copy them to")
    parser.add_argument("--weights", action="store_true", help="copy the kept weights as well, with their SHA-256")
    asked = parser.parse_args(arguments)
    try:
        written = copy(asked.results, asked.folder, asked.weights)
    except (Unreadable, OSError) as error:
        say(f"analysis.jobs.sample: error: {error}")
        return 2
    tell(f"{written / 1e6:.2f} MB in {asked.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(command(main, "analysis.jobs.sample"))
