"""How far something is: in a line, and in a notebook without widgets."""

from typing import Any

import pytest

from harmonicdet.client.progress import NotebookBar, detail

JOB: dict[str, Any] = {
    "status": "running",
    "phase": "training",
    "progress": {"epoch": 3, "epochs": 12, "step": 91, "steps": 312, "fraction": 0.29, "eta_seconds": 130.0},
    "metrics": {"last": {"loss": 3.21, "AP50": 0.431}},
    "attempt": 2,
}
SEARCH: dict[str, Any] = {
    "status": "running",
    "max_trials": 20,
    "metric": "AP75",
    "progress": {"begun": 9, "succeeded": 6, "pruned": 2, "failed": 0, "running": 1, "fraction": 0.4},
    "best": {"value": 0.3712},
}


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (JOB, "epoch 3/12  step 91/312  loss 3.210  AP50 0.431  attempt 2  2 min left"),
        (SEARCH, "6 of 20 trials  2 pruned  best AP75 0.371"),
        (SEARCH | {"best": None}, "6 of 20 trials  2 pruned"),
        (
            {"status": "queued", "progress": None, "waiting_for": "train_worker", "queue_position": 3},
            "waits for train worker, 3 in the queue",
        ),
        ({"status": "validating"}, ""),
    ],
)
def test_a_line_says_how_far_it_is(state: dict[str, Any], told: str) -> None:
    assert detail(state) == told


def test_a_notebook_shows_one_bar_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []

    class Place:
        def update(self, data: dict[str, str], *, raw: bool) -> None:
            shown.append(data)

    def display(data: dict[str, str], *, raw: bool, display_id: bool) -> Place:
        return Place()

    monkeypatch.setattr("IPython.display.display", display)
    with NotebookBar() as bar:
        bar(JOB)
        bar(JOB | {"phase": "<i>", "progress": {"fraction": 0.5}})
        bar(JOB | {"status": "succeeded"})
    assert [one["text/plain"].split()[0] for one in shown] == ["training", "<i>", "succeeded"]
    assert [one["text/html"].partition('value="')[2][:6] for one in shown] == ["0.2900", "0.5000", "1.0000"]
    assert "&lt;i&gt;" in shown[1]["text/html"]
