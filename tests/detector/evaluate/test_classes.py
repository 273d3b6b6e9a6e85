import pytest

from detector.data.records import Category
from detector.errors import ClassesDiffer
from detector.evaluate.classes import match_classes
from detector.runtime import ModelClass


def classes(*pairs: tuple[int, str]) -> list[ModelClass]:
    return [ModelClass(id=number, name=name) for number, name in pairs]


def categories(*pairs: tuple[int, str]) -> list[Category]:
    return [Category(number, name) for number, name in pairs]


def test_the_same_name_is_the_same_class_whatever_its_id() -> None:
    found = match_classes(classes((1, "car"), (2, "bus")), categories((9, "bus"), (1, "car")))
    assert (found.ids, found.warnings) == ([1, 9], [])


def test_classes_that_only_one_side_has_are_said() -> None:
    found = match_classes(classes((1, "car"), (2, "bus")), categories((0, "car"), (-1, "tram")))
    assert found.ids == [0, found.unknown]
    assert found.unknown not in (0, -1)
    lacking, foreign = found.warnings
    assert "no class 'bus'" in lacking
    assert "'tram'" in foreign


def test_a_name_that_is_there_twice_is_the_one_with_the_models_id() -> None:
    twice = categories((3, "car"), (5, "car"))
    assert match_classes(classes((5, "car")), twice).ids == [5]
    assert match_classes(classes((1, "car")), twice).ids == [3]


def test_no_common_name_is_an_error_that_names_both_sides() -> None:
    with pytest.raises(ClassesDiffer, match=r"'car'.*'Car'"):
        match_classes(classes((1, "Car")), categories((1, "car")))
    with pytest.raises(ClassesDiffer, match="and 5 more"):
        match_classes(classes((1, "a")), categories(*((i, f"class {i}") for i in range(15))))
