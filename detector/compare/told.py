"""What a training told of itself: its report, its manifest, its losses. Each may be missing."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from detector.errors import ComparisonInvalid
from detector.events import EventReader, MetricEvent

DIAGNOSTICS = (
    "spearman",
    "pearson",
    "calibration_error",
    "calibration_error_of_all",
    "high_score_low_iou",
    "low_score_high_iou",
    "ap_ranked_by_iou",
    "headroom",
    "lost_to_worse",
)
"""Numbers of a report's `consistency`; and of the objects that some box covered before suppression, the share
whose best-placed box gave way to a worse one."""
SLICE_METRICS = ("AP", "AP50", "AP75", "AR100")

Told = TypeVar("Told")


class Consistency(msgspec.Struct):
    """See `detector.evaluate.consistency`."""

    matched: int
    histogram: list[list[float]]
    score_edges: list[float]
    iou_edges: list[float]
    spearman: float | None
    pearson: float | None
    calibration_error: float | None
    calibration_error_of_all: float | None
    high_score_low_iou: float | None
    low_score_high_iou: float | None
    ap_ranked_by_iou: float | None
    headroom: float | None
    lost_to_worse: float | None = None

    def __post_init__(self) -> None:
        rows, columns = len(self.score_edges) - 1, len(self.iou_edges) - 1
        if len(self.histogram) != rows or any(len(row) != columns for row in self.histogram):
            raise ValueError("histogram does not fit its edges")


class Slice(msgspec.Struct):
    """See `detector.evaluate.slices`."""

    group: str
    name: str
    objects: int
    AP: float | None
    AP50: float | None
    AP75: float | None
    AR100: float | None


class _Suppression(msgspec.Struct):
    with_candidate: int
    lost_to_worse: int


class Report(msgspec.Struct):
    """What a comparison takes of `report.json`."""

    images: int
    consistency: Consistency
    slices: list[Slice]
    suppression: _Suppression | None = None

    def __post_init__(self) -> None:
        told = self.suppression
        if told is not None and told.with_candidate:
            self.consistency.lost_to_worse = told.lost_to_worse / told.with_candidate


class Manifest(msgspec.Struct):
    """What a comparison takes of `manifest.json`; null where it does not say."""

    data_order_sha256: str | None = None
    initial_state_sha256: str | None = None
    dataset_sha256: str | None = None
    config_sha256: str | None = None
    device: dict[str, str | None] | None = None
    precision: str | None = None
    processes: int | None = None
    versions: dict[str, str | None] | None = None


class Row(msgspec.Struct):
    """Numbers of one step (`split` is "train") or of one evaluation."""

    split: str
    step: int
    epoch: float
    metrics: dict[str, float | None]


def report_of(value: dict[str, Any]) -> Report:
    """What `full_report` gives, as `read_report` does."""
    return msgspec.convert(value, Report)


def read_report(path: Path) -> Report | None:
    """None without the file. Raises ComparisonInvalid."""
    return _read(path, Report)


def read_manifest(path: Path) -> Manifest | None:
    """None without the file. Raises ComparisonInvalid."""
    return _read(path, Manifest)


def read_rows(lines: bytes) -> list[Row]:
    """A row a line. Raises ValueError, RecursionError."""
    return msgspec.json.Decoder(Row).decode_lines(lines)


def read_history(folder: Path) -> list[Row]:
    """The rows of `metrics.jsonl`, else of `events.jsonl`; of a step that was taken again, the last.

    Raises ComparisonInvalid.
    """
    path = folder / "metrics.jsonl"
    try:
        if path.exists():
            told = read_rows(path.read_bytes())
        else:
            path = folder / "events.jsonl"
            events = (one for one in EventReader(folder).read() if isinstance(one, MetricEvent))
            told = [Row(one.split, one.step, one.epoch, dict(one.values)) for one in events]
    except (OSError, ValueError, RecursionError) as error:  # of msgspec and of pydantic, too
        raise ComparisonInvalid(f"{path.name} cannot be read: {error}.") from error
    rows: dict[tuple[str, int], Row] = {}
    for row in told:
        rows.pop((row.split, row.step), None)
        rows[row.split, row.step] = row
    return list(rows.values())


def _read(path: Path, what: type[Told]) -> Told | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=what)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ComparisonInvalid(f"{path.name} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ComparisonInvalid(f"{path.name} is none of this program: {error}.") from error
