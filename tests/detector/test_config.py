"""What does not fit together is refused with the names of both fields."""

from typing import Any

import pytest
from pydantic import ValidationError

from detector.config import TrainConfig
from detector.models import input_specs


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"batch_size": 8, "gradient_accumulation": 3}, ("batch_size 8", "gradient_accumulation 3")),
        (
            {"architecture": "ssd300_vgg16", "augmentation": {"multi_scale": [256, 300]}},
            ("augmentation.multi_scale", "architecture", "ssd300_vgg16"),
        ),
        (
            {"architecture": "refinedet320", "augmentation": {"multi_scale": [320]}},
            ("augmentation.multi_scale", "refinedet320"),
        ),
        (
            {"augmentation": {"multi_scale": [320, 330]}},
            ("augmentation.multi_scale 330", "image_size", "multiple of 32"),
        ),
        (
            {
                "architecture": {"kind": "fcos_resnet50_fpn", "image_size": 400, "max_size": 600},
                "augmentation": {"multi_scale": [400, 800]},
            },
            ("augmentation.multi_scale 800", "max_size 600"),
        ),
        ({"aspect_ratio_grouping": True}, ("aspect_ratio_grouping", "ssdlite320_mobilenet_v3_large")),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[0],
)
def test_what_does_not_fit_together_is_refused_with_both_names(
    config: dict[str, Any], named: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationError) as refused:
        TrainConfig.model_validate(config)
    for name in named:
        assert name in str(refused.value)


@pytest.mark.parametrize(
    ("config", "kind", "lr"),
    [
        ({}, "sgd", 0.02),
        ({"architecture": "retinanet_resnet50_fpn"}, "adamw", 2e-4),
        ({"architecture": {"kind": "retinanet_resnet50_fpn", "backbone": "resnet18"}}, "adamw", 2e-4),
        ({"architecture": "retinanet_resnet50_fpn", "optimizer": "adamw"}, "adamw", 2e-4),
        ({"architecture": "retinanet_resnet50_fpn", "optimizer": {"kind": "adamw", "lr": 0.1}}, "adamw", 0.1),
        ({"architecture": "retinanet_resnet50_fpn", "optimizer": "sgd"}, "sgd", 0.02),
        ({"optimizer": "adamw"}, "adamw", 1e-3),
    ],
)
def test_what_is_left_out_of_the_optimizer_suits_the_architecture(
    config: dict[str, Any], kind: str, lr: float
) -> None:
    resolved = TrainConfig.model_validate(config)
    assert (resolved.optimizer.kind, resolved.optimizer.lr) == (kind, lr)
    assert TrainConfig.model_validate(resolved.model_dump(mode="json")) == resolved


def test_what_was_said_of_an_optimizer_stays_as_it_was_said() -> None:
    said = {"epochs": 3, "optimizer": {"kind": "sgd"}}
    assert TrainConfig.model_validate(said).model_dump(exclude_unset=True) == said
    assert TrainConfig.model_validate({"epochs": 3}).model_dump(exclude_unset=True) == {"epochs": 3}


@pytest.mark.parametrize("value", [None, {}, {"lr": 0.1}, {"kind": "lion"}, "lion", 7])
def test_an_optimizer_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        TrainConfig.model_validate({"optimizer": value})
    assert [error["loc"][0] for error in refused.value.errors()] == ["optimizer"]


def test_an_architecture_that_is_none_is_the_only_error() -> None:
    with pytest.raises(ValidationError) as refused:
        TrainConfig.model_validate({"architecture": "yolo9000"})
    assert [error["loc"][0] for error in refused.value.errors()] == ["architecture"]


def test_images_that_keep_their_shape_are_grouped_unless_told_otherwise() -> None:
    assert TrainConfig(architecture="fcos_resnet50_fpn").groups_by_aspect_ratio
    assert not TrainConfig().groups_by_aspect_ratio
    ungrouped = {"architecture": "fcos_resnet50_fpn", "aspect_ratio_grouping": False}
    assert not TrainConfig.model_validate(ungrouped).groups_by_aspect_ratio


def test_every_scale_is_an_input_size() -> None:
    scales = TrainConfig.model_validate({"augmentation": {"multi_scale": [256, 320]}})
    assert [spec.size for spec in input_specs(scales)] == [256, 320]
    assert [spec.size for spec in input_specs(TrainConfig())] == [320]
