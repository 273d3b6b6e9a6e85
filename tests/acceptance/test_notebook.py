"""The notebook of the Python client, run cell by cell on a service of its own, with a small dataset."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.service import RunningService

pytestmark = pytest.mark.acceptance

NOTEBOOK = Path(__file__).parents[2] / "docs" / "client.ipynb"
# What each cell shows: the value of its last line, and its picture where it has one, as a notebook would.
RUNNER = """
import ast, json, sys

for number, source in enumerate(json.load(open(sys.argv[1]))):
    *before, last = ast.parse(source).body
    exec(compile(ast.Module(before, []), f"cell {number}", "exec"), globals())
    if isinstance(last, ast.Expr):
        shown = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), globals())
        picture = getattr(shown, "_repr_png_", lambda: b"")()
        print(f"[{number}]", repr(shown), picture[1:4].decode())
    else:
        exec(compile(ast.Module([last], []), f"cell {number}", "exec"), globals())
"""


def test_the_notebook_goes_the_whole_path(service: RunningService, archive: Path, tmp_path: Path) -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(cell.get("outputs", []) == [] for cell in cells), "kept without outputs"
    shutil.copy(archive, tmp_path / "shapes.zip")
    (tmp_path / "cells.json").write_text(json.dumps(code))
    ran = subprocess.run(
        [sys.executable, "-c", RUNNER, "cells.json"],
        cwd=tmp_path,
        env=os.environ | {"HARMONICDET_URL": f"http://127.0.0.1:{service.port}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:] + service.logs()
    assert "status='ready'" in ran.stdout
    assert "'AP50'" in ran.stdout
    assert "Prediction(" in ran.stdout
    assert ran.stdout.count(" PNG") == 1
