"""Small archives in each layout, right as they are and easy to break."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Members = dict[str, bytes]

WIDTH, HEIGHT = 64, 48
CLASSES = ("cat", "dog")


def picture(seed: int = 0, width: int = WIDTH, height: int = HEIGHT, mode: str = "RGB") -> Image.Image:
    """A smooth image in Pillow's `mode`, another for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return image.convert(mode)


def encoded(image: Image.Image, format_: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def jpeg(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    return encoded(picture(seed, width, height), quality=90)


def write_zip(path: Path, members: Members) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def coco_document(names: list[str], first_id: int = 1) -> dict[str, Any]:
    """Two boxes on each image: category 1 with a polygon, category 7 without; ids are sparse."""
    images, annotations = [], []
    for image_id, name in enumerate(names, start=first_id):
        images.append({"id": image_id, "file_name": name, "width": WIDTH, "height": HEIGHT})
        polygon = [4, 4, 24, 4, 24, 20, 4, 20]
        annotations.append(
            {
                "id": 2 * image_id,
                "image_id": image_id,
                "category_id": 1,
                "bbox": [4, 4, 20, 16],
                "area": 320,
                "iscrowd": 0,
                "segmentation": [polygon],
            }
        )
        annotations.append(
            {"id": 2 * image_id + 1, "image_id": image_id, "category_id": 7, "bbox": [30.5, 10, 20, 30]}
        )
    categories = [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog", "supercategory": "animal"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco_members(
    train: int = 3, val: int = 2, edit: Callable[[dict[str, Any]], object] | None = None
) -> Members:
    """`annotations/instances_{train,val}.json` and `{split}/NNN.jpg`; `edit` changes the train document."""
    members: Members = {}
    seed = 0
    for split, count in (("train", train), ("val", val)):
        names = [f"{seed + number:03d}.jpg" for number in range(count)]
        document = coco_document(names, first_id=seed + 1)
        if split == "train" and edit is not None:
            edit(document)
        members[f"annotations/instances_{split}.json"] = json.dumps(document).encode()
        for number, name in enumerate(names):
            members[f"{split}/{name}"] = jpeg(seed + number)
        seed += count
    return members


def voc_object(name: str = "cat", box: tuple[Any, ...] = (4, 4, 24, 20), extra: str = "") -> str:
    corners = "".join(
        f"\n      <{tag}>{value}</{tag}>"
        for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"\n  <object>\n    <name>{name}</name>{extra}\n    <bndbox>{corners}\n    </bndbox>\n  </object>"


def voc_xml(filename: str, objects: str = "", width: int = WIDTH, height: int = HEIGHT) -> bytes:
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>\n  <filename>{filename}</filename>\n  {size}{objects}\n</annotation>\n".encode()


def voc_members(train: int = 3, val: int = 2, *, image_sets: bool = True) -> Members:
    """VOC as it is published: JPEGImages, Annotations, ImageSets/Main; a cat and a dog on each image."""
    members: Members = {}
    stems = [f"img_{number}" for number in range(train + val)]
    for seed, stem in enumerate(stems):
        objects = voc_object("cat") + voc_object("dog", (30, 10, 50, 40))
        members[f"VOC/Annotations/{stem}.xml"] = voc_xml(f"{stem}.jpg", objects)
        members[f"VOC/JPEGImages/{stem}.jpg"] = jpeg(seed)
    if image_sets:
        members["VOC/ImageSets/Main/train.txt"] = "\n".join(stems[:train]).encode()
        members["VOC/ImageSets/Main/val.txt"] = "\n".join(stems[train:]).encode()
        members["VOC/ImageSets/Main/trainval.txt"] = "\n".join(stems).encode()
    return members


def yolo_members(train: int = 3, val: int = 2) -> Members:
    """YOLO as it is exported: data.yaml, {train,valid}/images, {train,valid}/labels; a cat and a dog each."""
    members: Members = {
        "data.yaml": b"train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n"
    }
    for seed in range(train + val):
        folder = "train" if seed < train else "valid"
        members[f"{folder}/images/{seed}.jpg"] = jpeg(seed)
        members[f"{folder}/labels/{seed}.txt"] = b"0 0.25 0.25 0.25 0.25\n1 0.625 0.5 0.25 0.5\n"
    return members
