"""A draft against the pixels: which of its images and boxes can be trained on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.data.archive import Archive
from detector.data.columns import Annotations
from detector.data.draft import Draft, DraftImage
from detector.data.findings import WHOLE, Findings
from detector.data.objects import Objects
from detector.data.pictures import Broken, Picture, look
from detector.data.records import DatasetIndex, ImageRecord
from detector.data.refusals import ArchiveRefused
from detector.data.splits import SplitOptions, divide

_MOST_CATEGORIES = 10_000


@dataclass
class _Usable:
    """An image that can be read."""

    place: int  # among the draft's
    image: DraftImage
    picture: Picture


def check(
    archive: Archive, draft: Draft, options: SplitOptions, *, strict: bool, findings: Findings
) -> tuple[DatasetIndex, int]:
    """What of the draft can be trained on, and how many of its annotations were put right.

    `strict` decodes every image whole. Raises ArchiveRefused when reading breaks the archive's limits.
    """
    pictures, refusal = _look(archive, draft, strict)
    objects = Objects(draft, _sizes(pictures, len(draft.images)))
    usable: list[_Usable] = []
    fixed = 0
    for place, (image, picture) in enumerate(zip(draft.images, pictures, strict=refusal is None)):
        findings.image = image.member
        if isinstance(picture, Broken):
            findings.drop(picture.code, image.member, picture.message)
        elif _sized(place, image, picture, objects, findings):
            fixed += objects.check(place, image, picture.info, findings)
            usable.append(_Usable(place, image, picture))
    if refusal is not None:
        raise refusal
    findings.image = None
    rows, counts = objects.usable([item.place for item in usable])
    _reject_what_nothing_can_be_learnt_from(draft, len(usable), len(rows), findings)
    divide([item.image for item in usable], options, findings)
    _warn_of_copies(usable, findings)
    index = _index(draft, usable, rows, counts, findings)
    _warn_of_empty_categories(index, rows, findings)
    return index, fixed


def _look(
    archive: Archive, draft: Draft, strict: bool
) -> tuple[list[Picture | Broken], ArchiveRefused | None]:
    """One answer for each image of the draft, or for the first of them up to where reading was refused."""
    pictures: list[Picture | Broken] = []
    try:
        for picture in look(archive, [image.member for image in draft.images], strict=strict):
            pictures.append(picture)  # noqa: PERF402 - what came before a refusal counts
    except ArchiveRefused as refusal:
        return pictures, refusal
    return pictures, None


def _sizes(pictures: list[Picture | Broken], images: int) -> NDArray[np.float64]:
    """(images, 2) widths and heights, 0 where an image cannot be used."""
    sizes = np.zeros((images, 2))
    for place, picture in enumerate(pictures):
        if isinstance(picture, Picture):
            sizes[place] = picture.info.width, picture.info.height
    return sizes


def _sized(place: int, image: DraftImage, picture: Picture, objects: Objects, findings: Findings) -> bool:
    """Whether the image can be used, given the size that its annotations declare. May turn its boxes."""
    info = picture.info
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
        objects.turn(place, *image.declared, info.orientation)
        return True
    message = f"{image.member} is {real[0]}x{real[1]}, but its annotations declare {declared}."
    findings.warn("size_differs", image.location, message)
    return True


def _reject_what_nothing_can_be_learnt_from(
    draft: Draft, images: int, annotations: int, findings: Findings
) -> None:
    """`images` and `annotations` can be used."""
    if len(draft.categories) > _MOST_CATEGORIES:
        message = f"There are {len(draft.categories)} categories; at most {_MOST_CATEGORIES} are allowed."
        findings.reject("too_many_categories", WHOLE, message)
    if findings.rejected:
        return  # it has been said why
    if not images:
        findings.reject("no_usable_image", WHOLE, "None of the images that the annotations name can be used.")
    elif draft.found == 0:
        findings.reject("no_annotations", WHOLE, f"None of the {images} images has an annotation.")
    elif not annotations:
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


def _index(
    draft: Draft, usable: list[_Usable], rows: NDArray[np.void], counts: list[int], findings: Findings
) -> DatasetIndex:
    """Ids of images are the dataset's own where they are unique, those of annotations where also above 0."""
    own = [item.image.id for item in usable if item.image.id is not None]
    keep_images = len(own) == len(usable) and len(set(own)) == len(own)
    if own and not keep_images:
        message = "Image ids repeat from file to file; the images are numbered anew from 1."
        findings.warn("image_ids_renumbered", WHOLE, message)
    ids = np.sort(rows["id"])
    if (ids[1:] == ids[:-1]).any() or (ids[:1] < 1).any():
        rows["id"] = np.arange(1, len(rows) + 1)
    images: list[ImageRecord] = []
    start = 0
    for position, (item, count) in enumerate(zip(usable, counts, strict=True), start=1):
        image = item.image
        images.append(
            ImageRecord(
                id=image.id if keep_images and image.id is not None else position,
                file_name=image.member,
                split=image.split or "train",
                width=item.picture.info.width,
                height=item.picture.info.height,
                annotations=Annotations(rows[start : start + count], draft.texts) if count else [],
            )
        )
        start += count
    return DatasetIndex(draft.format, draft.categories, images)


def _warn_of_empty_categories(index: DatasetIndex, rows: NDArray[np.void], findings: Findings) -> None:
    used = set(np.unique(rows["category_id"]).tolist())
    for category in index.categories:
        if category.id not in used:
            message = f"Category {category.name!r} (id {category.id}) has no box that can be used."
            findings.warn("category_without_boxes", WHOLE, message)
