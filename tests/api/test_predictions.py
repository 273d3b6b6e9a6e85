"""Predictions: images of every kind in, detections or a drawn picture out."""

import io
from typing import Any

import numpy as np
import pytest
from httpx2 import Response
from PIL import Image
from starlette.testclient import TestClient

from api.services import Services
from detector.data.masks import polygon_area
from detector.run_lengths import bitmap
from tests.api.helpers import ABSENT, encoded, picture, problem, trained

RED = [32.0, 16.0, 96.0, 64.0]


def post(
    client: TestClient, model: str, data: bytes, kind: str = "application/octet-stream", **query: Any
) -> Response:
    return client.post(
        f"/v1/models/{model}/predict", content=data, headers={"Content-Type": kind}, params=query
    )


def test_what_is_red_is_found_with_the_datasets_own_class_id(client: TestClient, model: str) -> None:
    answer = post(client, model, encoded(picture()), "image/png")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["object"], body["model"], body["box_format"]) == ("prediction", model, "xyxy")
    assert body["image"] == {"width": 128, "height": 128, "file_name": None}
    assert body["detections"] == [
        {"box": RED, "score": pytest.approx(230 / 255, abs=1e-6), "class_id": 7, "class_name": "red"}
    ]
    assert set(body["timing_ms"]) == {"queue", "decode", "detect", "total"}


def test_boxes_are_in_pixels_of_the_image_whatever_its_size(client: TestClient, model: str) -> None:
    pixels = np.zeros((320, 640, 3), np.uint8)
    pixels[100:200, 300:500, 1] = 255
    body = post(client, model, encoded(pixels)).json()
    assert body["image"]["width"] == 640
    assert body["detections"][0]["class_name"] == "green"
    assert body["detections"][0]["box"] == pytest.approx([300, 100, 500, 200], abs=10)


@pytest.mark.parametrize(
    ("box_format", "expected"),
    [("xyxy", RED), ("xywh", [32.0, 16.0, 64.0, 48.0]), ("cxcywh", [64.0, 40.0, 64.0, 48.0])],
)
def test_boxes_come_in_the_format_asked_for(
    client: TestClient, model: str, box_format: str, expected: list[float]
) -> None:
    body = post(client, model, encoded(picture()), box_format=box_format).json()
    assert (body["box_format"], body["detections"][0]["box"]) == (box_format, expected)


def test_detections_are_chosen_by_score_number_and_class(client: TestClient, model: str) -> None:
    data = encoded(picture())

    def classes(**query: Any) -> list[str]:
        found = post(client, model, data, **query).json()["detections"]
        return [detection["class_name"] for detection in found]

    assert classes() == ["red"]  # the card says 0.5
    assert classes(score_threshold=0) == ["red", "green"]
    assert classes(score_threshold=0.95) == []
    assert classes(score_threshold=0, max_detections=1) == ["red"]
    assert classes(score_threshold=0, classes="green") == ["green"]
    assert classes(score_threshold=0, classes="40") == ["green"]
    assert classes(score_threshold=0, classes="7, green") == ["red", "green"]
    assert classes(score_threshold=0, classes=["red", "40"]) == ["red", "green"]


def test_each_class_may_have_its_threshold(client: TestClient, model: str) -> None:
    data = encoded(picture())

    def classes(*thresholds: str, **query: Any) -> list[str]:
        found = post(client, model, data, score_threshold=list(thresholds), **query).json()["detections"]
        return [detection["class_name"] for detection in found]

    assert classes("green:0") == ["red", "green"]
    assert classes("0", "red:0.95") == ["green"]
    assert classes("40:0", "7:1") == ["green"]
    assert classes("0", classes="green") == ["green"]


