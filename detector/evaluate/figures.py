"""The figures of an evaluation, made of its `report.json`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from detector.figures import (
    COLOURS,
    DASHES,
    LEGEND,
    MARGIN,
    POINTS,
    Curve,
    Density,
    Figure,
    Floats,
    ap_over_iou,
    plain,
    pr,
    score_against_iou,
    text,
)

_CLASSES = len(COLOURS) - 1
"""Most that are drawn, those with the most objects; the last colour is that of all classes together."""
_ALL = "all classes"
_BACKGROUND = "background"
Report = Mapping[str, Any]


def figure(report: Report, name: str) -> Figure | None:
    """The figure of this name; None when there is none: see `NAMES`."""
    made = _FIGURES.get(name)
    return None if made is None else made(report)


def _pr(report: Report) -> Figure:
    """All classes together at three IoUs, each class at the first of them."""
    curves = report["bbox"]["curves"]
    ious = list(curves["per_class"][0]["by_iou"]) if curves["per_class"] else []
    drawn = [
        Curve(
            f"{_ALL}, IoU {iou}",
            COLOURS[-1],
            _mean([one["by_iou"][iou]["precision"] for one in curves["per_class"]]),
            dash=DASHES[place % len(DASHES)],
            width=3,
        )
        for place, iou in enumerate(ious)
    ]
    by_id = {one["id"]: one["by_iou"] for one in curves["per_class"]}
    drawn += [
        Curve(f"{one['name']}, IoU {ious[0]}", colour, _floats(by_id[one["id"]][ious[0]]["precision"]))
        for one, colour in _chosen(report)
        if one["id"] in by_id
    ]
    return pr(_floats(curves["recall"]), drawn)


def _ap_over_iou(report: Report) -> Figure:
    ious = list(report["bbox"]["AP_by_iou"])

    def values(one: Report) -> Floats:
        return _floats([one["AP_by_iou"][iou] for iou in ious]) * POINTS

    drawn = [Curve(_ALL, COLOURS[-1], values(report["bbox"]), width=3)]
    drawn += [Curve(one["name"], colour, values(one)) for one, colour in _chosen(report)]
    return ap_over_iou(_floats([float(iou) for iou in ious]), drawn, "AP in points")


def _score_against_iou(report: Report) -> Figure:
    told = report["consistency"]
    counts = np.array(told["histogram"], np.float64).reshape(
        len(told["score_edges"]) - 1, len(told["iou_edges"]) - 1
    )
    return score_against_iou(
        [Density("matched detections", COLOURS[0], counts, told["score_edges"], told["iou_edges"])]
    )


def _confusion(report: Report) -> Figure:
    """Of the objects of each class, the share that was found as each class; the first row is on top."""
    names = [text(one["name"]) for one in report["classes"]] + [_BACKGROUND]
    counts = np.array(report["confusion"]["matrix"], np.float64).reshape(len(names), len(names))
    whole = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, whole, out=np.zeros_like(counts), where=whole > 0)
    few = len(names) <= 12
    places = list(range(len(names)))
    ticks = {"tickmode": "array", "tickvals": places, "ticktext": names, "showgrid": False, "zeroline": False}
    return {
        "data": [
            {
                "type": "heatmap",
                "x": places,
                "y": places,
                "z": plain(shares),
                "customdata": [
                    [[row, column, int(counts[k, m])] for m, column in enumerate(names)]
                    for k, row in enumerate(names)
                ],
                "text": [[f"{int(count)}" if count else "" for count in row] for row in counts],
                "texttemplate": "%{text}" if few else "",
                "coloraxis": "coloraxis",
                "xgap": 1,
                "ygap": 1,
                "hovertemplate": "%{customdata[0]} found as %{customdata[1]}: %{customdata[2]} (%{z:.1%})"
                "<extra></extra>",
            }
        ],
        "layout": {
            "height": max(320, min(900, 34 * len(names) + 130)),
            "xaxis": {"title": {"text": "found as"}, "side": "bottom", "automargin": True, **ticks},
            "yaxis": {"title": {"text": "is"}, "autorange": "reversed", "automargin": True, **ticks},
            "margin": MARGIN,
            "coloraxis": {
                "cmin": 0,
                "cmax": 1,
                "colorscale": [[0, "rgba(57,135,217,0)"], [1, "rgba(57,135,217,1)"]],
                "colorbar": {"title": {"text": "share"}, "tickformat": ".0%", "thickness": 12},
            },
        },
    }


def _thresholds(report: Report) -> Figure:
    """Precision, recall and F1 of all classes at each score threshold."""
    told = report["thresholds"]
    at = _floats(told["thresholds"])
    made = pr(
        at,
        [
            Curve(words, COLOURS[place], _floats(told["all"][name]))
            for place, (name, words) in enumerate(
                (("precision", "precision"), ("recall", "recall"), ("f1", "F1"))
            )
        ],
    )
    made["layout"] |= {
        "xaxis": {"title": {"text": "score threshold"}, "range": [float(at.min()), float(at.max())]},
        "yaxis": {"range": [0, 1.02], "automargin": True},
        "legend": LEGEND,
        "height": 380,
    }
    return made


_FIGURES: dict[str, Callable[[Report], Figure]] = {
    "pr": _pr,
    "ap_over_iou": _ap_over_iou,
    "score_against_iou": _score_against_iou,
    "confusion": _confusion,
    "thresholds": _thresholds,
}
NAMES = tuple(_FIGURES)
"""Of all figures."""


def _chosen(report: Report) -> list[tuple[Report, str]]:
    """The classes that are drawn, each with its colour, in their own order."""
    every: Sequence[Report] = report["bbox"]["per_class"]
    most = sorted(every, key=lambda one: -one["boxes"])[:_CLASSES]
    drawn = [one for one in every if one in most]
    return list(zip(drawn, COLOURS[:_CLASSES], strict=False))


def _mean(rows: Sequence[Sequence[float | None]]) -> Floats:
    values = np.array(rows, np.float64)
    known = np.isfinite(values)
    many = known.sum(axis=0)
    means: Floats = np.full(values.shape[1:], np.nan)
    np.divide(np.where(known, values, 0).sum(axis=0), many, out=means, where=many > 0)
    return means


def _floats(values: Sequence[float | None]) -> Floats:
    """NaN where there is none."""
    return np.array(values, np.float64)
