"""The study makes each training once, goes on where it was interrupted, and tells what comparisons say."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.study import records, tables
from benchmarks.study.__main__ import main
from benchmarks.study.plan import ARM_SETS, ARMS, FAMILIES, Cell, config_of
from benchmarks.study.trainings import Trainer
from detector.config import TrainConfig
from detector.events import EXIT_INTERRUPTED
from tests.detector.compare.builders import detections, truth

# In the place of `python -m detector train`: writes down that it ran, and takes a prepared training's files.
FAKE = """
import json, os, pathlib, shutil, signal, sys, time
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
run = pathlib.Path(given["--run"])
home = pathlib.Path(os.environ["STUDY_FAKE"])
if (home / "slow").exists() and "--resume" not in given:
    def end(*_):
        (run / "checkpoints").mkdir()
        (run / "checkpoints/step-00000007.pt").touch()
        sys.exit(3)
    signal.signal(signal.SIGTERM, end)
    (home / "waiting").touch()
    time.sleep(60)
with (home / "ran").open("a") as file:
    resumed = " on " + given["--resume"][-11:] if "--resume" in given else ""
    file.write("/".join(run.parts[-2:]) + resumed + "\\n")
if (home / "out of memory").exists() and run.name == "2":
    (run / "events.jsonl").write_text('{"type": "error", "code": "out_of_memory", "message": "No."}\\n')
    sys.exit(1)
