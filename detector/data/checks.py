"""A draft against the pixels: which of its images and boxes can be trained on."""

import math
from collections import Counter
from dataclasses import dataclass

from msgspec.structs import replace

from detector.data import masks
from detector.data.archive import Archive
from detector.data.boxes import checked_box, is_sound, turn
from detector.data.draft import Box, Draft, DraftAnnotation, DraftImage
from detector.data.findings import WHOLE, Findings
from detector.data.pictures import Broken, Picture, look
from detector.data.records import Annotation, DatasetIndex, ImageRecord
from detector.data.splits import SplitOptions, divide
from detector.images import ImageInfo

_MOST_CATEGORIES = 10_000
_FIXABLE = ("negative_size_box", "box_exceeds_image")


@dataclass
class _Usable:
    """An image that can be read, with those of its annotations that can be used."""

    image: DraftImage
    picture: Picture
    annotations: list[Annotation]  # their ids still as written, 0 where there is none


def check(
    archive: Archive, draft: Draft, options: SplitOptions, *, strict: bool, findings: Findings
) -> tuple[DatasetIndex, int]:
    """What of the draft can be trained on, and how many of its annotations were put right.

    `strict` decodes every image whole. Raises ArchiveRefused when reading breaks the archive's limits.
    """
    usable: list[_Usable] = []
    fixed = 0
    pictures = look(archive, [image.member for image in draft.images], strict=strict)
    for image, picture in zip(draft.images, pictures, strict=True):
        findings.image = image.member
        if isinstance(picture, Broken):
            findings.drop(picture.code, image.member, picture.message)
        elif _sized(image, picture.info, findings):
            annotations, put_right = _annotations(image, picture.info, draft.relative, findings)
            fixed += put_right
            image.annotations = []  # nobody reads them again, and there may be millions
            usable.append(_Usable(image, picture, annotations))
    findings.image = None
    _reject_what_nothing_can_be_learnt_from(draft, usable, findings)
    divide([item.image for item in usable], options, findings)
    _warn_of_copies(usable, findings)
    index = _index(draft, usable, findings)
    _warn_of_empty_categories(index, findings)
    return index, fixed


def _sized(image: DraftImage, info: ImageInfo, findings: Findings) -> bool:
    """Whether the image can be used, given the size that its annotations declare. May turn its boxes."""
    real = (info.width, info.height)
    if image.declared is None or image.declared == real:
        return True
    declared = f"{image.declared[0]}x{image.declared[1]}"
    if info.exif_swapped and image.declared == real[::-1]:
        message = (
            f"{image.member} is {real[0]}x{real[1]} when turned upright as its EXIF data ask, but its "
            f"annotations were made on {declared}."
        )
        if not findings.fix("exif_swapped", image.location, message):
            return False
        for annotation in image.annotations:
            turn(annotation, *image.declared, info.orientation)
        return True
    message = f"{image.member} is {real[0]}x{real[1]}, but its annotations declare {declared}."
    findings.warn("size_differs", image.location, message)
    return True


def _annotations(
    image: DraftImage, info: ImageInfo, relative: bool, findings: Findings
) -> tuple[list[Annotation], int]:
    """The annotations that can be used, and how many of them were put right."""
    usable: list[Annotation] = []
    fixed = 0
    seen: set[tuple[int, Box]] = set()
    width, height = info.width, info.height
    for draft in image.annotations:
        if relative:
            _scale(draft, width, height)
        box = draft.box
        if not is_sound(box, width, height):
            before = sum(findings.by_code[code] for code in _FIXABLE)
            checked = checked_box(draft, width, height, findings)
            if checked is None:
                continue
            box = checked
            fixed += sum(findings.by_code[code] for code in _FIXABLE) > before
        if (draft.category_id, box) in seen:
            message = "The same box with the same category is there twice on this image."
            findings.warn("duplicate_annotation", draft.location, message)
        seen.add((draft.category_id, box))
        usable.append(_annotation(draft, box, info, findings))
    return usable, fixed


def _scale(draft: DraftAnnotation, width: int, height: int) -> None:
    """Parts of the image to pixels."""
    x1, y1, x2, y2 = draft.box
    draft.box = (x1 * width, y1 * height, x2 * width, y2 * height)
    if draft.area is not None:
        draft.area *= width * height
    if draft.segmentation is not None:
        draft.segmentation = [
            [value * (height if place % 2 else width) for place, value in enumerate(points)]
            for points in draft.segmentation
        ]


