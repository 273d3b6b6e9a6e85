"""A comparison as a run: what `python -m detector compare` leaves in its run directory.

artifacts/comparison.json     everything, figures included
artifacts/comparison.md       the report in words and tables
artifacts/comparison.html     the same with figures, one page that needs nothing else
result.json                   the head of it, written last
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from detector.compare.markdown import markdown
from detector.compare.page import page
from detector.compare.result import compare, head
from detector.compare.specification import read_specification
from detector.events import EventWriter, PhaseEvent, ProgressEvent
from detector.files import described, write_json, write_text

_MEDIA_TYPES = {
    "comparison.json": "application/json",
    "comparison.md": "text/markdown",
    "comparison.html": "text/html",
}


def write_run(comparison: Path, run: Path, writer: EventWriter) -> dict[str, Any]:
    """Compares, and writes all of the run; what `comparison.json` says.

    Args:
        comparison: the file that says what is to be compared.

    Raises ComparisonInvalid.
    """
    (run / "result.json").unlink(missing_ok=True)
    specification = read_specification(comparison)
    writer.write(PhaseEvent(phase="evaluating"))
    result = compare(specification, comparison.parent, _course(writer))
    folder = run / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "comparison.json", result)
    write_text(folder / "comparison.md", markdown(result))
    write_text(folder / "comparison.html", page(result))
    write_json(
        run / "result.json",
        {
            "comparison": head(result),
            "artifacts": [described(folder / name, media_type) for name, media_type in _MEDIA_TYPES.items()],
        },
    )
    return result


def _course(writer: EventWriter) -> Callable[[int, int], None]:
    """Tells how many of the runs are measured."""

    def tell(done: int, of: int) -> None:
        writer.write(ProgressEvent(step=done, steps=of, fraction=round(done / of, 6) if of else 0.0))

    return tell
