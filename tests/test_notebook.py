"""The notebook runs from its first cell to its last, on a small synthetic set."""

import os
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "polypseg.ipynb"

SMALL = "num_synthetic, size, filters, epochs = 16, 32, 2, 1"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_notebook_runs(tmp_path, monkeypatch):
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(SMALL))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()
    run = tmp_path / "runs" / "notebook"
    assert (run / "figures" / "validation_samples.png").stat().st_size > 1000
    assert (run / "evaluation" / "test" / "summary.json").is_file()
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 5


def test_notebook_is_stored_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells)


def test_notebook_takes_a_download_from_where_it_goes():
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells]
    cell = next(source for source in cells if "data download" in source)
    # polypseg data download NAME puts it into data/NAME; --to would name that folder itself
    assert '!polypseg data download kvasir-seg --accept-terms\n    data = Path("data/kvasir-seg")' in cell
    assert '!polypseg data check "{data}"' in cell  # a path on a drive may hold a space