def test_thresholds_come_from_the_evaluation_when_asked_for(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    points = {
        "max_f1": {"overall": 0.2, "per_class": {"7": 0.95, "40": 0.0}},
        "precision": {"overall": None, "per_class": {"7": 0.1, "40": None}},
    }
    model = trained(services, job["id"], operating_points=points)

    def classes(**query: Any) -> list[str]:
        found = post(client, model, encoded(picture()), **query).json()["detections"]
        return [detection["class_name"] for detection in found]

    assert classes() == ["red"]
    assert classes(operating_point="max_f1") == ["green"]
    assert classes(operating_point="precision") == ["red"]  # none reaches it for green
    assert classes(operating_point="max_f1", classes="red") == []
    both = post(client, model, encoded(picture()), operating_point="max_f1", score_threshold=0.5)
    assert problem(both, 422, "validation_failed")["errors"][0]["code"] == "exclusive"


def test_a_model_without_operating_points_says_so(client: TestClient, model: str) -> None:
    answer = post(client, model, encoded(picture()), operating_point="max_f1")
    assert problem(answer, 422, "validation_failed")["errors"][0]["code"] == "operating_point_unavailable"


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"classes": "blue"}, "query:classes"),
        ({"score_threshold": "blue:0.5"}, "query:score_threshold"),
        ({"score_threshold": ["red:0.5", "7:0.6"]}, "query:score_threshold"),
        ({"score_threshold": ["0.5", "0.6"]}, "query:score_threshold"),
        ({"score_threshold": "red:"}, "query:score_threshold"),
        ({"score_threshold": "1_0"}, "query:score_threshold"),
        ({"operating_point": "best"}, "query:operating_point"),
        ({"score_threshold": 1.5}, "query:score_threshold"),
        ({"score_threshold": "nan"}, "query:score_threshold"),
        ({"max_detections": 0}, "query:max_detections"),
        ({"box_format": "yxyx"}, "query:box_format"),
    ],
)
def test_a_wrong_parameter_is_named(
    client: TestClient, model: str, query: dict[str, Any], pointer: str
) -> None:
    body = problem(post(client, model, encoded(picture()), **query), 422, "validation_failed")
    assert body["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    "data",
    [
        encoded(picture(), "JPEG", quality=95),
        encoded(picture(), "JPEG", quality=95, progressive=True),
        encoded(picture(), "JPEG", "CMYK", quality=95),
        encoded(picture(), "PNG", "P"),
        encoded(picture(), "PNG", "RGBA"),
        encoded(picture(), "WEBP", lossless=True),
        encoded(picture(), "BMP"),
    ],
    ids=["jpeg", "progressive", "cmyk", "palette", "alpha", "webp", "bmp"],
)
def test_every_kind_of_colour_image_is_read(client: TestClient, model: str, data: bytes) -> None:
    found = post(client, model, data).json()["detections"]
    assert [detection["class_name"] for detection in found] == ["red"]
    assert found[0]["box"] == pytest.approx(RED, abs=2)


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "L"), ("PNG", "L"), ("PNG", "1"), ("PNG", "I;16")])
def test_a_greyscale_image_is_as_red_as_it_is_green(
    client: TestClient, model: str, kind: str, mode: str
) -> None:
    grey = np.zeros((128, 128), np.uint8)
    grey[16:64, 32:96] = 255
    buffer = io.BytesIO()
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey)
    (image if mode == "I;16" else image.convert(mode)).save(buffer, kind)
    found = post(client, model, buffer.getvalue()).json()["detections"]
    assert {detection["class_name"] for detection in found} == {"red", "green"}
    assert all(detection["box"] == pytest.approx(RED, abs=2) for detection in found)


def test_an_image_is_turned_upright_as_its_exif_says(client: TestClient, model: str) -> None:
    upright = picture(height=128, width=192)
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))  # to be turned by 90 degrees clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", quality=95, exif=exif)
    body = post(client, model, buffer.getvalue()).json()
    assert (body["image"]["width"], body["image"]["height"]) == (192, 128)
    assert body["detections"][0]["box"] == pytest.approx(RED, abs=4)


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream"])
def test_a_text_file_is_a_problem_that_says_so(client: TestClient, model: str, kind: str) -> None:
    body = problem(post(client, model, b"Dear model, what is on this picture?", kind), 422, "image_invalid")
    assert "JPEG, PNG, WebP or BMP" in body["detail"]


