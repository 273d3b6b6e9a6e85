"""The figures of a comparison, as Plotly takes them: `{data, layout}` of plain JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.compare.pairing import Runs
from detector.compare.runs import CURVE_LEVELS, Measured
from detector.evaluate.evaluation import IOUS, RECALLS
from detector.figures import (
    COLOURS,
    DASHES,
    LEGEND,
    MARGIN,
    POINTS,
    Curve,
    Density,
    Figure,
    ap_over_iou,
    plain,
    points,
    pr,
    score_against_iou,
    text,
)

DRAWN = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100")
_INTERVALS = (
    ("interval", "seeds and images", 6, 0.2),
    ("interval_over_seeds", "seeds", 3, 0.0),
    ("interval_over_images", "images", 1.5, -0.2),
)


def figures(result: Mapping[str, Any], measured: Runs) -> dict[str, Figure]:
    """By name: `differences`, `pr`, `ap_over_iou`, `score_against_iou` and `loss_curves`."""
    arms = {
        one["name"]: [measured[one["name"], seed] for seed in result["seeds"]]
        or [run for (arm, _), run in measured.items() if arm == one["name"]]
        for one in result["arms"]
    }
    arms = {name: runs for name, runs in arms.items() if runs}
    colours = {one["name"]: COLOURS[k % len(COLOURS)] for k, one in enumerate(result["arms"])}
    return {
        "differences": _differences(result, colours),
        "pr": _pr(arms, colours),
        "ap_over_iou": _ap_over_iou(arms, colours),
        "score_against_iou": _score_against_iou(arms, colours),
        "loss_curves": _loss_curves(arms, colours),
    }


def _differences(result: Mapping[str, Any], colours: Mapping[str, str]) -> Figure:
    """A row for each metric and arm, in AP points, the primary metric on top."""
    rows = [(name, one) for name in reversed(DRAWN) for one in reversed(result["differences"])]
    data: list[dict[str, Any]] = []
    for one in result["differences"]:
        places = [(k, name, arm["metrics"][name]) for k, (name, arm) in enumerate(rows) if arm is one]
        look = {"type": "scatter", "legendgroup": text(one["arm"])}
        for key, words, width, shift in _INTERVALS:
            told = [(k + shift, name, metric) for k, name, metric in places if metric[key] is not None]
            ends = [(place, limit) for place, _, metric in told for limit in (*metric[key], None)]
            data.append(
                look
                | {
                    "mode": "lines",
                    "name": f"{text(one['arm'])}: over {words}",
                    # Each interval a line of its own: a null ends it.
                    "x": [None if limit is None else points(limit) for _, limit in ends],
                    "y": [place for place, _ in ends],
                    "line": {"color": colours[one["arm"]], "width": width},
                    "opacity": 1.0 if key == "interval" else 0.65,
                    "hovertemplate": f"{words}: %{{x:+.2f}}<extra></extra>",
                }
            )
        known = [(k, name, metric) for k, name, metric in places if metric["mean"] is not None]
        data.append(
            look
            | {
                "mode": "markers",
                "name": f"{text(one['arm'])}: mean",
                "x": [points(metric["mean"]) for _, _, metric in known],
                "y": [place + _INTERVALS[0][3] for place, _, _ in known],
                "text": [name for _, name, _ in known],
                "marker": {
                    "color": "#ffffff",
                    "size": 8,
                    "symbol": "diamond",
                    "line": {"color": colours[one["arm"]], "width": 2},
                },
                "hovertemplate": "%{text}: %{x:+.2f}<extra></extra>",
            }
        )
    several = len(result["differences"]) > 1
    labels = [f"{name}, {text(arm['arm'])}" if several else name for name, arm in rows]
    return {
        "data": data,
        "layout": {
            "height": max(320, 46 * len(rows) + 110),
            "xaxis": {
                "title": {"text": f"difference from {text(result['baseline'])}, in points"},
                "zeroline": True,
                "zerolinewidth": 2,
            },
            "yaxis": {
                "tickmode": "array",
                "tickvals": list(range(len(rows))),
                "ticktext": labels,
                "range": [-0.6, len(rows) - 0.4],
                "showgrid": False,
                "zeroline": False,
                "automargin": True,
            },
            "hovermode": "closest",
            "legend": LEGEND,
            "margin": MARGIN,
        },
    }


def _pr(arms: Mapping[str, Sequence[Measured]], colours: Mapping[str, str]) -> Figure:
    return pr(
        np.asarray(RECALLS, np.float64),
        [
            Curve(
                f"{name}, IoU {IOUS[level]:.2f}",
                colours[name],
                np.mean([one.precision[k] for one in runs], axis=0),
                dash=DASHES[k],
            )
            for name, runs in arms.items()
            for k, level in enumerate(CURVE_LEVELS)
        ],
    )


def _ap_over_iou(arms: Mapping[str, Sequence[Measured]], colours: Mapping[str, str]) -> Figure:
    curves = []
    for name, runs in arms.items():
        values = np.array([one.ap_by_iou for one in runs], np.float64) * POINTS
        error = values.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(len(IOUS))
        curves.append(Curve(name, colours[name], values.mean(axis=0), error=error))
    return ap_over_iou(np.asarray(IOUS, np.float64), curves, "AP in points, mean ± sd over seeds")


def _score_against_iou(arms: Mapping[str, Sequence[Measured]], colours: Mapping[str, str]) -> Figure:
    """For each arm the share of its matched detections in each cell, and the mean IoU over the score."""
    # Scores that are no probabilities may have other cells in every run: such cannot be added up.
    arms = {name: runs for name, runs in arms.items() if len({_cells(one) for one in runs}) == 1}
    densities = []
    for name, runs in arms.items():
        told = [one.report.consistency for one in runs]
        counts = np.sum([np.array(one.histogram, np.float64) for one in told], axis=0)
        densities.append(Density(name, colours[name], counts, told[0].score_edges, told[0].iou_edges))
    return score_against_iou(densities)


def _loss_curves(arms: Mapping[str, Sequence[Measured]], colours: Mapping[str, str]) -> Figure:
    """The loss, and AP of the evaluations on the way: means over the seeds."""
    data = []
    for name, runs in arms.items():
        rows = [row for one in runs for row in one.history]
        losses = [(row.epoch, row.metrics.get("loss")) for row in rows if row.split == "train"]
        measured = [(row.epoch, row.metrics.get("AP")) for row in rows if row.split != "train"]
        for pairs, panel, scale in ((losses, "", 1), (measured, "2", POINTS)):
            known = np.array([pair for pair in pairs if pair[1] is not None], np.float64).reshape(-1, 2)
            epochs, values = _thinned(known, cells=100) if panel == "" else _by_epoch(known)
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines" if panel == "" else "lines+markers",
                    "name": text(name),
                    "legendgroup": text(name),
                    "showlegend": panel == "",
                    "x": plain(epochs),
                    "y": plain(values * scale),
                    "xaxis": f"x{panel}",
                    "yaxis": f"y{panel}",
                    "line": {"color": colours[name], "width": 2},
                }
            )
    return {
        "data": data,
        "layout": {
            "xaxis": {"anchor": "y", "matches": "x2", "rangemode": "tozero"},
            "yaxis": {"title": {"text": "loss"}, "domain": [0.55, 1], "automargin": True},
            "xaxis2": {"anchor": "y2", "title": {"text": "epoch"}, "rangemode": "tozero"},
            "yaxis2": {
                "title": {"text": "AP in points"},
                "domain": [0, 0.45],
                "rangemode": "tozero",
                "automargin": True,
            },
            "hovermode": "x unified",
            "legend": LEGEND,
            "margin": MARGIN,
            "height": 520,
        },
    }


def _thinned(points: NDArray[np.float64], cells: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The means of points (N, 2) in so many equal parts of the way, where there are any."""
    if not len(points):
        return points[:, 0], points[:, 1]
    whole = max(float(points[:, 0].max()), 1e-9)
    cell = np.minimum((points[:, 0] / whole * cells).astype(np.int64), cells - 1)
    return _means(cell, points)


def _by_epoch(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    _, cell = np.unique(points[:, 0].round(6), return_inverse=True)
    return _means(cell, points)


def _means(
    cell: NDArray[np.int64], points: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    many = np.bincount(cell)
    some = many > 0
    first, second = (np.bincount(cell, points[:, k])[some] / many[some] for k in range(2))
    return first, second


def _cells(one: Measured) -> tuple[float, ...]:
    return (*one.report.consistency.score_edges, *one.report.consistency.iou_edges)
