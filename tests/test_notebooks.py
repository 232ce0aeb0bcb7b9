"""The notebooks: one is run here, all of them by `make notebooks`."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.program import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = {"metalearning_results", "tradeoff_results", "supplementary_results", "llm_results", "statistics", "play"}


def test_they_are_all_there():
    assert {path.stem for path in NOTEBOOKS} == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_are_small_run_and_run_on_another_folder_by_one_variable(path):
    notebook = nbformat.read(path, 4)
    assert path.stat().st_size < 250_000
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum("RESULTS = " in cell.source for cell in code) == 1
    assert all(cell.execution_count for cell in code), "run `make notebooks-in-place`"
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert str(ROOT) not in path.read_text()


def test_one_runs():
    notebook = nbformat.read(ROOT / "notebooks/tradeoff_results.ipynb", 4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": ROOT / "notebooks"}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
