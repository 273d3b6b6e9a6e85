from dataclasses import replace

import pytest

from detector.evaluate import coco
from detector.evaluate.slices import Slice, slices
from tests.detector.evaluate import references
from tests.detector.evaluate.builders import Results, Truth, dataset, found, random_case, shifted, thing

BOX = (100.0, 100.0, 200.0, 200.0)
FAR = (300.0, 300.0, 400.0, 400.0)
SLENDER = (300.0, 100.0, 320.0, 200.0)  # 5 times as high as wide


def cut(truth: Truth, detections: Results) -> dict[tuple[str, str], Slice]:
    """By group and name; pycocotools' 1 is a few bits less, so AP is rounded."""
    return {
        (one.group, one.name): replace(one, AP=None if one.AP is None else round(one.AP, 9))
        for one in slices(coco.evaluation(truth, detections).comparison, truth)
    }


def test_sizes_are_cocos_own() -> None:
    truth, detections = first_images(*references.coco_bbox100(), count=30)
    metrics = coco.evaluate(truth, detections).metrics
    found_ = cut(truth, detections)
    for size in ("small", "medium", "large"):
        one = found_["size", size]
        numbers = [one.AP, one.AR100]
        assert numbers == pytest.approx([metrics[f"AP_{size}"], metrics[f"AR_{size}"]], abs=1e-9)
    assert sum(found_["size", size].objects for size in ("small", "medium", "large")) == len(
        truth["annotations"]
    )


def first_images(truth: Truth, detections: Results, *, count: int) -> tuple[Truth, Results]:
    images = truth["images"][:count]
    known = {one["id"] for one in images}
    annotations = [one for one in truth["annotations"] if one["image_id"] in known]
    return (
        {**truth, "images": images, "annotations": annotations},
        [one for one in detections if one["image_id"] in known],
    )


def test_an_object_of_exactly_32_by_32_is_small_and_medium_as_coco_has_it() -> None:
    truth = dataset(thing(0, (0, 0, 32, 32)))
    found_ = cut(truth, [found(0, (0, 0, 32, 32), 0.9)])
    metrics = coco.evaluate(truth, [found(0, (0, 0, 32, 32), 0.9)]).metrics
    for size, count in (("small", 1), ("medium", 1), ("large", 0)):
        one = found_["size", size].AP
        assert one == pytest.approx(metrics[f"AP_{size}"], abs=1e-9)
        assert found_["size", size].objects == count


def test_objects_outside_of_the_slice_need_not_be_found() -> None:
    truth = dataset(thing(0, BOX), thing(0, SLENDER))
    found_ = cut(truth, [found(0, BOX, 0.9)])
    assert found_["elongation", "below_1.5"].AP == 1.0
    assert found_["elongation", "above_3"].AP == 0.0
    assert found_["elongation", "2_to_3"].AP is None
    assert [found_["elongation", name].objects for name in ("below_1.5", "above_3")] == [1, 1]


def test_what_is_matched_to_an_object_outside_of_the_slice_counts_neither_way() -> None:
    truth = dataset(thing(0, BOX), thing(0, SLENDER))
    found_ = cut(truth, [found(0, SLENDER, 0.9), found(0, BOX, 0.5)])
    assert found_["elongation", "below_1.5"].AP == 1.0


def test_a_false_positive_is_one_of_the_slice_that_its_box_belongs_to() -> None:
    truth = dataset(thing(0, BOX), thing(0, SLENDER))
    slender_and_wrong = found(0, (500, 100, 520, 200), 0.95)
    right = [found(0, BOX, 0.9), found(0, SLENDER, 0.9)]
    found_ = cut(truth, [slender_and_wrong, *right])
    assert found_["elongation", "below_1.5"].AP == 1.0
    assert found_["elongation", "above_3"].AP == 0.5


def test_a_false_positive_counts_in_every_slice_of_a_property_of_objects() -> None:
    truth = dataset(thing(0, BOX, occluded=1), thing(0, FAR))
    right = [found(0, BOX, 0.9), found(0, FAR, 0.9)]
    found_ = cut(truth, [found(0, (500, 0, 600, 100), 0.95), *right])
    assert found_["occluded", "yes"].AP == 0.5
    assert found_["occluded", "no"].AP == 0.5
    clean = cut(truth, right)
    assert (clean["occluded", "yes"].AP, clean["occluded", "no"].AP) == (1.0, 1.0)


