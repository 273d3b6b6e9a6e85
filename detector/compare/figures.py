"""The figures of a comparison, as Plotly takes them: `{data, layout}` of plain JSON.

Colours of text, grid and background are left to the page, so that a figure is good on light and on dark.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.compare.pairing import Runs
from detector.compare.runs import CURVE_LEVELS, Measured
from detector.evaluate.evaluation import IOUS, RECALLS

Figure = dict[str, Any]

COLOURS = ("#3987d9", "#e0652a", "#1fa187", "#b875c8", "#c9a227", "#56b4e9", "#d64a6b", "#8a8f98")
"""Of the arms in their order; told apart also by most who do not see all colours."""
DRAWN = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100")
_INTERVALS = (
    ("interval", "seeds and images", 6, 0.2),
    ("interval_over_seeds", "seeds", 3, 0.0),
    ("interval_over_images", "images", 1.5, -0.2),
)
_POINTS = 100
_DASHES = ("solid", "dash", "dot")
_DIGITS = 6


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
        look = {"type": "scatter", "legendgroup": _text(one["arm"])}
        for key, words, width, shift in _INTERVALS:
            told = [(k + shift, name, metric) for k, name, metric in places if metric[key] is not None]
            ends = [(place, limit) for place, _, metric in told for limit in (*metric[key], None)]
            data.append(
                look
                | {
                    "mode": "lines",
                    "name": f"{_text(one['arm'])}: over {words}",
                    # Each interval a line of its own: a null ends it.
                    "x": [None if limit is None else _points(limit) for _, limit in ends],
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
                "name": f"{_text(one['arm'])}: mean",
                "x": [_points(metric["mean"]) for _, _, metric in known],
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
    labels = [f"{name}, {_text(arm['arm'])}" if several else name for name, arm in rows]
    return {
        "data": data,
        "layout": {
            "height": max(320, 46 * len(rows) + 110),
            "xaxis": {
                "title": {"text": f"difference from {_text(result['baseline'])}, in points"},
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
            "legend": _LEGEND,
            "margin": _MARGIN,
        },
    }


def _pr(arms: Mapping[str, Sequence[Measured]], colours: Mapping[str, str]) -> Figure:
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"{_text(name)}, IoU {IOUS[level]:.2f}",
            "x": _plain(RECALLS),
            "y": _plain(np.mean([one.precision[k] for one in runs], axis=0)),
            "line": {"color": colours[name], "dash": _DASHES[k], "width": 2},
        }
        for name, runs in arms.items()
        for k, level in enumerate(CURVE_LEVELS)
    ]
    return {
        "data": data,
        "layout": {
            "xaxis": {"title": {"text": "recall"}, "range": [0, 1]},
            "yaxis": {"title": {"text": "precision"}, "range": [0, 1.02], "automargin": True},
            "hovermode": "x unified",
            "legend": _LEGEND,
            "margin": _MARGIN,
            "height": 460,
        },
    }


def _ap_over_iou(arms: Mapping[str, Sequence[Measured]], colours: Mapping[str, str]) -> Figure:
    data = []
    for name, runs in arms.items():
        values = np.array([one.ap_by_iou for one in runs], np.float64) * _POINTS
        error = values.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(len(IOUS))
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": _text(name),
                "x": _plain(IOUS),
                "y": _plain(values.mean(axis=0)),
                "error_y": {"type": "data", "array": _plain(error), "thickness": 1.2, "width": 3},
                "line": {"color": colours[name], "width": 2},
            }
        )
    return {
        "data": data,
        "layout": {
            "xaxis": {"title": {"text": "IoU threshold"}, "dtick": 0.1},
            "yaxis": {
                "title": {"text": "AP in points, mean ± sd over seeds"},
                "rangemode": "tozero",
                "automargin": True,
            },
            "hovermode": "x unified",
            "legend": _LEGEND,
            "margin": _MARGIN,
            "height": 420,
        },
    }


def _score_against_iou(arms: Mapping[str, Sequence[Measured]], colours: Mapping[str, str]) -> Figure:
    """For each arm the share of its matched detections in each cell, and the mean IoU over the score."""
    data: list[dict[str, Any]] = []
    # Scores that are no probabilities may have other cells in every run: such cannot be added up.
    arms = {name: runs for name, runs in arms.items() if len({_cells(one) for one in runs}) == 1}
    columns = max(min(len(arms), 2), 1)
    lines = -(-len(arms) // columns)
    layout: dict[str, Any] = {
        "height": 360 * lines + 60,
        "showlegend": False,
        "margin": {**_MARGIN, "t": 40},
        "annotations": [],
    }
    most = 0.0
    for place, (name, runs) in enumerate(arms.items()):
        told = [one.report.consistency for one in runs]
        counts = np.sum([np.array(one.histogram, np.float64) for one in told], axis=0)
        scores, ious = _middles(told[0].score_edges), _middles(told[0].iou_edges)
        shares = counts / max(counts.sum(), 1.0)
        most = max(most, float(shares.max()))
        row, column = divmod(place, columns)
        number = "" if place == 0 else str(place + 1)
        per_score = counts.sum(axis=1)
        known = per_score > 0
        data += [
            {
                "type": "heatmap",
                "x": _plain(scores),
                "y": _plain(ious),
                "z": _plain(shares.T),
                "xaxis": f"x{number}",
                "yaxis": f"y{number}",
                "coloraxis": "coloraxis",
                "hovertemplate": "score %{x:.2f}, IoU %{y:.3f}: %{z:.1%}<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": _plain(scores[known]),
                "y": _plain((counts @ ious)[known] / per_score[known]),
                "xaxis": f"x{number}",
                "yaxis": f"y{number}",
                "line": {"color": colours[name], "width": 2},
                "hovertemplate": "mean IoU %{y:.3f}<extra></extra>",
            },
        ]
        left, top = column / columns, 1 - row / lines
        across = [left + 0.03 * (column > 0), left + 1 / columns - 0.05 * (column + 1 < columns)]
        layout |= {
            f"xaxis{number}": {
                "domain": across,
                "anchor": f"y{number}",
                "title": {"text": "score"},
                "showgrid": False,
                "zeroline": False,
            },
            f"yaxis{number}": {
                "domain": [top - 1 / lines + 0.16 * (lines > 1), top - 0.04 * (lines > 1)],
                "anchor": f"x{number}",
                "title": {"text": "IoU" if column == 0 else ""},
                "showgrid": False,
                "automargin": True,
            },
        }
        layout["annotations"].append(
            {
                "text": _text(name),
                "x": sum(across) / 2,
                "y": top - 0.04 * (lines > 1),
                "xref": "paper",
                "yref": "paper",
                "yanchor": "bottom",
                "showarrow": False,
                "font": {"size": 14},
            }
        )
    layout["coloraxis"] = {
        "cmin": 0,
        "cmax": round(most, _DIGITS) or 1,
        "colorscale": [[0, "rgba(138,143,152,0)"], [1, "rgba(138,143,152,1)"]],
        "colorbar": {"title": {"text": "share"}, "tickformat": ".0%", "thickness": 12},
    }
    return {"data": data, "layout": layout}


def _loss_curves(arms: Mapping[str, Sequence[Measured]], colours: Mapping[str, str]) -> Figure:
    """The loss, and AP of the evaluations on the way: means over the seeds."""
    data = []
    for name, runs in arms.items():
        rows = [row for one in runs for row in one.history]
        losses = [(row.epoch, row.metrics.get("loss")) for row in rows if row.split == "train"]
        measured = [(row.epoch, row.metrics.get("AP")) for row in rows if row.split != "train"]
        for pairs, panel, scale in ((losses, "", 1), (measured, "2", _POINTS)):
            known = np.array([pair for pair in pairs if pair[1] is not None], np.float64).reshape(-1, 2)
            epochs, values = _thinned(known, cells=100) if panel == "" else _by_epoch(known)
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines" if panel == "" else "lines+markers",
                    "name": _text(name),
                    "legendgroup": _text(name),
                    "showlegend": panel == "",
                    "x": _plain(epochs),
                    "y": _plain(values * scale),
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
            "legend": _LEGEND,
            "margin": _MARGIN,
            "height": 520,
        },
    }


_LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}
_MARGIN = {"l": 60, "r": 20, "t": 40, "b": 50}


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


def _middles(edges: Sequence[float]) -> NDArray[np.float64]:
    at = np.array(edges, np.float64)
    return (at[1:] + at[:-1]) / 2


def _text(name: str) -> str:
    """Plotly reads some markup in a text."""
    return escape(name, quote=False)


def _points(value: float) -> float:
    return round(value * _POINTS, _DIGITS)


def _plain(values: NDArray[np.float64]) -> list[Any]:
    """Numbers of JSON; null for what is none."""
    rounded = np.asarray(values, np.float64).round(_DIGITS)
    return [
        _plain(one) if isinstance(one, np.ndarray) else None if np.isnan(one) else float(one)
        for one in rounded
    ]
