"""`harmonicdet demo`: the whole path in one command, through the same REST calls a user makes.

Starts the embedded service on a free port, uploads a dataset, trains with the harmonic loss, prints the COCO
table, predicts on an image the model has not seen, saves it with boxes drawn, and stops the service.
"""

import io
import json
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

STEPS = 300  # enough for the small dataset to be learnt from random weights in a few minutes on two cores
BATCH = 8
UNSEEN_SEED = 2_026
COCO_ROWS = [
    ("AP", "Average precision", "0.50:0.95", "all", 100),
    ("AP50", "Average precision", "0.50", "all", 100),
    ("AP75", "Average precision", "0.75", "all", 100),
    ("AP_small", "Average precision", "0.50:0.95", "small", 100),
    ("AP_medium", "Average precision", "0.50:0.95", "medium", 100),
    ("AP_large", "Average precision", "0.50:0.95", "large", 100),
    ("AR1", "Average recall", "0.50:0.95", "all", 1),
    ("AR10", "Average recall", "0.50:0.95", "all", 10),
    ("AR100", "Average recall", "0.50:0.95", "all", 100),
    ("AR_small", "Average recall", "0.50:0.95", "small", 100),
    ("AR_medium", "Average recall", "0.50:0.95", "medium", 100),
    ("AR_large", "Average recall", "0.50:0.95", "large", 100),
]


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


