"""One look at a search as a run: what `python -m detector suggest` leaves in its run directory.

result.json     the trials to begin, and how much each parameter decides
"""

from pathlib import Path
from typing import Any

from detector.files import write_json
from detector.search.specification import read_specification
from detector.search.suggest import importances, suggest


def write_run(search: Path, run: Path) -> dict[str, Any]:
    """What `result.json` says: `trials` with `params` and `config` each, and `importances`.

    Args:
        search: the file that says what was tried and how many further trials are asked for.

    Raises SearchInvalid.
    """
    (run / "result.json").unlink(missing_ok=True)
    asked = read_specification(search)
    result = {
        "trials": [
            {"params": one.params, "config": one.config.model_dump(mode="json")} for one in suggest(asked)
        ],
        "importances": importances(asked),
    }
    write_json(run / "result.json", result)
    return result
