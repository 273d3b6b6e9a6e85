"""The JSON of an index: columns are written and read as the objects of earlier versions were."""

import pickle
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data import catalogue, index_file
from detector.data.columns import ROW, Annotations, learnable, rows_of
from detector.data.records import Annotation, Category, DatasetIndex, ImageRecord

EARLIER = (
    b'{"format":"coco","categories":[{"id":3,"name":"cat","supercategory":""}],"images":['
    b'{"id":7,"file_name":"a.jpg","split":"train","width":64,"height":48,"annotations":['
    b'{"id":1,"category_id":3,"box":[1.5,2.0,9.0,8.0],"area":30.25,'
    b'"segmentation":[[1.5,2.0,9.0,2.0,9.0,8.0]]},'
    b'{"id":2,"category_id":3,"box":[0.0,0.0,4.0,4.0],"area":16.0,"iscrowd":true,"occluded":true,'
    b'"segmentation":{"counts":"abc","size":[48,64]}}]},'
    b'{"id":8,"file_name":"b.jpg","split":"val","width":64,"height":48}]}'
)

numbers = st.floats(-1e6, 1e6)
annotations = st.builds(
    Annotation,
    st.integers(1, 2**53),
    st.integers(-(2**53), 2**53),
    st.tuples(numbers, numbers, numbers, numbers),
    numbers,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.none()
    | st.lists(st.lists(numbers, min_size=6, max_size=6), min_size=1, max_size=2)
    | st.fixed_dictionaries({"counts": st.text(max_size=5), "size": st.just([4, 4])}),
)


def test_an_index_of_an_earlier_version_is_read_and_written_as_it_was() -> None:
    index = index_file.decode(EARLIER)
    cat, crowd = index.images[0].annotations
    assert cat == Annotation(1, 3, (1.5, 2.0, 9.0, 8.0), 30.25, segmentation=[[1.5, 2.0, 9.0, 2.0, 9.0, 8.0]])
    assert (crowd.iscrowd, crowd.difficult, crowd.truncated, crowd.occluded) == (True, False, False, True)
    assert crowd.segmentation == {"counts": "abc", "size": [48, 64]}
    assert not index.images[1].annotations
    # The hash of this JSON says whether a training goes on with the dataset that it began with.
    assert index_file.encode(index) == EARLIER


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(annotations, max_size=4), max_size=4))
def test_columns_are_written_as_objects_are_and_read_back_the_same(per_image: list[list[Annotation]]) -> None:
    images = [ImageRecord(k, f"{k}.jpg", "train", 4, 4, found) for k, found in enumerate(per_image)]
    objects = DatasetIndex("coco", [Category(1, "cat")], images)
    written = msgspec.json.encode(objects)
    index = index_file.decode(written)
    assert index == objects
    assert objects == index
    assert index_file.encode(index) == index_file.encode(objects) == written


def test_what_is_no_index_is_refused() -> None:
    for data in (b"{", EARLIER.replace(b"30.25", b'"big"'), EARLIER.replace(b'"id":7,', b"")):
        with pytest.raises(msgspec.DecodeError):
            index_file.decode(data)


def test_an_index_without_masks_still_says_who_has_one() -> None:
    index = index_file.decode(EARLIER, masks=False)
    assert [one.segmentation for one in index.images[0].annotations] == [None, None]
    assert rows_of(index.images[0].annotations)["flags"].tolist() == [16, 1 | 8 | 16]


def test_annotations_in_columns_are_a_sequence_and_cost_a_row_each() -> None:
    found = index_file.decode(EARLIER).images[0].annotations
    assert isinstance(found, Annotations)
    assert (len(found), found.rows.dtype, found.rows.nbytes) == (2, ROW, 2 * 64)
    assert found[-1] == found[1] == list(found)[1]
    assert found[:1] == [found[0]]
    assert found != [found[0]]
    with pytest.raises(IndexError):
        found[2]
    # As a process that loads images gets them.
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 - our own


def test_crowds_and_boxes_without_area_are_not_learned_from() -> None:
    found = [
        Annotation(1, 3, (0.0, 0.0, 5.0, 5.0), 25.0),
        Annotation(2, 3, (0.0, 0.0, 5.0, 5.0), 25.0, iscrowd=True),
        Annotation(3, 3, (1.0, 1.0, 1.0, 5.0), 0.0),
    ]
    assert learnable(rows_of(found)).tolist() == [True, False, False]


def test_a_catalogue_places_sparse_ids_in_the_order_of_the_categories(tmp_path: Path) -> None:
    categories = [Category(90, "b"), Category(3, "a"), Category(17, "c")]
    found = [Annotation(k, id_, (0.0, 0.0, 2.0, 2.0), 4.0) for k, id_ in enumerate((3, 17, 90, 3), start=1)]
    images = [ImageRecord(1, "a", "val", 4, 4, found), ImageRecord(2, "b", "train", 4, 4, found[:1])]
    kept = catalogue.of(DatasetIndex("coco", categories, images))
    assert kept.classes.tolist() == [1, 2, 0, 1, 1]
    assert kept.starts.tolist() == [0, 4, 5]
    assert kept.shown_on.tolist() == [1, 2, 1]
