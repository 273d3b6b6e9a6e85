"""What is in a dataset: statistics, images with their boxes, the images themselves and previews."""

import io
import zipfile
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from api.kept import Kept
from api.services import Services
from detector.data.records import Annotation, Category, DatasetIndex, ImageRecord
from detector.draw import colour_of
from store import datasets
from tests.api.helpers import FINDING, SUMMARY, claimed, encoded, picture, problem

FILES = {
    "images/a.png": encoded(picture()),
    "images/b.jpg": encoded(picture(256, 512), "JPEG"),
    "images/../c.txt": b"",
    "images/c.txt": encoded(picture(), "WEBP"),
    "images/d.bmp": encoded(picture(), "BMP"),
}
NAMES = ["images/a.png", "images/b.jpg", "images/c.txt", "images/d.bmp"]
INDEX = DatasetIndex(
    "coco",
    [Category(3, "red"), Category(90, "green")],
    [
        ImageRecord(
            7,
            NAMES[0],
            "train",
            128,
            128,
            [Annotation(11, 3, (32, 16, 96, 64), 3072.0), Annotation(12, 90, (0, 0, 16, 8), 100.5, True)],
        ),
        ImageRecord(
            8, NAMES[1], "val", 512, 256, [Annotation(13, 3, (0, 0, 512, 256), 131072.0, occluded=True)]
        ),
        ImageRecord(9, NAMES[2], "train", 128, 128),
        ImageRecord(10, NAMES[3], "train", 128, 128, [Annotation(14, 90, (0, 0, 128, 64), 8192.0)]),
    ],
)


