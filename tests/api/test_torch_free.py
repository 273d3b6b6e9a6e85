"""The HTTP process works where torch is not installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(os.environ.get("HARMONICDET_BLOCK_TORCH") == "1", reason="is such a run already")
def test_the_api_serves_with_torch_unimportable() -> None:
    # The whole of tests/api passes so too: HARMONICDET_BLOCK_TORCH=1 pytest tests/api
    representative = "kind_of_colour or drawn_image or several_images or dry_run or ready or log_is_plain"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", representative, "tests/api"],
        cwd=ROOT,
        env=os.environ | {"HARMONICDET_BLOCK_TORCH": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout


def test_the_application_loads_nothing_of_torch() -> None:
    code = "import sys, api.app, api.__main__; print([m for m in sys.modules if m.split('.')[0] in {0!r}])"
    blocked = ("torch", "torchvision", "pycocotools", "safetensors", "onnx", "worker", "harmonicdet")
    done = subprocess.run(
        [sys.executable, "-c", code.format(blocked)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
