"""Figures as Plotly takes them, `{data, layout}` of plain JSON, drawn alike in reports and on pages.

Colours of text, grid and background are left to the page, so that a figure is good on light and on dark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

Figure = dict[str, Any]
Floats = NDArray[np.float64]

COLOURS = ("#3987d9", "#e0652a", "#1fa187", "#b875c8", "#c9a227", "#56b4e9", "#d64a6b", "#8a8f98")
"""In their order; told apart also by most who do not see all colours."""
DASHES = ("solid", "dash", "dot")
POINTS = 100
"""AP is told in hundredths, as it is in papers."""
LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}
MARGIN = {"l": 60, "r": 20, "t": 40, "b": 50}
_DIGITS = 6


@dataclass(frozen=True)
class Curve:
    """A line of values over the axis that its figure has."""

    name: str
    colour: str
    y: Floats
    """NaN where there is none."""
    dash: str = "solid"
    width: float = 2
    error: Floats | None = None
    """Half the height of the bar at each value."""
    opacity: float = 1


@dataclass(frozen=True)
class Density:
    """How many detections have which score and IoU, `counts` (S, I)."""

    name: str
    colour: str
    counts: Floats
    score_edges: Sequence[float]
    iou_edges: Sequence[float]


def pr(recalls: Floats, curves: Sequence[Curve]) -> Figure:
    """Precision over recall."""
    return {
        "data": [_line(one, recalls) for one in curves],
        "layout": {
            "xaxis": {"title": {"text": "recall"}, "range": [0, 1]},
            "yaxis": {"title": {"text": "precision"}, "range": [0, 1.02], "automargin": True},
            "hovermode": "x unified",
            "legend": LEGEND,
            "margin": MARGIN,
            "height": 460,
        },
    }


def ap_over_iou(ious: Floats, curves: Sequence[Curve], title: str) -> Figure:
    """AP, in points, at each IoU threshold; `title` of that axis."""
    return {
        "data": [_line(one, ious, markers=True) for one in curves],
        "layout": {
            "xaxis": {"title": {"text": "IoU threshold"}, "dtick": 0.1},
            "yaxis": {"title": {"text": title}, "rangemode": "tozero", "automargin": True},
            "hovermode": "x unified",
            "legend": LEGEND,
            "margin": MARGIN,
            "height": 420,
        },
    }


def score_against_iou(densities: Sequence[Density]) -> Figure:
    """Of each the share of its detections in each cell, and the mean IoU over the score."""
    data: list[dict[str, Any]] = []
    columns = max(min(len(densities), 2), 1)
    lines = -(-len(densities) // columns)
    layout: dict[str, Any] = {
        "height": 360 * lines + 60,
        "showlegend": False,
        "margin": {**MARGIN, "t": 40},
        "annotations": [],
    }
    most = 0.0
    for place, one in enumerate(densities):
        counts = one.counts
        scores, ious = _middles(one.score_edges), _middles(one.iou_edges)
        shares = counts / max(counts.sum(), 1.0)
        most = max(most, float(shares.max()))
        row, column = divmod(place, columns)
        number = "" if place == 0 else str(place + 1)
        per_score = counts.sum(axis=1)
        known = per_score > 0
        data += [
            {
                "type": "heatmap",
                "x": plain(scores),
                "y": plain(ious),
                "z": plain(shares.T),
                "xaxis": f"x{number}",
                "yaxis": f"y{number}",
                "coloraxis": "coloraxis",
                "hovertemplate": "score %{x:.2f}, IoU %{y:.3f}: %{z:.1%}<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": plain(scores[known]),
                "y": plain((counts @ ious)[known] / per_score[known]),
                "xaxis": f"x{number}",
                "yaxis": f"y{number}",
                "line": {"color": one.colour, "width": 2},
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
                "text": text(one.name),
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


def text(name: str) -> str:
    """A name as a text of a figure: Plotly reads some markup there."""
    return escape(name, quote=False)


def plain(values: Floats) -> list[Any]:
    """Numbers of JSON; null for what is none."""
    rounded = np.asarray(values, np.float64).round(_DIGITS)
    return [
        plain(one) if isinstance(one, np.ndarray) else None if np.isnan(one) else float(one)
        for one in rounded
    ]


def points(value: float) -> float:
    """A number of 0 to 1 in hundredths."""
    return round(value * POINTS, _DIGITS)


def _line(one: Curve, x: Floats, *, markers: bool = False) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines+markers" if markers else "lines",
        "name": text(one.name),
        "x": plain(x),
        "y": plain(one.y),
        "line": {"color": one.colour, "dash": one.dash, "width": one.width},
    }
    if one.error is not None:
        drawn["error_y"] = {"type": "data", "array": plain(one.error), "thickness": 1.2, "width": 3}
    if one.opacity != 1:
        drawn["opacity"] = one.opacity
    return drawn


def _middles(edges: Sequence[float]) -> Floats:
    at = np.array(edges, np.float64)
    return (at[1:] + at[:-1]) / 2
