"""Predictions over HTTP against the bare loop on the same cores. Goal: 0.9 times as many images a second.

Reference: as many threads as cores, each decoding a JPEG, resizing it and running the same graph in ONNX
Runtime, nothing else. Ours: the API as a process of its own, four connections that ask again once answered;
the client shares the cores. The detector is an SSDlite320 of random weights, the picture 640 x 480.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import cv2
import onnxruntime
import simplejpeg

from benchmarks.harness import console, interleaved, report
from benchmarks.http_load import load
from benchmarks.served_model import SIZE, api, asked, cores, picture, stored, written

IMAGES = 160  # of a round: its end, where one thread may wait for the other, weighs little
CONNECTIONS = 4
ROUNDS = 12
GOAL = 0.9


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, jpeg = written(folder), picture()
        (model,) = stored(folder / "data", files)
        with api(folder / "data", folder / "api.log") as server:
            request = asked(model, jpeg)

            def over_http() -> None:
                load(server, [request], total=IMAGES, connections=CONNECTIONS, status=200)

            bare = bare_loop(files.graph, jpeg)
            times = interleaved(over_http, bare, rounds)
            ours = load(server, [request], total=IMAGES, connections=CONNECTIONS, status=200).cpu_seconds
            before = time.process_time()
            bare()
            reference = (time.process_time() - before) / IMAGES
    console.print(
        f"CPU of an image: {1e3 * ours:.1f} ms of the server, {1e3 * reference:.1f} of the bare loop"
    )
    case = f"{IMAGES} images of 640 x 480, {cores()} cores, {CONNECTIONS} connections"
    return report("serving", GOAL, [(case, *times)])


def bare_loop(graph: Path, jpeg: bytes) -> Callable[[], None]:
    """Decodes, resizes and runs `IMAGES` times, divided among as many threads as there are cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for _ in range(cores())
    ]
    pool = ThreadPoolExecutor(cores())

    def work(session: onnxruntime.InferenceSession) -> None:
        for _ in repeat(None, IMAGES // cores()):
            pixels = simplejpeg.decode_jpeg(jpeg)
            resized = cv2.resize(pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            session.run(None, {"image": resized})

    def loop() -> None:
        list(pool.map(work, sessions))

    return loop


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