@pytest.fixture
def path(client: TestClient, services: Services) -> str:
    """The path of a dataset of four images."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in NAMES:
            file.writestr(name, FILES[name])
    made = client.post(
        "/v1/datasets", content=buffer.getvalue(), headers={"Content-Type": "application/zip"}
    ).json()
    claim = claimed(services, made["validation_job_id"])
    services.database.run(
        lambda s: datasets.mark_ready(
            s,
            claim,
            index=services.blobs.put_bytes(msgspec.json.encode(INDEX)).key,
            format="coco",
            summary=SUMMARY,
            images=[
                {
                    "file_name": one.file_name,
                    "split": one.split,
                    "width": one.width,
                    "height": one.height,
                    "boxes": len(one.annotations),
                }
                for one in INDEX.images
            ],
            findings=[FINDING | {"image": NAMES[1]}, FINDING | {"image": "gone.jpg"}, FINDING],
        )
    )
    return f"/v1/datasets/{made['id']}"


def bins(histogram: list[dict[str, Any]]) -> dict[float, int]:
    return {one["start"]: one["count"] for one in histogram if one["count"]}


def test_statistics_are_those_of_the_boxes(client: TestClient, path: str) -> None:
    answer = client.get(f"{path}/stats")
    stats = answer.json()
    assert (stats["images"], stats["boxes"], stats["negatives"], stats["crowds"]) == (4, 4, 1, 1)
    assert stats["splits"] == [
        {"name": "train", "images": 3, "boxes": 3, "negatives": 1},
        {"name": "val", "images": 1, "boxes": 1, "negatives": 0},
    ]
    red, green = stats["classes"]
    assert red == {
        "id": 3,
        "name": "red",
        "boxes": 2,
        "images": 2,
        "share": 0.5,
        "splits": {"train": 1, "val": 1},
    }
    assert (green["id"], green["splits"]) == (90, {"train": 2, "val": 0})
    assert stats["box_sizes"] == {"small": 1, "medium": 2, "large": 1}
    assert bins(stats["boxes_per_image"]["histogram"]) == {0: 1, 1: 2, 2: 1}
    assert bins(stats["relative_areas"]) == {0.003: 1, 0.1: 1, 0.3: 2}
    assert bins(stats["aspect_ratios"]) == {1.25: 1, 2.0: 3}
    assert stats["image_sizes"]["most_common"][0] == {"width": 128, "height": 128, "images": 3}
    again = client.get(f"{path}/stats", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_images_are_paged_with_their_boxes(client: TestClient, path: str) -> None:
    first = client.get(f"{path}/images", params={"limit": 3}).json()
    assert [one["file_name"] for one in first["data"]] == NAMES[:3]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (0, 2, True)
    assert [box["id"] for box in first["data"][0]["boxes"]] == [11, 12]
    assert first["data"][0]["boxes"][1] == {
        "id": 12,
        "box": [0.0, 0.0, 16.0, 8.0],
        "category_id": 90,
        "category": "green",
        "area": 100.5,
        "crowd": True,
        "difficult": False,
        "truncated": False,
        "occluded": False,
    }
    assert first["data"][1]["boxes"][0]["occluded"] is True
    rest = client.get(f"{path}/images", params={"after": 2}).json()
    assert [(one["id"], one["image_id"]) for one in rest["data"]] == [(3, 10)]
    assert rest["has_more"] is False


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("split=train", [0, 2, 3]),
        ("split=nowhere", []),
        ("category_id=3", [0, 1]),
        ("category_id=90&split=train&after=0", [3]),
        ("category_id=4", []),
        ("findings=true", [1]),
        ("findings=false&limit=2", [0, 2]),
        ("after=2147483647", []),
    ],
)
def test_images_are_filtered(client: TestClient, path: str, query: str, found: list[int]) -> None:
    page = client.get(f"{path}/images?{query}").json()
    assert [one["id"] for one in page["data"]] == found
    assert page["has_more"] is (query == "findings=false&limit=2")


def test_findings_say_which_image_they_are_about(client: TestClient, path: str) -> None:
    assert [one["image"] for one in client.get(f"{path}/report").json()["data"]] == [1, None, None]
    counts = [one["findings"] for one in client.get(f"{path}/images").json()["data"]]
    assert counts == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("position", "kind"), [(0, "image/png"), (1, "image/jpeg"), (2, "image/webp"), (3, "image/bmp")]
)
def test_an_image_is_served_as_what_it_is_whatever_its_name(
    client: TestClient, path: str, position: int, kind: str
) -> None:
    answer = client.get(f"{path}/images/{position}/content")
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.content == FILES[NAMES[position]]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    again = client.get(f"{path}/images/{position}/content", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_preview_shows_the_boxes(client: TestClient, path: str) -> None:
    answer = client.get(f"{path}/images/0/preview")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    drawn = np.asarray(Image.open(io.BytesIO(answer.content))).astype(int)
    assert drawn.shape == (128, 128, 3)  # never larger than it is
    assert np.abs(drawn[64, 60:90] - colour_of(3)).mean() < 60  # the lower edge of the red box
    assert drawn[100:, 110:].max() < 40
    small = client.get(f"{path}/images/1/preview", params={"size": 64})
    assert Image.open(io.BytesIO(small.content)).size == (64, 32)
    assert small.headers["etag"] != client.get(f"{path}/images/1/preview").headers["etag"]
    bare = client.get(f"{path}/images/0/preview", params={"boxes": "false"})
    assert bare.headers["etag"] != answer.headers["etag"]
    pixels = np.asarray(Image.open(io.BytesIO(bare.content))).astype(int)
    assert np.abs(pixels[64, 60:90] - colour_of(3)).mean() > 60


@pytest.mark.parametrize("position", ["4", "-1", "x", "99999999999", "..%2F..%2Fetc%2Fpasswd"])
@pytest.mark.parametrize("what", ["content", "preview"])
def test_no_other_image_is_served(client: TestClient, path: str, position: str, what: str) -> None:
    assert client.get(f"{path}/images/{position}/{what}").status_code == 404


def test_a_preview_has_a_bounded_size(client: TestClient, path: str) -> None:
    for size in ("63", "2049", "large"):
        problem(client.get(f"{path}/images/0/preview?size={size}"), 422, "validation_failed")


def test_a_dataset_that_is_not_ready_has_nothing_to_show(client: TestClient, dataset: dict[str, Any]) -> None:
    path = f"/v1/datasets/{dataset['id']}"
    for what in ("stats", "images"):
        problem(client.get(f"{path}/{what}"), 409, "dataset_not_ready")
    for what in ("content", "preview"):
        problem(client.get(f"{path}/images/0/{what}"), 404, "dataset_image_not_found")


def test_what_is_kept_is_loaded_once_and_what_was_used_longest_ago_makes_room() -> None:
    loaded: list[str] = []

    def load(key: str) -> str:
        loaded.append(key)
        return key

    kept = Kept(load, len, 5)
    for key in ("aa", "bb", "aa", "ccc", "aa", "bb", "dddddddd", "dddddddd"):
        assert kept.get(key) == key
    assert loaded == ["aa", "bb", "ccc", "bb", "dddddddd"]


def test_datasets_are_polled_by_etag_and_found_by_metadata(client: TestClient) -> None:
    made = {}
    for source, quote in (("a", 'say "x"'), ("b", 'say "x"'), ("b", "ü")):
        metadata = msgspec.json.encode({"source": source, 'a "name"]': quote}).decode()
        answer = client.post(
            "/v1/datasets",
            params={"metadata": metadata},
            content=b"zip",
            headers={"Content-Type": "application/zip"},
        )
        made[source, quote] = answer.json()["id"]

    def found(**wanted: str) -> set[str]:
        params = {f"metadata[{name}]": value for name, value in wanted.items()}
        return {one["id"] for one in client.get("/v1/datasets", params=params).json()["data"]}

    assert found(source="b") == {made["b", 'say "x"'], made["b", "ü"]}
    assert found(source="b", **{'a "name"]': 'say "x"'}) == {made["b", 'say "x"']}
    assert found(**{'a "name"]': "ü"}) == {made["b", "ü"]}
    assert found(source="c") == found(nothing="b") == found(**{"": ""}) == set()
    assert len(found()) == 3
    problem(client.get("/v1/datasets?metadata[a]=1&metadata[a]=2"), 422, "validation_failed")
    many = "&".join(f"metadata[{number}]=x" for number in range(11))
    problem(client.get(f"/v1/datasets?{many}"), 422, "validation_failed")

    path = f"/v1/datasets/{made['b', 'ü']}"
    etag = client.get(path).headers["etag"]
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 304


def test_jobs_and_models_are_found_by_metadata(client: TestClient, job: dict[str, Any], model: str) -> None:
    body = {"kind": "train", "dataset_id": job["spec"]["dataset_id"], "metadata": {"run": "2"}}
    other = client.post("/v1/jobs", json=body).json()["id"]
    found = client.get("/v1/jobs", params={"metadata[run]": "2"}).json()["data"]
    assert [one["id"] for one in found] == [other]
    assert [one["id"] for one in client.get("/v1/models").json()["data"]] == [model]
    assert client.get("/v1/models", params={"metadata[run]": "2"}).json()["data"] == []
