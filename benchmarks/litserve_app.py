"""The same detector behind LitServe: run by `benchmarks.serving_litserve`, in LitServe's own environment.

It takes the bytes of a JPEG as the body, as LitServe's FastAPI can: no form to parse, no base64.
"""

import argparse
import json
from pathlib import Path
from typing import Annotated, Any

import cv2
import litserve
import numpy as np
import onnxruntime
import simplejpeg
from fastapi import Body


class Detector(litserve.LitAPI):  # type: ignore[misc]
    """Decode, resize and run in a worker with a session of its own. The graph takes one image at a time, so
    that there is nothing to batch."""

    def __init__(self, graph: str, card: dict[str, Any]) -> None:
        super().__init__()
        self._graph = graph
        self._size = card["input"]["size"]
        self._threshold = card["score_threshold"]
        self._names = [one["name"] for one in card["classes"]]
        self._ids = [one["id"] for one in card["classes"]]

    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(self._graph, options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: Annotated[bytes, Body()]) -> Any:
        return simplejpeg.decode_jpeg(request)

    def predict(self, pixels: Any) -> Any:
        height, width = pixels.shape[:2]
        resized = cv2.resize(pixels, (self._size, self._size), interpolation=cv2.INTER_AREA)
        boxes, scores, labels = self._session.run(None, {"image": resized})
        wanted = np.flatnonzero(scores >= self._threshold)[:100]
        scale = np.array([width / self._size, height / self._size] * 2, np.float32)
        limit = np.array([width, height] * 2, np.float32)
        return (width, height), np.clip(boxes[wanted] * scale, 0, limit), scores[wanted], labels[wanted]

    def encode_response(self, output: Any) -> dict[str, Any]:
        (width, height), boxes, scores, labels = output
        found = zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True)
        return {
            "image": {"width": width, "height": height},
            "detections": [
                {"box": box, "score": score, "class_id": self._ids[k], "class_name": self._names[k]}
                for box, score, k in found
            ],
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--graph", required=True)
    parser.add_argument("--card", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--servers", type=int, required=True)
    parser.add_argument("--fast-queue", action="store_true")
    told = parser.parse_args()
    card = json.loads(Path(told.card).read_text())
    server = litserve.LitServer(
        Detector(told.graph, card),
        accelerator="cpu",
        workers_per_device=told.workers,
        fast_queue=told.fast_queue,
    )
    server.run(
        host="127.0.0.1",
        port=told.port,
        num_api_servers=told.servers,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
