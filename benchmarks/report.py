"""Time and memory of the report on results of full paper size: synthetic jobs, all that the scripts make.

python benchmarks/report.py [FOLDER]      writes some 2 GB there (a temporary folder) and leaves them if FOLDER is given
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.synthetic import write  # noqa: E402
from flags.parser import Parser, named_path  # noqa: E402
from runs.status import expected  # noqa: E402

# Trade-offs last: their flags are taken over from the jobs that they start from.
SCRIPTS = (
    *("cat_iwl_icl", "cat_iwl_only", "grid_iwl_icl", "grid_iwl_only", "grid_llama_70b"),
    *("cat_tradeoff_mask", "cat_tradeoff_noise", "grid_tradeoff_mask", "grid_tradeoff_noise"),
)
LOAD = """
import sys, time, pathlib
sys.path.insert(0, sys.argv[1])
from analysis.jobs.load import load
start = time.perf_counter()
sweep = load(pathlib.Path("results"))
rows = len(sweep.table("finetune_accuracy"))
print(f"loading {rows:,} accuracy rows of {len(sweep.jobs)} jobs: {time.perf_counter() - start:.0f} s")
"""


def measured(*command: str) -> str:
    """Run a command; returns its seconds and the most memory it held."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], env={**os.environ, "PYTHONPATH": str(ROOT)})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed")
    return f"{time.perf_counter() - start:.0f} s ({usage.ru_utime:.0f} s of one CPU), {usage.ru_maxrss / 2**20:.2f} GiB"


def main(folder: Path) -> None:
    os.chdir(folder)
    if not Path("results").exists():
        for script in SCRIPTS:
            jobs = [write(flags) for _, flags in expected(script)]
            print(f"{script}: {len(jobs)} jobs written", flush=True)
    print("load:  ", measured("-c", LOAD, str(ROOT)), flush=True)
    print("report:", measured("-m", "analysis.report", "results", "-o", "report"))


if __name__ == "__main__":
    parser = Parser(prog="python benchmarks/report.py", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=named_path, metavar="FOLDER", help="where some 2 GB are written, and left")
    asked = parser.parse_args().folder
    if asked:
        asked.mkdir(parents=True, exist_ok=True)
        main(asked.resolve())
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
