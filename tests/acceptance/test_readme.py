"""The README's walk-through, run as it stands there; its answers have the shape and the facts it shows."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.service import RunningService

pytestmark = [pytest.mark.acceptance, pytest.mark.embedded, pytest.mark.slow, pytest.mark.timeout(1500)]

# The walk as it stands there takes six minutes of a core; its shorter form leaves nothing out but epochs.
WHOLE = os.environ.get("RUN_LONG_TESTS") == "1"
SHORTER = {
    '"epochs": 10, "evaluate_every": 5': '"epochs": 4, "evaluate_every": 2',
    '"warmup_steps": 50': '"warmup_steps": 10',
    '"loss": "baseline", "epochs": 2': '"loss": "baseline", "epochs": 1',
}
README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCK = re.compile(r"^```(sh|json|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "=== the next block of the README ==="
# What differs from run to run.
VOLATILE = {"id", "model", "request_id", "created_at", "timing_ms", "box", "score", "detections"}


def _blocks(*headings: str) -> list[tuple[str, str]]:
    """(language, text) of the code blocks in these sections, in order."""
    sections = re.split(r"^## ", README, flags=re.MULTILINE)
    chosen = [section for heading in headings for section in sections if section.startswith(heading + "\n")]
    assert len(chosen) == len(headings)
    return [(match[1], match[2]) for section in chosen for match in BLOCK.finditer(section)]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[str, str]], list[str], Path]:
    """The blocks, what each `sh` block printed, and the folder they ran in."""
    blocks = _blocks("Five calls", "When something is wrong", "Without the service")
    commands = [text for language, text in blocks if language == "sh"]
    assert commands[0] == "make up\n"
    folder = tmp_path_factory.mktemp("walk")
    (folder / ".venv").symlink_to(sys.prefix)
    with RunningService(tmp_path_factory.mktemp("readme") / "data") as service:
        script = f"\necho '{MARK}'\n".join(commands[1:])
        assert script.count("http://127.0.0.1:8000") == 1
        for long, short in SHORTER.items():
            assert script.count(long) == 1
            script = script if WHOLE else script.replace(long, short)
        script = script.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{service.port}")
        ran = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:] + service.logs()
    return blocks, ["", *ran.stdout.split(MARK + "\n")], folder


def _after(walk: tuple[list[tuple[str, str]], list[str], Path], beginning: str) -> tuple[str, str]:
    """What the README shows after the block with this line in it, and what that block printed."""
    blocks, printed, _ = walk
    number = -1
    for position, (language, text) in enumerate(blocks):
        number += language == "sh"
        if language == "sh" and beginning in text:
            return blocks[position + 1][1], printed[number]
    raise AssertionError(f"the README has no block with {beginning}")


def _same(shown: Any, printed: Any, path: str = "") -> None:
    """Same keys and types everywhere, same values where they do not differ from run to run."""
    if isinstance(shown, dict):
        assert shown.keys() == printed.keys(), path
        for key in shown:
            if key not in VOLATILE or key == "timing_ms":
                _same(shown[key], printed[key], f"{path}/{key}")
    elif isinstance(shown, list):
        assert len(shown) == len(printed), path
        for one, other in zip(shown, printed, strict=True):
            _same(one, other, path)
    elif isinstance(shown, float):
        assert isinstance(printed, float | int), path
    else:
        assert shown == printed, path


def test_following_the_events_ends_with_the_job(walk: tuple[list[tuple[str, str]], list[str], Path]) -> None:
    shown, printed = _after(walk, "text/event-stream")
    assert printed.rstrip().splitlines()[-3] == "event: job.succeeded"
    for line in shown.splitlines():
        if line.startswith("event:"):
            assert line in printed.splitlines()


def test_the_map_is_what_the_readme_promises(walk: tuple[list[tuple[str, str]], list[str], Path]) -> None:
    shown, printed = _after(walk, '["metrics"]')
    _same(json.loads(shown), json.loads(printed))
    assert json.loads(printed)["AP50"] >= (0.5 if WHOLE else 0.1)


def test_pycocotools_on_the_downloads_says_the_same(
    walk: tuple[list[tuple[str, str]], list[str], Path],
) -> None:
    _, metrics = _after(walk, '["metrics"]')
    _, table = _after(walk, "COCOeval(truth")
    (ap,) = re.findall(r"\(AP\) @\[ IoU=0.50:0.95 \| area=   all \| maxDets=100 \] = ([\d.]+)", table)
    assert f"{json.loads(metrics)['AP']:.3f}" == ap


def test_a_prediction_looks_as_shown(walk: tuple[list[tuple[str, str]], list[str], Path]) -> None:
    shown, printed = _after(walk, "max_detections=2")
    _same(json.loads(shown), json.loads(printed))
    detections = json.loads(printed)["detections"]
    assert len(detections) == 2
    for detection in detections:
        assert detection.keys() == json.loads(shown)["detections"][0].keys()
    folder = walk[2]
    assert (folder / "prediction.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_the_problem_is_the_one_shown(walk: tuple[list[tuple[str, str]], list[str], Path]) -> None:
    shown, printed = _after(walk, '"epoch": 3')
    _same(json.loads(shown), json.loads(printed))


def test_the_command_line_works_without_the_service(
    walk: tuple[list[tuple[str, str]], list[str], Path],
) -> None:
    folder = walk[2]
    assert (folder / "run/artifacts/model.onnx").stat().st_size > 1_000_000
    assert (folder / "drawn.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
