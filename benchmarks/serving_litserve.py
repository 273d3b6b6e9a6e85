"""Predictions over HTTP against LitServe with the same graph on the same cores. Goal: 1.25 times as many.

LitServe is installed in an environment of its own, with the versions of ONNX Runtime, OpenCV, simplejpeg and
NumPy that are used here. It is given what suits it best: a worker process for each core, each with a
single-threaded session of its own, the JPEG as the raw body; its queues and numbers of HTTP processes are all
tried, and the goal is held against the best. The graph takes one image, so there is nothing to batch. Both
sides answer the same detections, and this is looked at first. Exit status 3 where LitServe is not to be had.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import console, interleaved, report
from benchmarks.http_load import Server, answer, free_port, load, served
from benchmarks.peers import MISSING, PeerMissing, environment, same
from benchmarks.served_model import Files, api, asked, cores, picture, posted, stored, written

IMAGES = 40  # of a round
CONNECTIONS = 4
ROUNDS = 8
GOAL = 1.25
REQUIREMENTS = [
    "litserve==0.2.19",
    *same("onnxruntime", "opencv-python-headless", "simplejpeg", "numpy"),
]
_LEAST_SCORE = 0.05  # of a detector that has learned nothing some are above


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    try:
        python = environment("litserve", REQUIREMENTS)
    except PeerMissing as error:
        print(f"name=serving_litserve goal={GOAL} missing: {error}", file=sys.stderr)
        return MISSING
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = _finding(written(folder))
        jpeg = picture()
        (model,) = stored(folder / "data", files)
        rows = []
        with api(folder / "data", folder / "api.log") as ours:
            for fast_queue in (False, True):
                for servers in sorted({1, cores()}):
                    times = _compared(ours, asked(model, jpeg), python, files, fast_queue, servers, rounds)
                    queue = "ZeroMQ" if fast_queue else "its default queue"
                    rows.append((f"LitServe with {queue}, {servers} HTTP process(es)", *times))
    return 0 if report("serving_litserve", GOAL, rows) else 1


def _finding(files: Files) -> Files:
    """The same model with a threshold that some of its detections pass."""
    card = json.loads(files.card.read_text())
    files.card.write_text(json.dumps(card | {"score_threshold": _LEAST_SCORE}))
    return files


def _compared(
    ours: Server, ask: bytes, python: Path, files: Files, fast_queue: bool, servers: int, rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of `IMAGES` predictions, ours and LitServe's by turns."""
    port = free_port()
    app = str(Path(__file__).with_name("litserve_app.py"))
    arguments = [app, "--graph", str(files.graph), "--card", str(files.card), "--port", str(port)]
    arguments += ["--workers", str(cores()), "--servers", str(servers), *["--fast-queue"][:fast_queue]]
    log = files.graph.with_name("litserve.log")
    body = ask.partition(b"\r\n\r\n")[2]
    theirs_asked = posted("/predict", body)
    with served(arguments, port, "/health", log, python=python) as theirs:
        _look_alike(answer(ours.port, ask), answer(theirs.port, theirs_asked))

        def mine() -> None:
            load(ours, [ask], total=IMAGES, connections=CONNECTIONS, status=200)

        def others() -> None:
            load(theirs, [theirs_asked], total=IMAGES, connections=CONNECTIONS, status=200)

        times = interleaved(mine, others, rounds)
        costs = [
            load(server, [one], total=IMAGES, connections=CONNECTIONS, status=200).cpu_seconds
            for server, one in ((ours, ask), (theirs, theirs_asked))
        ]
    console.print(f"CPU of an image: {1e3 * costs[0]:.1f} ms of ours, {1e3 * costs[1]:.1f} of LitServe")
    return times


def _look_alike(ours: tuple[int, object, bytes], theirs: tuple[int, object, bytes]) -> None:
    """Raise `RuntimeError` unless both have found the same."""
    if (ours[0], theirs[0]) != (200, 200):
        raise RuntimeError(f"answered {ours} and {theirs}")
    mine, others = (json.loads(one[2])["detections"] for one in (ours, theirs))
    if not mine or len(mine) != len(others):
        raise RuntimeError(f"{len(mine)} detections and {len(others)}")
    for one, other in zip(mine, others, strict=True):
        pairs = zip([*one["box"], one["score"]], [*other["box"], other["score"]], strict=True)
        if one["class_id"] != other["class_id"] or any(abs(a - b) > 1e-3 for a, b in pairs):
            raise RuntimeError(f"{one} and {other}")


if __name__ == "__main__":
    raise SystemExit(main())
