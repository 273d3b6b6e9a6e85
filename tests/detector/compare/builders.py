"""Comparisons on disk whose detections are drawn, so that nothing is trained."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.detector.evaluate.builders import Results, Truth, dataset, found, thing

IMAGES = 30


def truth() -> Truth:
    """Three objects on each of 30 images, of two classes and of all sizes."""
    random = np.random.default_rng(0)
    things = []
    for image in range(IMAGES):
        for place in range(3):
            width, height = random.uniform(20, 130, 2)
            x, y = 10 + 200 * place, 10 + random.uniform(0, 100)
            things.append(thing(image, (x, y, x + width, y + height), int(random.integers(1, 3))))
    return dataset(*things, images=IMAGES)


def detections(truth: Truth, seed: int, blur: float) -> Results:
    """Every object once, out of place by so many pixels, and one detection of nothing on each image."""
    random = np.random.default_rng(seed)
    results = []
    for one in truth["annotations"]:
        x, y, w, h = np.array(one["bbox"]) + random.normal(0, blur, 4)
        box = (x, y, x + max(w, 1), y + max(h, 1))
        score = float(np.clip(random.normal(0.7, 0.2), 0.01, 0.99))
        results.append(found(one["image_id"], box, score, one["category_id"]))
    wrong = [found(image, (10, 300, 60, 350), float(random.uniform(0.01, 0.8)), 1) for image in range(IMAGES)]
    return results + wrong


def write_run(folder: Path, found: Results, *, order: str = "a", weights: str = "b", seed: int = 1) -> None:
    folder.mkdir(parents=True)
    manifest = {
        "data_order_sha256": f"{order}{seed}",
        "initial_state_sha256": f"{weights}{seed}",
        "dataset_sha256": "c",
        "device": {"type": "cpu", "name": "x86_64"},
        "precision": "float32",
        "processes": 1,
        "versions": {"torch": "2"},
    }
    steps = [
        {"split": "train", "step": k, "epoch": k / 4, "metrics": {"loss": 8 / k, "lr": 0.1}}
        for k in range(1, 9)
    ] + [{"split": "val", "step": k, "epoch": k / 4, "metrics": {"AP": k / 20, "AP50": None}} for k in (4, 8)]
    (folder / "ground_truth.json").write_text(json.dumps(truth()))
    (folder / "detections.json").write_text(json.dumps(found))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in steps))


def write_comparison(
    folder: Path, blurs: Mapping[str, Sequence[float]], *, same: bool = False, **more: Any
) -> Path:
    """Arms by name, the first the baseline, each with the blur of its seeds 1, 2, …; with `same` every arm
    draws the same numbers."""
    arms = []
    for place, (name, values) in enumerate(blurs.items()):
        runs = []
        for seed, blur in enumerate(values, start=1):
            draw = seed if same else 100 * place + seed
            write_run(folder / f"{name}/{seed}", detections(truth(), draw, blur), seed=seed)
            runs.append({"seed": seed, "job": None, "folder": f"{name}/{seed}"})
        arms.append({"name": name, "config": {"loss": name}, "runs": runs})
    path = folder / "comparison-spec.json"
    content = {"name": "blurred", "dataset": "drawn", "baseline": next(iter(blurs)), "resamples": 200}
    path.write_text(json.dumps(content | {"arms": arms} | more))
    return path


def changed(path: Path, change: Any) -> Path:
    """The comparison after `change` has been called with its content."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path