def run(
    *,
    dataset: Path | None,
    folder: Path,
    architecture: str,
    loss: str,
    epochs: int | None,
    console: Console,
) -> None:
    """Run the demo in `folder` (made when absent). Raises `DemoFailed` with a sentence for the user."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, and stops the service
    folder.mkdir(parents=True, exist_ok=True)
    archive = dataset or _make_dataset(folder / "shapes.zip", console)
    with _service(folder, console) as client:
        uploaded = _upload(client, archive, console)
        job = _train(client, uploaded, architecture=architecture, loss=loss, epochs=epochs, console=console)
        model = _get(client, f"/v1/models/{job['model_id']}")
        _print_metrics(client, model, console)
        _predict(client, model, archive, folder, synthetic=dataset is None, console=console)
    console.print(
        f"The service has stopped; everything is kept under [bold]{folder / 'data'}[/]. "
        f"Start it again with: [bold]make up DATA={folder / 'data'}[/]"
    )


def _make_dataset(path: Path, console: Console) -> Path:
    from detector.data.synthetic import write_synthetic

    console.print("[bold]1.[/] Making a small dataset: overlapping, irregular shapes on textured backgrounds")
    write_synthetic(path)
    console.print(f"   {path} ({path.stat().st_size / 1e6:.1f} MB, COCO layout)")
    return path


@contextmanager
def _service(folder: Path, console: Console) -> Iterator[httpx.Client]:
    """The embedded service as its own process; ends with the block, whatever happens in it."""
    port = _free_port()
    console.print(f"[bold]2.[/] Starting the service on http://127.0.0.1:{port}")
    log = (folder / "service.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "harmonicdet", "up", "--port", str(port), "--data", str(folder / "data")],
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches us; we stop the service
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            _wait_ready(client, process, folder / "service.log")
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_ready(
    client: httpx.Client, process: subprocess.Popen[bytes], log: Path, seconds: float = 60
) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if client.get("/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise DemoFailed(f"The service did not start; {log} says:\n{log.read_text(errors='replace')[-2000:]}")


def _upload(client: httpx.Client, archive: Path, console: Console) -> dict[str, Any]:
    """Upload, wait for the validation, print what it found."""
    console.print(f"[bold]3.[/] Uploading {archive.name} and validating it")
    with archive.open("rb") as file:
        answer = client.post(
            "/v1/datasets",
            files={"file": (archive.name, file, "application/zip")},
            data={"name": archive.stem},
        )
    dataset = _body(answer)
    while dataset["status"] == "validating":
        time.sleep(0.3)
        dataset = _get(client, f"/v1/datasets/{dataset['id']}")
    report = _get(client, f"/v1/datasets/{dataset['id']}/report?limit=10")
    if dataset["status"] == "invalid":
        _print_findings(report, console)
        raise DemoFailed(f"The dataset is invalid: {dataset['error']['detail']}")
    summary = dataset["summary"]
    splits = ", ".join(f"{name} {split['images']}" for name, split in summary["splits"].items())
    console.print(
        f"   {dataset['format'].upper()}: {summary['images']} images ({splits}), "
        f"{summary['annotations']} annotations of {len(summary['categories'])} classes, "
        f"{summary['dropped']} dropped, {summary['fixed']} fixed"
    )
    _print_findings(report, console)
    return dataset


def _print_findings(report: dict[str, Any], console: Console) -> None:
    for finding in report["data"]:
        console.print(f"   [yellow]{finding['severity']}[/] {finding['code']} at {finding['location']}")
        console.print(f"      {finding['message']}", markup=False)
    if report["has_more"]:
        console.print("   … and more in the dataset's report")


def _train(
    client: httpx.Client,
    dataset: dict[str, Any],
    *,
    architecture: str,
    loss: str,
    epochs: int | None,
    console: Console,
) -> dict[str, Any]:
    """Start a training and follow it to its end, on screen."""
    steps_per_epoch = max(1, dataset["summary"]["splits"]["train"]["images"] // BATCH)
    epochs = epochs or max(1, min(50, round(STEPS / steps_per_epoch)))
    config = {
        "architecture": architecture,
        "loss": loss,
        "epochs": epochs,
        "batch_size": BATCH,
        "warmup_steps": 50,
        "evaluate_every": max(1, epochs // 3),
    }
    job = _body(
        client.post("/v1/jobs", json={"kind": "train", "dataset_id": dataset["id"], "config": config})
    )
    console.print(
        f"[bold]4.[/] Training {architecture} with the {loss} loss: {epochs} epochs (job {job['id']})"
    )
    columns = (
        TextColumn("   {task.description:<11}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=False) as progress:
        bar = progress.add_task("queued", total=1.0, detail="")
        while job["status"] in ("queued", "running"):
            at = job["progress"] or {}
            metrics = job["metrics"] or {}
            detail = f"epoch {at['epoch']}/{at['epochs']}" if "epoch" in at else ""
            if metrics.get("last"):
                last = metrics["last"]
                detail += "".join(
                    f"  {name} {last[name]:.3f}" for name in ("loss", "AP50") if last.get(name) is not None
                )
            progress.update(
                bar,
                completed=at.get("fraction", 0.0),
                description=job["phase"] or job["status"],
                detail=detail,
            )
            time.sleep(0.5)
            job = _get(client, f"/v1/jobs/{job['id']}")
        progress.update(bar, completed=1.0, description=job["status"])
    if job["status"] != "succeeded":
        error = job["error"] or {}
        raise DemoFailed(
            f"The training {job['status']}: {error.get('detail')}\n{error.get('log_tail') or ''}"
        )
    return job


def _print_metrics(client: httpx.Client, model: dict[str, Any], console: Console) -> None:
    """The COCO table of the service, and what pycocotools says of the files that can be downloaded."""
    table = Table(title=f"COCO evaluation of {model['id']}", title_justify="left")
    for heading in ("metric", "IoU", "area", "detections"):
        table.add_column(heading)
    table.add_column("value", justify="right")
    for key, title, iou, area, detections in COCO_ROWS:
        value = model["metrics"][key]
        table.add_row(
            f"{title} ({key})", iou, area, str(detections), "none" if value is None else f"{value:.4f}"
        )
    console.print(table)
    ours = model["metrics"]["AP"]
    theirs = _pycocotools_ap(
        _artifact(client, model, "ground_truth.json"), _artifact(client, model, "detections.json")
    )
    console.print(f"   mAP {ours:.6f}; pycocotools on the downloaded detections: {theirs:.6f}")
    if abs(ours - theirs) > 1e-12:
        raise DemoFailed("The service's AP is not what pycocotools gives.")


def _pycocotools_ap(ground_truth: Any, detections: Any) -> float:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = ground_truth
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def _predict(
    client: httpx.Client,
    model: dict[str, Any],
    archive: Path,
    folder: Path,
    *,
    synthetic: bool,
    console: Console,
) -> None:
    """Detect on an image that was not trained on; save it as it is and with boxes drawn."""
    name, data = _unseen_synthetic() if synthetic else _unseen_member(client, model, archive)
    console.print(f"[bold]5.[/] Predicting on {name}")
    address = f"/v1/models/{model['id']}/predict"
    headers = {"content-type": "application/octet-stream"}
    answer = _body(client.post(address, content=data, headers=headers))
    for detection in answer["detections"][:10]:
        box = ", ".join(f"{edge:.0f}" for edge in detection["box"])
        console.print(
            f"   {detection['class_name']:<12} {detection['score']:.2f}  [{box}]",
            highlight=False,
            markup=False,
        )
    drawn = client.post(address, content=data, headers=headers | {"accept": "image/jpeg"})
    _check(drawn)
    (folder / "image.jpg").write_bytes(data)
    (folder / "prediction.jpg").write_bytes(drawn.content)
    console.print(f"   Image with boxes: [bold]{folder / 'prediction.jpg'}[/]")


def _unseen_synthetic() -> tuple[str, bytes]:
    import cv2

    from detector.data.synthetic import synthetic_image

    image, _ = synthetic_image(UNSEEN_SEED)
    _, encoded = cv2.imencode(".jpg", image[:, :, ::-1])
    return "a newly drawn image", encoded.tobytes()


def _unseen_member(client: httpx.Client, model: dict[str, Any], archive: Path) -> tuple[str, bytes]:
    """An image of the evaluated split, straight from the user's archive."""
    images = _artifact(client, model, "ground_truth.json")["images"]
    member = images[len(images) // 2]["file_name"]
    with zipfile.ZipFile(archive) as file:
        return member, file.read(member)


def _artifact(client: httpx.Client, model: dict[str, Any], name: str) -> Any:
    answer = client.get(f"/v1/models/{model['id']}/artifacts/{name}")
    _check(answer)
    return json.loads(answer.content)


def _get(client: httpx.Client, path: str) -> dict[str, Any]:
    return _body(client.get(path))


def _body(answer: httpx.Response) -> dict[str, Any]:
    _check(answer)
    body: dict[str, Any] = answer.json()
    return body


def _check(answer: httpx.Response) -> None:
    if answer.is_error:
        raise DemoFailed(
            f"{answer.request.method} {answer.request.url} answered {answer.status_code}: {answer.text}"
        )
