"""The report of a comparison in words and tables, before it is Markdown or a page.

Numbers of 0 to 1 are told as points, hundredths, as AP is in papers; correlations as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from detector.compare.intervals import FEWEST_SEEDS
from detector.evaluate.coco import METRICS

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

DIAGNOSTIC_NAMES = {
    "spearman": "Spearman correlation of score and IoU",
    "pearson": "Pearson correlation of score and IoU",
    "calibration_error": "calibration error of score against IoU",
    "calibration_error_of_all": "the same, with what matches nothing",
    "high_score_low_iou": "share of high score and low IoU",
    "low_score_high_iou": "share of low score and high IoU",
    "ap_ranked_by_iou": "AP, were boxes ranked by IoU",
    "headroom": "headroom: what that is above AP",
    "lost_to_worse": "share of objects whose best box was suppressed by a worse one",
}


@dataclass(frozen=True)
class Table:
    """The first column says what a row is; the others are numbers or short words."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    heading: str
    words: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figure: str | None = None
    """A name of the result's `figures`."""
    after: Sequence[str] = field(default=())
    """What is said of the figure."""


def sections(result: Mapping[str, Any]) -> list[Section]:
    """From first to last."""
    parts = [_answer(result), _differences(result)]
    if len(result["differences"]) != 1:
        parts.append(_numbers(result))
    return [*parts, _curves(), _iou(), _placement(result), _classes(result), _slices(result), *_rest(result)]


