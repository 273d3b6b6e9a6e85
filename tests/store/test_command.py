"""`python -m store migrate`, as the containers run it."""

from pathlib import Path

import pytest

from store.__main__ import main
from store.sessions import is_current


def test_it_makes_the_tables_and_may_be_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/harmonicdet.db"
    monkeypatch.setenv("HARMONICDET_DATABASE_URL", url)
    assert main(["migrate"]) == 0
    assert main(["migrate"]) == 0
    assert is_current(url)


@pytest.mark.parametrize("url", ["mysql://host/x", "postgresql://user:hunter2@127.0.0.1:1/x"])
def test_a_database_that_cannot_be_used_is_named_without_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HARMONICDET_DATABASE_URL", url)
    assert main(["migrate"]) == 1
    assert "HARMONICDET_DATABASE_URL" in caplog.text
    assert "hunter2" not in caplog.text