def test_a_truncated_image_is_refused(client: TestClient, model: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = encoded(noise, "JPEG")
    problem(post(client, model, data[: len(data) // 2]), 422, "image_invalid")


def test_an_image_with_too_many_pixels_is_refused(client: TestClient, model: str) -> None:
    body = problem(post(client, model, encoded(np.zeros((1001, 1000, 3), np.uint8))), 422, "image_invalid")
    assert "1001000" in body["detail"]


def test_a_body_over_the_limit_is_refused(client: TestClient, model: str) -> None:
    problem(post(client, model, b"x" * 500_001), 413, "body_too_large")
    answer = client.post(f"/v1/models/{model}/predict", files={"image": ("a.jpg", b"x" * 500_001)})
    problem(answer, 413, "body_too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/x-www-form-urlencoded", ""])
def test_another_media_type_is_refused(client: TestClient, model: str, kind: str) -> None:
    problem(post(client, model, b"hello", kind), 415, "media_type_unsupported")


def test_an_empty_body_is_refused(client: TestClient, model: str) -> None:
    body = problem(post(client, model, b"", "image/png"), 422, "validation_failed")
    assert body["errors"][0]["code"] == "image_missing"


def test_several_images_come_back_in_their_order(client: TestClient, model: str) -> None:
    green = np.full((32, 48, 3), (0, 255, 0), np.uint8)
    files = [
        ("image", ("a.png", encoded(picture()), "image/png")),
        ("image", ("b.png", encoded(green), "image/png")),
    ]
    answer = client.post(f"/v1/models/{model}/predict", files=files)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["object"] == "list"
    assert [item["image"]["file_name"] for item in body["data"]] == ["a.png", "b.png"]
    assert [item["detections"][0]["class_name"] for item in body["data"]] == ["red", "green"]
    assert body["data"][1]["detections"][0]["box"] == [0.0, 0.0, 48.0, 32.0]


def test_the_one_bad_image_of_several_is_named(client: TestClient, model: str) -> None:
    files = [("image", ("a.png", encoded(picture()))), ("image", ("notes.txt", b"hello"))]
    body = problem(client.post(f"/v1/models/{model}/predict", files=files), 422, "image_invalid")
    assert body["detail"].startswith("Image 2 (notes.txt): ")


def test_too_many_images_are_refused(client: TestClient, model: str) -> None:
    files = [("image", (f"{n}.png", b"x")) for n in range(17)]
    problem(client.post(f"/v1/models/{model}/predict", files=files), 413, "body_too_large")


def test_a_form_without_images_is_refused(client: TestClient, model: str) -> None:
    answer = client.post(f"/v1/models/{model}/predict", data={"score": "1"}, files={"image": ("a", b"x")})
    body = problem(answer, 422, "validation_failed")
    assert body["errors"][0]["pointer"] == "form:score"


@pytest.mark.parametrize(("accept", "kind"), [("image/jpeg", "JPEG"), ("image/png", "PNG")])
def test_the_drawn_image_shows_the_box(client: TestClient, model: str, accept: str, kind: str) -> None:
    headers = {"Accept": accept, "Content-Type": "image/png"}
    answer = client.post(f"/v1/models/{model}/predict", content=encoded(picture()), headers=headers)
    assert answer.headers["content-type"] == accept
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size) == (kind, (128, 128))
        drawn = np.asarray(image.convert("RGB")).astype(int)
    changed = np.abs(drawn - picture()).sum(axis=2) > 150
    assert changed[30:60, 31:34].any(axis=1).all()  # the left edge of the box
    assert not changed[80:, 100:].any()


def test_the_drawn_image_follows_the_parameters(client: TestClient, model: str) -> None:
    headers = {"Accept": "image/png", "Content-Type": "image/png"}
    path = f"/v1/models/{model}/predict?score_threshold=0.99"
    answer = client.post(path, content=encoded(picture()), headers=headers)
    with Image.open(io.BytesIO(answer.content)) as image:
        assert np.array_equal(np.asarray(image), picture())


def test_several_images_cannot_be_drawn(client: TestClient, model: str) -> None:
    files = [("image", ("a.png", encoded(picture())))] * 2
    answer = client.post(f"/v1/models/{model}/predict", files=files, headers={"Accept": "image/png"})
    problem(answer, 406, "not_acceptable")


def test_another_answer_than_json_or_a_picture_is_not_acceptable(client: TestClient, model: str) -> None:
    headers = {"Accept": "text/csv", "Content-Type": "image/png"}
    answer = client.post(f"/v1/models/{model}/predict", content=encoded(picture()), headers=headers)
    problem(answer, 406, "not_acceptable")


def test_an_absent_model_is_not_found(client: TestClient) -> None:
    problem(post(client, f"mdl_{ABSENT}", encoded(picture())), 404, "model_not_found")


def test_beyond_the_queue_predictions_are_refused_and_worth_another_try(
    client: TestClient, services: Services, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.predictions, "_limit", 0)
    answer = post(client, model, encoded(picture()))
    problem(answer, 503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1


def test_the_cards_threshold_is_the_default(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    model = trained(services, job["id"], score_threshold=0.95)
    assert post(client, model, encoded(picture())).json()["detections"] == []


# --- masks ---


@pytest.fixture
def masked(client: TestClient, services: Services, ready: dict[str, Any]) -> str:
    """A model whose every detection has the left half of its box as its mask, with a hole."""
    asked = {"kind": "train", "dataset_id": ready["id"], "config": {"architecture": "maskrcnn_resnet50_fpn"}}
    job = client.post("/v1/jobs", json=asked).json()
    return trained(services, job["id"], masks=True, architecture="maskrcnn_resnet50_fpn")


def mask_of(answer: Response) -> Any:
    """Of the only detection, in the one form that was asked for."""
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["detections"]
    (form,) = found["mask"].values()
    return form


def test_a_mask_comes_as_run_lengths_of_the_whole_image(client: TestClient, masked: str) -> None:
    mask = bitmap(mask_of(post(client, masked, encoded(picture()))))
    assert mask.shape == (128, 128)
    x1, y1, x2, y2 = map(int, RED)
    middle = (x1 + x2) // 2
    left = mask[y1 + 1 : y2 - 1, x1 + 1 : middle - 1]
    assert not mask[:, middle + 2 :].any()
    assert not mask[: y1 - 1].any()
    assert left[1].all()
    assert not left[left.shape[0] // 2].all()  # the hole
    assert mask.sum() == pytest.approx(48 * 32 * (1 - 48 / 392), rel=0.1)


def test_polygons_are_the_outline_of_the_same_mask_with_holes_filled(client: TestClient, masked: str) -> None:
    mask = bitmap(mask_of(post(client, masked, encoded(picture()), masks="rle")))
    (outline,) = mask_of(post(client, masked, encoded(picture()), masks="polygons"))
    rows, columns = np.nonzero(mask)
    assert (min(outline[0::2]), max(outline[0::2])) == (columns.min(), columns.max() + 1)
    assert (min(outline[1::2]), max(outline[1::2])) == (rows.min(), rows.max() + 1)
    assert mask.sum() < polygon_area(outline) < 1.3 * mask.sum()


def test_masks_can_be_left_out_and_of_a_model_without_any_are_refused(
    client: TestClient, services: Services, model: str, masked: str
) -> None:
    for one, asked in ((masked, {"masks": "none"}), (model, {}), (model, {"masks": "none"})):
        (found,) = post(client, one, encoded(picture()), **asked).json()["detections"]
        assert "mask" not in found
    refused = problem(post(client, model, encoded(picture()), masks="rle"), 422, "validation_failed")
    assert refused["errors"][0]["pointer"] == "query:masks"
    assert refused["errors"][0]["code"] == "masks_unavailable"
    problem(post(client, masked, encoded(picture()), masks="png"), 422, "validation_failed")


def test_a_model_says_whether_it_gives_masks(client: TestClient, model: str, masked: str) -> None:
    assert client.get(f"/v1/models/{model}").json()["masks"] is False
    assert client.get(f"/v1/models/{masked}").json()["masks"] is True


def test_a_mask_is_drawn(client: TestClient, masked: str) -> None:
    answer = client.post(
        f"/v1/models/{masked}/predict",
        content=encoded(picture()),
        headers={"Content-Type": "application/octet-stream", "Accept": "image/png"},
    )
    drawn = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert drawn[60, 88].tolist() == [230, 0, 0]
    assert drawn[60, 40].tolist() != [230, 0, 0]
