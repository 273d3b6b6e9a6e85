"""How threads wait is this project's choice only where the environment says nothing."""

import pytest

from detector.threads import wait_briefly


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "1000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None), ({"GOMP_SPINCOUNT": "7"}, "7")],
    ids=["nothing", "policy", "spins"],
)
def test_the_environment_comes_first(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], spins: str | None
) -> None:
    environment = dict(given)
    monkeypatch.setattr("os.environ", environment)
    wait_briefly()
    assert environment.get("GOMP_SPINCOUNT") == spins
    assert environment.keys() - {"GOMP_SPINCOUNT"} == given.keys() - {"GOMP_SPINCOUNT"}
