"""The command line: tables, JSON, exit codes that scripts can use, Ctrl-C, no colour where none is wanted."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from harmonicdet.cli import app
from harmonicdet.client.synchronous import client as module
from harmonicdet.client.synchronous.transport import Transport
from tests.client.described import Described

JOB = "job_01jz4m9a6hcy0p3t1w5x7z9b2d"


class Refusing(httpx.BaseTransport):
    """Answers everything with one problem."""

    def __init__(self, status: int, code: str, **more: Any) -> None:
        self._status = status
        self._body = {"title": "", "status": status, "code": code, "detail": "It is so.", **more}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self._status, json=self._body)


def answered_by(monkeypatch: pytest.MonkeyPatch, transport: httpx.BaseTransport) -> None:
    """Commands ask `transport`, and wait no real time."""

    def made(place: Any, *, sleep: Any, transport: Any = None, **options: Any) -> Transport:
        return Transport(place, sleep=lambda _: None, transport=answering, **options)

    answering = transport
    monkeypatch.setattr(module, "Transport", made)
    monkeypatch.delenv("HARMONICDET_URL", raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(autouse=True)
def described_service(monkeypatch: pytest.MonkeyPatch, described: Described) -> None:
    answered_by(monkeypatch, described)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("datasets list", "blood cells"),
        ("datasets show ds_1", "364 (train 205, val 87, test 72)"),
        ("datasets report ds_1", "The box 0,315,0,315 has no area."),
        ("datasets stats ds_1", "124 (35%)"),
        ("jobs list", "epoch 3/12"),
        ("jobs show job_1", "2 min left"),
        ("jobs metrics job_1", "AP50 0.731"),
        ("jobs events job_1", "job.queued"),
        ("jobs pause job_1", JOB),
        ("models list", "ssdlite320_mobilenet_v3_large"),
        ("models show production", "Platelets, RBC, WBC"),
        ("models alias production mdl_1", "mdl_01jz4mp2q7r9s1t3v5w7x9y1z3"),
        ("evaluate mdl_1 ds_1", "queued"),
        ("evaluations show evl_1", "967 objects"),
        ("compare ds_1 --arm a --arm b:loss=baseline", "0 of 6 trainings"),
        ("comparisons show cmp_1", "harmonic better"),
        ("comparisons retry cmp_1", "harmonic better"),
        ("search ds_1 -s optimizer.lr=0.001..0.1:log", "0 of 30 trials"),
        ("searches list", "AP 0.371  optimizer.lr=0.0187 loss.alpha=1.31"),
        ("searches show srch_1", "optimizer.lr 91%, loss.alpha 9%"),
        ("searches best srch_1", '"batch_size": 8'),
        ("searches pause srch_1", "srch_01jz4p2c4e6g8j0m2p4r6t8v0x"),
        ("train ds_1 --dry-run", "312, 26 an epoch"),
        ("train ds_1", JOB),
        ("architectures", "ssdlite320"),
        ("workers", "train@gpu-1:4711"),
        ("status", "HarmonicDet 0.1.0"),
    ],
)
def test_a_command_shows_what_people_want_to_know(arguments: str, shown: str) -> None:
    done = run(*arguments.split())
    assert done.exit_code == 0, done.output
    assert shown in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    "arguments", ["jobs list", "jobs show job_1", "datasets list", "models show mdl_1", "status"]
)
def test_json_is_what_the_service_said(arguments: str, described: Described) -> None:
    done = run(*arguments.split(), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert isinstance(found, list) == arguments.endswith("list")
    assert (found[0] if isinstance(found, list) else found)["object"]


@pytest.mark.parametrize("text", ["{", "[]", '"epochs"', b"\xff"])
def test_a_config_that_is_no_json_object_is_wrong_use(
    described: Described, tmp_path: Path, text: str | bytes
) -> None:
    config = tmp_path / "config.json"
    config.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = run("train", "ds_1", "--config", str(config))
    assert done.exit_code == 2
    # The box around it breaks lines where the path of the file ends them.
    assert "is no JSON" in " ".join(done.stderr.replace("│", " ").split())
    assert described.asked == []


def test_fields_of_the_config_can_be_set(described: Described, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"batch_size": 4, "epochs": 1}')
    done = run(
        *("train", "ds_1", "--config", str(config), "--epochs", "3", "--loss", "harmonic"),
        *("--set", "optimizer.kind=adamw", "--set", "optimizer.lr=0.001", "--set", "ema_decay=null"),
    )
    assert done.exit_code == 0, done.output
    assert json.loads(described.asked[-1][1].content)["config"] == {
        "batch_size": 4,
        "epochs": 3,
        "loss": "harmonic",
        "optimizer": {"kind": "adamw", "lr": 0.001},
        "ema_decay": None,
    }


def test_what_a_search_may_change_is_written_as_ranges_and_choices(described: Described) -> None:
    done = run(
        *("search", "ds_1", "--set", "epochs=3", "--max-trials", "8", "--no-pruning"),
        *("-s", "optimizer.lr=1e-4..0.1:log", "-s", "batch_size=4..32:4", "-s", "epochs=2..9"),
        *("-s", "loss=harmonic,baseline", "-s", "ema_decay=null,0.99"),
    )
    assert done.exit_code == 0, done.output
    assert json.loads(described.asked[-1][1].content) == {
        "dataset_id": "ds_1",
        "config": {"epochs": 3},
        "max_trials": 8,
        "pruning": None,
        "space": {
            "optimizer.lr": {"kind": "float", "low": 1e-4, "high": 0.1, "log": True},
            "batch_size": {"kind": "int", "low": 4, "high": 32, "step": 4},
            "epochs": {"kind": "int", "low": 2, "high": 9},
            "loss": {"kind": "categorical", "choices": ["harmonic", "baseline"]},
            "ema_decay": {"kind": "categorical", "choices": [None, 0.99]},
        },
    }


@pytest.mark.parametrize("wrong", ["lr", "=1..2", "lr=1..", "lr=a..b", "lr=1..2:fast", "lr=true..2"])
def test_what_is_no_range_is_said_before_anything_is_asked(wrong: str, described: Described) -> None:
    assert run("search", "ds_1", "-s", wrong).exit_code == 2
    assert described.asked == []


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (422, "validation_failed", 2),
        (404, "job_not_found", 3),
        (401, "key_missing", 4),
        (403, "scope_missing", 4),
        (409, "job_already_finished", 1),
        (500, "internal_error", 5),
        (503, "database_unavailable", 5),
    ],
)
def test_the_exit_code_tells_what_went_wrong(
    status: int, code: str, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered_by(monkeypatch, Refusing(status, code))
    done = run("jobs", "show", "job_1")
    assert done.exit_code == exit_code
    assert done.stdout == ""
    assert f"It is so. ({status} {code})" in done.stderr


def test_each_thing_wrong_with_a_request_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = [
        {"pointer": "/config/epochs", "code": "greater_than_equal", "detail": "must be 1 or more"},
        {"pointer": "/config/batch", "code": "extra_forbidden", "detail": "there is no such field"},
    ]
    answered_by(monkeypatch, Refusing(422, "validation_failed", errors=wrong))
    said = run("train", "ds_1", "--set", "epochs=0").stderr
    assert "/config/epochs: must be 1 or more" in said
    assert "/config/batch: there is no such field" in said


def test_predictions_are_written_as_annotations(tmp_path: Path, described: Described) -> None:
    (tmp_path / "a.png").write_bytes(b"image")
    asked = ("models", "predict", "production", str(tmp_path / "a.png"), "--threshold", "0.3")
    done = run(*asked, "--export", "yolo", "--to", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == f"{tmp_path / 'out'}: 1 images, 1 objects"
    assert (tmp_path / "out" / "images" / "a.png").read_bytes() == b"image"
    assert (tmp_path / "out" / "labels" / "a.txt").read_text().startswith("1 0.")
    assert described.asked[-1][1].url.params["score_threshold"] == "0.3"
    again = run(*asked, "--export", "yolo", "--to", str(tmp_path / "out"))
    assert again.exit_code == 1
    assert "There is something in" in again.stderr
    of_dataset = run(
        *("models", "predict", "production", "ds_1", "--export", "coco-results", "--split", "val", "--json"),
        *("--to", str(tmp_path / "results.json")),
    )
    assert json.loads(of_dataset.stdout)["objects"] == len(
        json.loads((tmp_path / "results.json").read_text())
    )
    count = len(described.asked)
    for wrong in (["--export", "kitti", "--to", "x"], ["--export", "voc"], ["--to", "x"]):
        assert run(*asked, *wrong).exit_code == 2
    assert len(described.asked) == count


def test_wrong_use_is_said_before_anything_is_asked(described: Described) -> None:
    assert run("train", "ds_1", "--set", "epochs").exit_code == 2
    assert run("models", "predict", "mdl_1", "no-such-image.jpg").exit_code == 2
    assert run("train", "no-such.zip").exit_code == 3
    assert described.asked == []


def test_ctrl_c_leaves_the_job_running_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("harmonicdet.client.synchronous.jobs.states", interrupted)
    done = run("train", "ds_1", "--follow")
    assert done.exit_code == 130
    assert f"{JOB} goes on" in done.stderr
    assert f"harmonicdet jobs follow {JOB}" in done.stderr