def test_overlap_is_with_the_nearest_other_object_of_any_class() -> None:
    truth = dataset(
        thing(0, (0, 0, 100, 100), 1),
        thing(0, (50, 0, 150, 100), 2),  # IoU 1/3 with the first
        thing(0, (300, 300, 400, 400), 1),
        thing(1, (0, 0, 100, 100), 1),  # another image
    )
    found_ = cut(truth, [])
    assert found_["overlap", "0.2_to_0.5"].objects == 2
    assert found_["overlap", "below_0.05"].objects == 2


def test_crowds_are_neither_objects_nor_others_but_have_a_slice() -> None:
    truth = dataset(
        thing(0, BOX), thing(0, (150, 150, 400, 400), crowd=1), thing(1, BOX), thing(1, (150, 100, 250, 200))
    )
    found_ = cut(truth, [found(0, BOX, 0.9)])
    assert (found_["crowd", "yes"].objects, found_["crowd", "no"].objects) == (1, 2)
    assert found_["crowd", "yes"].AP == 1.0
    assert found_["overlap", "below_0.05"].objects == 1


def test_fill_is_of_objects_with_a_mask() -> None:
    triangle = thing(0, BOX, segmentation=[[100, 100, 200, 100, 100, 200]], area=5000)
    square = thing(1, BOX, segmentation=[[100, 100, 200, 100, 200, 200, 100, 200]], area=10000)
    truth = dataset(triangle, square, thing(2, BOX))
    found_ = cut(truth, [found(0, BOX, 0.9), found(2, BOX, 0.95)])
    assert found_["fill", "0.4_to_0.6"].objects == found_["fill", "above_0.8"].objects == 1
    # The third image's object is ignored, and what is matched to it.
    assert found_["fill", "0.4_to_0.6"].AP == 1.0


def test_an_object_without_a_mask_is_in_no_slice_of_masks() -> None:
    rle = {"size": [480, 640], "counts": [100, 50, 640 * 480 - 150]}
    truth = dataset(thing(0, (0, 100, 1, 150), segmentation=rle), thing(1, (0, 0, 1, 60)))
    detection = found(0, (0, 100, 1, 150), 0.9) | {"segmentation": rle}
    by_mask = coco.evaluation(truth, [detection], "segm").comparison
    found_ = {(one.group, one.name): one for one in slices(by_mask, truth)}
    slender = found_["elongation", "above_3"]
    assert slender.objects == 1
    assert slender.AR100 == 1.0


def test_ap75_is_at_an_iou_of_075() -> None:
    truth = dataset(thing(0, BOX))
    one = cut(truth, [found(0, shifted(BOX, 0.72), 0.9)])["size", "large"]
    assert (round(one.AP50 or 0, 9), one.AP75) == (1.0, 0.0)


@pytest.mark.parametrize("flag", ["occluded", "truncated", "difficult"])
def test_a_flag_that_no_object_has_makes_no_slice(flag: str) -> None:
    assert (flag, "yes") not in cut(dataset(thing(0, BOX)), [])
    assert (flag, "yes") in cut(dataset(thing(0, BOX, **{flag: 1}), thing(1, BOX)), [])


def test_an_edge_belongs_to_the_slice_above_it() -> None:
    truth = dataset(thing(0, (0, 0, 150, 100)))
    found_ = cut(truth, [])
    assert [found_["elongation", name].objects for name in ("below_1.5", "1.5_to_2")] == [0, 1]


def test_a_box_without_width_is_slender() -> None:
    assert cut(dataset(thing(0, (10, 10, 10, 50))), [])["elongation", "above_3"].objects == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_slices_of_a_group_share_out_the_objects(seed: int) -> None:
    truth, detections = random_case(seed)
    plain = sum(not one["iscrowd"] for one in truth["annotations"])
    groups: dict[str, int] = {}
    for one in slices(coco.evaluation(truth, detections).comparison, truth):
        groups[one.group] = groups.get(one.group, 0) + one.objects
    assert set(groups.values()) == {plain}
    assert {"size", "elongation", "overlap"} <= groups.keys()


@pytest.mark.parametrize("seed", range(3))
def test_one_slice_of_everything_is_the_whole(seed: int) -> None:
    truth, detections = random_case(seed)
    for one in truth["annotations"]:
        one["difficult"] = 0
    truth["annotations"].append({**thing(0, (600, 400, 630, 430)), "difficult": 1, "id": 999})
    whole = {**truth, "annotations": truth["annotations"][:-1]}
    expected = coco.evaluate(whole, detections).metrics["AP"]
    part = cut(truth, detections)["difficult", "no"].AP
    assert part == pytest.approx(expected, abs=1e-9)