shutil.copytree(home / "-".join(run.parts[-2:]), run / "artifacts")
(run / "result.json").write_text("{}")
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three seeds of baseline and harmonic, the latter sharper."""
    home = tmp_path / "fake"
    for arm, blur, first in (("baseline", 8, 0), ("harmonic", 3, 100)):
        for seed in (1, 2, 3):
            folder = home / f"{arm}-{seed}"
            folder.mkdir(parents=True)
            (folder / "ground_truth.json").write_text(json.dumps(truth()))
            (folder / "detections.json").write_text(json.dumps(detections(truth(), first + seed, blur)))
    (home / "train.py").write_text(FAKE)
    monkeypatch.setenv("STUDY_FAKE", str(home))
    return home


def study(fake: Path, *more: str, parallel: int = 1) -> int:
    trainer = Trainer(command=(sys.executable, str(fake / "train.py")), parallel=parallel)
    out = fake.parent / "out"
    arguments = ["--out", str(out), "--data", f"drawn={fake}", "--families", "ssdlite", "--seeds", "3"]
    return main([*arguments, "--page", str(fake.parent / "study.md"), *more], trainer)


def ran(fake: Path) -> list[str]:
    return (fake / "ran").read_text().splitlines()


def test_each_training_is_made_once_and_the_tables_are_written(fake: Path) -> None:
    assert study(fake) == 0
    # Seed by seed: whatever is done has both arms.
    assert ran(fake) == [f"{arm}/{seed}" for seed in (1, 2, 3) for arm in ("baseline", "harmonic")]
    page = (fake.parent / "study.md").read_text()
    assert study(fake) == 0
    assert len(ran(fake)) == 6
    assert (fake.parent / "study.md").read_text() == page
    comparison = fake.parent / "out/drawn/ssdlite/comparison/artifacts/comparison.json"
    result = json.loads(comparison.read_text())
    assert result["verdict"] == {"harmonic": "better"}
    mean = 100 * result["differences"][0]["metrics"]["AP"]["mean"]
    table = page.partition("### Beside the paper")[2].partition("###")[0]
    (row,) = [line for line in table.splitlines() if line.startswith("| drawn, SSDlite")]
    assert "RefineDet512: 36.4 to 38.8 (+2.4)" in row
    assert f"+{mean:.2f} (" in row
    assert row.endswith("| better |")
    assert "6 trainings, 0.0 CPU hours" in page


def test_records_are_enough_to_make_the_page_again(fake: Path) -> None:
    kept, page = fake.parent / "records", fake.parent / "study.md"
    assert study(fake, "--records", str(kept)) == 0
    first = page.read_text()
    (record,) = records.read(kept)
    assert record.cell == Cell("drawn", "ssdlite")
    assert (record.config["epochs"], "loss" in record.config, "seed" in record.config) == (20, False, False)
    assert set(record.cpu_seconds["harmonic"]) == {"1", "2", "3"}
    assert len(record.result["arms"][1]["runs"]) == 3
    assert "figures" not in record.result
    page.unlink()
    tables.write(kept, page)
    assert page.read_text() == first
    # A cell that was trained elsewhere stays on the page beside what is trained here.
    elsewhere = json.loads((kept / "drawn-ssdlite.json").read_text())
    elsewhere["cell"]["dataset"] = "cards"
    (kept / "cards-ssdlite.json").write_text(json.dumps(elsewhere))
    assert study(fake, "--records", str(kept)) == 0
    assert "### cards, SSDlite" in page.read_text()
    assert "### drawn, SSDlite" in page.read_text()


def test_learning_rates_are_compared_by_the_seeds_that_all_have(fake: Path) -> None:
    assert study(fake) == 0
    assert "Learning rates" not in (fake.parent / "study.md").read_text()
    assert study(fake, "--rates", "0.01", "0.05", "--seeds", "2") == 0
    assert len(ran(fake)) == 6 + 8
    out = fake.parent / "out/drawn"
    for folder, rate in (("ssdlite", 0.02), ("ssdlite@0.01", 0.01), ("ssdlite@0.05", 0.05)):
        config = json.loads((out / folder / "harmonic/1/config.json").read_text())
        assert config["optimizer"]["lr"] == rate
    page = (fake.parent / "study.md").read_text()
    table = page.partition("### Learning rates")[2].partition("###")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| drawn")]
    assert [row[1] for row in rows] == ["SGD 0.01", "SGD 0.02, the study's", "SGD 0.05"]
    runs = json.loads((out / "ssdlite/comparison/artifacts/comparison.json").read_text())["arms"][0]["runs"]
    mean = 100 * sum(run["metrics"]["AP"] for run in runs if run["seed"] in (1, 2)) / 2
    assert [row[2] for row in rows] == ["1, 2"] * 3
    assert [row[3].split(",")[0] for row in rows] == [f"{mean:.2f}"] * 3  # the stand-in learns alike at all
    # A rate alone has no place among what decides.
    assert page.count("| drawn, SSDlite") == 1 + 3 + 1  # beside the paper, rates, what was trained


def test_an_arm_with_fewer_seeds_costs_the_others_none(fake: Path) -> None:
    kept = fake.parent / "records"
    assert study(fake) == 0
    for seed in (1, 2):
        shutil.copytree(fake / f"harmonic-{seed}", fake / f"factors-{seed}")
    assert study(fake, "--arms", "baseline,factors,harmonic", "--seeds", "2", "--records", str(kept)) == 0
    (record,) = records.read(kept)
    assert record.result["seeds"] == [1, 2, 3]
    assert [arm["name"] for arm in record.result["arms"]] == ["baseline", "harmonic"]
    assert record.of_all is not None
    assert record.of_all["seeds"] == [1, 2]
    assert [arm["name"] for arm in record.of_all["arms"]] == ["baseline", "factors", "harmonic"]
    page = (fake.parent / "study.md").read_text()
    assert "| drawn, SSDlite, MobileNetV3, from random weights, seeds 1, 2 |" in page
    assert "### drawn, SSDlite, MobileNetV3, from random weights: all arms" in page
    assert " | 3 | " in page.partition("### Beside the paper")[2].partition("###")[0]
    # When it has the third, too, there is one comparison again.
    shutil.copytree(fake / "harmonic-3", fake / "factors-3")
    assert study(fake, "--arms", "baseline,factors,harmonic", "--records", str(kept)) == 0
    (record,) = records.read(kept)
    assert record.of_all is None
    assert (record.result["seeds"], len(record.result["arms"])) == ([1, 2, 3], 3)


def test_what_is_set_for_a_family_is_its_own(fake: Path) -> None:
    options = ["--seeds", "1", "--families", "ssdlite", "faster_rcnn"]
    assert (
        study(
            fake,
            *options,
            *("--set", '{"clip_grad_norm": 5.0, "optimizer": {"weight_decay": 0.002}}'),
            *("--set", 'ssdlite={"optimizer": {"lr": 0.03}}'),
            *("--set", 'faster_rcnn={"optimizer": {"weight_decay": 0.001}}'),
        )
        == 0
    )
    given = {
        family: json.loads((fake.parent / f"out/drawn/{family}/harmonic/1/config.json").read_text())
        for family in ("ssdlite", "faster_rcnn")
    }
    assert {one["clip_grad_norm"] for one in given.values()} == {5.0}
    found = {name: one["optimizer"] for name, one in given.items()}
    assert {name: (one["kind"], one["lr"], one["weight_decay"]) for name, one in found.items()} == {
        "ssdlite": ("sgd", 0.03, 0.002),
        "faster_rcnn": ("adamw", 0.0002, 0.001),
    }


def test_words_beside_the_tables_stay(fake: Path) -> None:
    page = fake.parent / "study.md"
    page.write_text(f"# Ours\n\nBefore.\n\n{tables.BEGIN}\nFormer tables.\n{tables.END}\n\nAfter.\n")
    assert study(fake, "--seeds", "1") == 0
    text = page.read_text()
    assert text.startswith(f"# Ours\n\nBefore.\n\n{tables.BEGIN}\n\n### Beside the paper")
    assert text.endswith(f"{tables.END}\n\nAfter.\n")
    assert "Former" not in text


def test_another_config_in_the_same_place_is_refused(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study(fake, "--seeds", "1") == 0
    assert study(fake, "--seeds", "1", "--set", '{"epochs": 3}') == 2
    assert "has a training of another config" in " ".join(capsys.readouterr().out.split())
    assert len(ran(fake)) == 2


def test_a_training_from_before_an_option_was_added_is_kept(fake: Path) -> None:
    assert study(fake, "--seeds", "1") == 0
    config = fake.parent / "out/drawn/ssdlite/harmonic/1/config.json"
    older = json.loads(config.read_text())
    del older["loss"]["detach_iou"]
    config.write_text(json.dumps(older))
    assert study(fake, "--seeds", "1") == 0
    assert len(ran(fake)) == 2
    assert json.loads(config.read_text()) == older, "its manifest has the hash of what it was given"


@pytest.mark.parametrize(
    "change", [{"option": "of no version"}, {"loss": {"kind": "harmonic", "margin": 0.3}}]
)
def test_a_config_that_differs_otherwise_is_refused(fake: Path, change: dict[str, Any]) -> None:
    assert study(fake, "--seeds", "1") == 0
    config = fake.parent / "out/drawn/ssdlite/harmonic/1/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    assert study(fake, "--seeds", "1") == 2


def test_a_failed_training_is_told_and_made_anew_only_when_asked(fake: Path) -> None:
    (fake / "out of memory").touch()
    assert study(fake) == 0
    comparison = fake.parent / "out/drawn/ssdlite/comparison/artifacts/comparison.json"
    left_out = json.loads(comparison.read_text())["seeds_left_out"]
    assert left_out == [{"seed": 2, "lacking": {"baseline": "out_of_memory", "harmonic": "out_of_memory"}}]
    (fake / "out of memory").unlink()
    assert study(fake) == 0
    assert len(ran(fake)) == 6
    assert study(fake, "--retry") == 0
    assert ran(fake)[6:] == ["baseline/2", "harmonic/2"]
    assert json.loads(comparison.read_text())["seeds"] == [1, 2, 3]


def test_interrupted_trainings_go_on_from_their_checkpoints(fake: Path) -> None:
    (fake / "slow").touch()

    def interrupt() -> None:
        while not (fake / "waiting").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert study(fake) == EXIT_INTERRUPTED
    thread.join()
    assert not (fake / "ran").exists()
    (fake / "slow").unlink()
    assert study(fake, parallel=2) == 0
    assert sorted(ran(fake))[0] == "baseline/1 on 00000007.pt"
    assert len(ran(fake)) == 6
    run = fake.parent / "out/drawn/ssdlite/baseline/1"
    assert not (run / "checkpoints").exists()  # they are of no more use
    assert json.loads((run / "cost.json").read_text())["cpu_seconds"] > 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--arms", "best"], "there is no arm best"),
        (["--set", "yolo={}"], "--set is JSON or FAMILY=JSON"),
        (["--set", '{"epoch": 3}'], "Extra inputs are not permitted"),
        (["--data", "/somewhere.zip"], "--data is NAME=ARCHIVE"),
    ],
)
def test_what_cannot_be_is_said(
    fake: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert study(fake, *more) == 2
    assert said in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("arm", ARMS, ids=[arm.name for arm in ARMS])
def test_every_arm_of_every_family_is_a_config(family: Any, arm: Any) -> None:
    changes = {"epochs": 7, "optimizer": {"lr": 0.003}}
    config = TrainConfig.model_validate(config_of(family, arm, 3, changes))
    assert (config.seed, config.epochs, config.evaluate_every, config.optimizer.lr) == (3, 7, 7, 0.003)
    assert config.architecture.kind == family.config["architecture"]["kind"]


def test_the_sets_are_of_arms_that_there_are() -> None:
    assert {name for names in ARM_SETS.values() for name in names} == {arm.name for arm in ARMS}