def answers(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Of each arm: its name, the verdict, and a sentence."""
    return [(arm, verdict, _sentence(result, arm, verdict)) for arm, verdict in result["verdict"].items()]


def _sentence(result: Mapping[str, Any], arm: str, verdict: str) -> str:
    against = result["baseline"]
    found = next((one for one in result["differences"] if one["arm"] == arm), None)
    if found is None:
        return f"No verdict on {arm}: it has no seed in common with the other arms."
    metric, decided = found["metrics"][result["primary"]], found["decided_by"]
    seeds = f"{len(result['seeds'])} seeds" if len(result["seeds"]) != 1 else "1 seed"
    difference = f"{result['primary']} differs by {signed(metric['mean'])} points over {seeds}"
    if verdict == "refused":
        return (
            f"No verdict on {arm} against {against}: {difference}, and {FEWEST_SEEDS} are the fewest for one."
        )
    words = {
        "better": f"{arm} is better than {against}",
        "worse": f"{arm} is worse than {against}",
        "inconclusive": f"It cannot be told whether {arm} is better or worse than {against}",
    }[verdict]
    interval = interval_of(decided["interval"])
    return (
        f"{words}: {difference}, {percent(decided['confidence'])} interval over seeds and images {interval}."
    )


def _answer(result: Mapping[str, Any]) -> Section:
    rows = []
    for one in result["differences"]:
        decided = one["decided_by"]
        rows.append(
            [
                _name(one),
                signed(one["metrics"][result["primary"]]["mean"]),
                *(interval_of(decided[name]) for name in _INTERVALS),
                one["verdict"],
            ]
        )
    confidence = result["differences"][0]["decided_by"]["confidence"] if rows else result["confidence"]
    words = [] if result["reason"] is None else [result["reason"]]
    if rows:
        words.append(
            f"{result['primary']} decides, in points, at {percent(confidence)}. An arm is better or worse"
            " where all three intervals leave out 0 on the same side."
        )
    if result["claims"] > 1:
        words.append(
            f"{result['claims']} arms are compared with the baseline, so each is held to"
            f" {percent(confidence)} for all of them together to hold at {percent(result['confidence'])}"
            " (Bonferroni)."
        )
    head = ["difference", result["primary"], "over seeds", "over images", "over both", "verdict"]
    return Section("Answer", words, [Table(head, rows)] if rows else [], "differences" if rows else None)


_INTERVALS = ("interval_over_seeds", "interval_over_images", "interval")


def _differences(result: Mapping[str, Any]) -> Section:
    tables = []
    arms = {one["name"]: one for one in result["arms"]}
    for one in result["differences"]:
        base, own = arms[one["against"]], arms[one["arm"]]
        rows = [
            [
                name,
                spread(base["mean"][name], base["sd"][name]),
                spread(own["mean"][name], own["sd"][name]),
                signed(told["mean"]),
                *(interval_of(told[key]) for key in _INTERVALS),
            ]
            for name, told in one["metrics"].items()
        ]
        head = [
            "metric",
            one["against"],
            one["arm"],
            "difference",
            "over seeds",
            "over images",
            "over both",
        ]
        tables.append(Table(head, rows))
    many = sum(1 for one in result["differences"] for told in one["metrics"].values() if told["interval"])
    words = [
        f"In points: mean ± standard deviation over the seeds, and intervals of"
        f" {percent(result['confidence'])} each. {result['primary']} is the primary metric; the others show"
        " where a difference comes from and decide nothing."
    ]
    if many > 1:
        words.append(
            f"Of these {many} intervals over both about {many * (1 - result['confidence']):.1f} would leave"
            " out 0 even if nothing differed."
        )
    return Section("Differences", words, tables) if tables else Section("Differences", [_NOTHING])


_NOTHING = "There are none: no seed has a training of every arm."


def _numbers(result: Mapping[str, Any]) -> Section:
    names = list(result["arms"][0]["mean"]) or list(METRICS)
    rows = [[name, *(spread(one["mean"][name], one["sd"][name]) for one in result["arms"])] for name in names]
    return Section(
        "Numbers",
        ["In points, mean ± standard deviation over the seeds."],
        [Table(["metric", *(one["name"] for one in result["arms"])], rows)],
    )


def _curves() -> Section:
    words = ["Precision over recall, mean over classes and seeds, at IoU 0.50, 0.75 and 0.90."]
    return Section("Precision and recall", (), (), "pr", words)


def _iou() -> Section:
    return Section("AP over IoU", (), (), "ap_over_iou", ["How AP falls as boxes must fit better."])


def _placement(result: Mapping[str, Any]) -> Section:
    head = ["diagnostic", *(one["name"] for one in result["arms"])]
    differences = result["differences"]
    for one in differences:
        head += [_name(one), "over seeds"]
    rows = []
    for name, words in DIAGNOSTIC_NAMES.items():
        row = [words]
        for arm in result["arms"]:
            told = arm["consistency"][name]
            row.append(spread(told["mean"], told["sd"], plain=True))
        for one in differences:
            told = one["consistency"][name]
            row += [signed(told["mean"], plain=True), interval_of(told["interval_over_seeds"], plain=True)]
        rows.append(row)
    about = [
        "Of detections that match an object at IoU 0.50. A higher correlation and a lower calibration error"
        " are better; headroom is what a perfect ranking of the same boxes would add to AP."
    ]
    after = ["Each cell is a share of an arm's matched detections; the line is the mean IoU over the score."]
    return Section(
        "Does the score tell how well a box is placed?",
        about,
        [Table(head, rows)],
        "score_against_iou",
        after,
    )


def _classes(result: Mapping[str, Any]) -> Section:
    rows = []
    for k, one in enumerate(result["arms"][0]["per_class"]):
        row = [one["name"], str(one["objects"])]
        for arm in result["arms"]:
            told = arm["per_class"][k]["AP"]
            row.append(spread(told["mean"], told["sd"]))
        for difference in result["differences"]:
            told = difference["per_class"][k]["AP"]
            row += [signed(told["mean"]), interval_of(told["interval"])]
        rows.append(row)
    return Section("Classes", ["AP in points."], [Table(_columns(result, "class", "over both"), rows)])


def _slices(result: Mapping[str, Any]) -> Section:
    rows = []
    for k, one in enumerate(result["arms"][0]["per_slice"]):
        row = [f"{one['group']}: {one['name'].replace('_', ' ')}", str(one["objects"])]
        for arm in result["arms"]:
            told = arm["per_slice"][k]["AP"]
            row.append(spread(told["mean"], told["sd"]))
        for difference in result["differences"]:
            told = difference["per_slice"][k]["AP"]
            row += [signed(told["mean"]), interval_of(told["interval_over_seeds"])]
        rows.append(row)
    words = ["AP in points, of one kind of objects each; what the slices are is told in docs/evaluation.md."]
    return Section("Kinds of objects", words, [Table(_columns(result, "slice", "over seeds"), rows)])


def _columns(result: Mapping[str, Any], first: str, interval: str) -> list[str]:
    head = [first, "objects", *(one["name"] for one in result["arms"])]
    for one in result["differences"]:
        head += [_name(one), interval]
    return head


def _rest(result: Mapping[str, Any]) -> list[Section]:
    rows = []
    for arm in result["arms"]:
        for run in arm["runs"]:
            metrics = run.get("metrics", {})
            state = "used" if run["used"] else run["failed"] or "left out"
            numbers = [points(metrics.get(name)) for name in ("AP", "AP50", "AP75")]
            rows.append([arm["name"], str(run["seed"]), *numbers, state, run["job"] or MISSING])
    paired = result["paired"]
    words = {True: "yes", False: "no", None: "not known"}
    noise = result["noise"]
    return [
        Section("Losses", (), (), "loss_curves", ["Losses of different kinds are not of the same height."]),
        Section(
            "Trainings",
            [
                "For each seed all arms saw the same images in the same order:"
                f" {words[paired['data_order']]}. They began with the same weights:"
                f" {words[paired['initial_weights']]}. (By the hashes in the manifests.)"
            ],
            [Table(["arm", "seed", "AP", "AP50", "AP75", "state", "job"], rows)],
        ),
        Section(
            "How to read it",
            [
                noise["training"],
                noise["test_set"],
                noise["both"],
                f"Measured on {result['images']} images with {result['objects']} objects;"
                f" {result['resamples']} resamples.",
            ],
        ),
    ]


def _name(difference: Mapping[str, Any]) -> str:
    return f"{difference['arm']} {MINUS} {difference['against']}"


# --- how numbers are told ---


def points(value: float | None) -> str:
    """0.4512 as 45.12."""
    return MISSING if value is None else f"{100 * value:.2f}"


def signed(value: float | None, *, plain: bool = False) -> str:
    """With its sign; in points unless `plain`."""
    if value is None:
        return MISSING
    digits = 3 if plain else 2
    text = f"{value if plain else 100 * value:{'+' if value else ''}.{digits}f}"
    return text.replace("-", MINUS)


def spread(mean: float | None, sd: float | None, *, plain: bool = False) -> str:
    """`mean ± sd`; in points unless `plain`."""
    if mean is None:
        return MISSING
    scale, digits = (1, 3) if plain else (100, 2)
    text = f"{scale * mean:.{digits}f}".replace("-", MINUS)
    return text if sd is None else f"{text} ± {scale * sd:.{digits}f}"


def interval_of(limits: Sequence[float] | None, *, plain: bool = False) -> str:
    """`-0.30 to +2.54`; in points unless `plain`."""
    return MISSING if limits is None else " to ".join(signed(one, plain=plain) for one in limits)


def percent(value: float) -> str:
    """0.95 as 95 %."""
    return f"{100 * value:.4g} %"