def _annotation(draft: DraftAnnotation, box: Box, info: ImageInfo, findings: Findings) -> Annotation:
    segmentation: masks.Segmentation | None = None
    try:
        if draft.segmentation is not None:
            segmentation = masks.checked(draft.segmentation, info.width, info.height)
    except ValueError as error:
        where = draft.location
        if where.endswith("/bbox"):
            where = where.removesuffix("/bbox") + "/segmentation"
        findings.warn("invalid_segmentation", where, f"The segmentation is left out: {error}.")
    whole = (box[2] - box[0]) * (box[3] - box[1])
    area = draft.area
    if area is None and isinstance(segmentation, list):
        area = sum(masks.polygon_area(points) for points in segmentation)
    return Annotation(
        id=draft.id or 0,
        category_id=draft.category_id,
        box=box,
        area=min(area, whole) if area is not None and math.isfinite(area) and area > 0 else whole,
        iscrowd=draft.iscrowd,
        difficult=draft.difficult,
        truncated=draft.truncated,
        occluded=draft.occluded,
        segmentation=segmentation,
    )


def _reject_what_nothing_can_be_learnt_from(draft: Draft, usable: list[_Usable], findings: Findings) -> None:
    if len(draft.categories) > _MOST_CATEGORIES:
        message = f"There are {len(draft.categories)} categories; at most {_MOST_CATEGORIES} are allowed."
        findings.reject("too_many_categories", WHOLE, message)
    if findings.rejected:
        return  # it has been said why
    if not usable:
        findings.reject("no_usable_image", WHOLE, "None of the images that the annotations name can be used.")
    elif draft.found == 0:
        findings.reject("no_annotations", WHOLE, f"None of the {len(usable)} images has an annotation.")
    elif not any(item.annotations for item in usable):
        message = f"None of the {draft.found} annotations can be used."
        findings.reject("no_usable_annotation", WHOLE, message)


def _warn_of_copies(usable: list[_Usable], findings: Findings) -> None:
    """The same bytes twice: in two splits, a measurement would be on what was learnt."""
    first: dict[bytes, DraftImage] = {}
    for item in usable:
        image = item.image
        if item.picture.sha256 is None:
            continue
        other = first.setdefault(item.picture.sha256, image)
        if other is image:
            continue
        findings.image = image.member
        if other.split != image.split:
            message = f"The image in {image.split} is the same as {other.member} in {other.split}."
            findings.warn("image_in_two_splits", image.member, message)
        else:
            findings.warn("duplicate_image", image.member, f"It is the same image as {other.member}.")
        findings.image = None


def _index(draft: Draft, usable: list[_Usable], findings: Findings) -> DatasetIndex:
    """Ids of images are the dataset's own where they are unique, those of annotations where also above 0."""
    own = [item.image.id for item in usable if item.image.id is not None]
    keep_images = len(own) == len(usable) and len(set(own)) == len(own)
    if own and not keep_images:
        message = "Image ids repeat from file to file; the images are numbered anew from 1."
        findings.warn("image_ids_renumbered", WHOLE, message)
    ids = [annotation.id for item in usable for annotation in item.annotations]
    keep_annotations = len(set(ids)) == len(ids) and min(ids, default=1) > 0
    images: list[ImageRecord] = []
    next_annotation = 1
    for position, item in enumerate(usable, start=1):
        image, annotations = item.image, item.annotations
        if not keep_annotations:
            annotations = [replace(one, id=next_annotation + n) for n, one in enumerate(annotations)]
            next_annotation += len(annotations)
        images.append(
            ImageRecord(
                id=image.id if keep_images and image.id is not None else position,
                file_name=image.member,
                split=image.split or "train",
                width=item.picture.info.width,
                height=item.picture.info.height,
                annotations=annotations,
            )
        )
    return DatasetIndex(draft.format, draft.categories, images)


def _warn_of_empty_categories(index: DatasetIndex, findings: Findings) -> None:
    counts = Counter(annotation.category_id for image in index.images for annotation in image.annotations)
    for category in index.categories:
        if not counts[category.id]:
            message = f"Category {category.name!r} (id {category.id}) has no box that can be used."
            findings.warn("category_without_boxes", WHOLE, message)
