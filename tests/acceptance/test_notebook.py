"""The notebook of the Python client in a real kernel, on a service of its own, with a small dataset."""

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.acceptance.service import RunningService

pytestmark = pytest.mark.acceptance

NOTEBOOK = Path(__file__).parents[2] / "docs" / "client.ipynb"


def test_the_notebook_goes_the_whole_path(
    service: RunningService, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Any = nbformat.read
    notebook = read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] for cell in code), "kept without outputs"
    shutil.copy(archive, tmp_path / "shapes.zip")
    monkeypatch.setenv("HARMONICDET_URL", f"http://127.0.0.1:{service.port}")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    kernel = NotebookClient(
        notebook, kernel_name="python3", timeout=240, resources={"metadata": {"path": str(tmp_path)}}
    )
    kernel.execute()
    # What is printed would be warnings: the cells show their last values and pictures only.
    assert [one for cell in code for one in cell.outputs if one.output_type == "stream"] == []
    shown = [[one.data for one in cell.outputs] for cell in code]
    assert "status='ready'" in shown[0][-1]["text/plain"]
    bar, metrics = shown[3]
    assert bar["text/plain"].startswith("succeeded")
    assert '<progress value="1.0000"' in bar["text/html"]
    assert "'AP50'" in metrics["text/plain"]
    assert shown[4][-1]["text/plain"].startswith("Prediction(")
    assert [index for index, cell in enumerate(shown) for one in cell if "image/png" in one] == [4]
