"""Numbers that others published or computed, to all digits given."""

import pytest

from detector.evaluate import coco, voc
from tests.detector.evaluate import references

THEIR_NAMES = {"AP_small": "APs", "AP_medium": "APm", "AP_large": "APl"} | {
    "AR_small": "ARs",
    "AR_medium": "ARm",
    "AR_large": "ARl",
}


def test_cocos_twelve_numbers() -> None:
    truth, found = references.coco_bbox100()
    measured = coco.evaluate(truth, found).metrics
    expected = references.expected()["coco_bbox100"]
    for name in coco.METRICS:
        value = measured[name]
        assert value is not None
        assert f"{value:.6f}" == f"{expected[THEIR_NAMES.get(name, name)]:.6f}", name


@pytest.mark.parametrize("iou", ["0.1", "0.3", "0.5", "0.75"])
@pytest.mark.parametrize(("interpolation", "key"), [("11_points", "eleven_point"), ("area", "every_point")])
def test_voc_on_the_small_case(interpolation: voc.Interpolation, key: str, iou: str) -> None:
    truth, found = references.voc_case1()
    measured = voc.evaluate(
        truth, found, interpolation=interpolation, iou_threshold=float(iou), inclusive=True
    )
    # Ten digits are given, cut off rather than rounded.
    assert measured.mean == pytest.approx(references.expected()["voc_case1"][key][iou], rel=0, abs=1e-10)


def test_voc_on_85_images() -> None:
    truth, found = references.voc_cartucho()
    measured = voc.evaluate(truth, found, inclusive=True)
    expected = references.expected()["voc_cartucho"]
    assert measured.mean is not None
    assert f"{measured.mean:.4f}" == f"{expected['mAP']:.4f}" == "0.3105"
    classes = {one.name: f"{100 * one.AP:.2f}" for one in measured.per_class if one.AP is not None}
    assert classes == {name: f"{value:.2f}" for name, value in expected["AP"].items()}
