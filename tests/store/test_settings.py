"""The environment: defaults that work, and errors that name the variable."""

from pathlib import Path

import pytest

from store.errors import SettingsInvalid
from store.settings import StoreSettings, read


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in StoreSettings.model_fields:
        monkeypatch.delenv(f"HARMONICDET_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_nothing_set_is_embedded_under_data(tmp_path: Path) -> None:
    settings = read(StoreSettings)
    assert settings.embedded
    assert settings.data == tmp_path / "data"
    assert settings.database_url == f"sqlite:///{tmp_path}/data/harmonicdet.db"
    assert settings.broker_url == "filesystem://"
    assert settings.blobs == str(tmp_path / "data" / "blobs")
    times = (settings.heartbeat_seconds, settings.lease_seconds, settings.lease_margin_seconds)
    assert (*times, settings.dispatch_seconds) == (1, 10, 3, 2)


def test_postgresql_and_redis_are_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMONICDET_DATABASE_URL", "postgresql://u:secret@db/harmonicdet")
    monkeypatch.setenv("HARMONICDET_BROKER_URL", "redis://:secret@redis:6379/0")
    settings = read(StoreSettings)
    assert not settings.embedded
    times = (settings.heartbeat_seconds, settings.lease_seconds, settings.lease_margin_seconds)
    assert (*times, settings.dispatch_seconds) == (5, 30, 10, 30)
    assert "secret" not in repr(settings)


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMONICDET_DATABASE_URL", "")
    assert read(StoreSettings).database_url.startswith("sqlite:///")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DATABASE_URL", "mysql://u:secret@db/x", "HARMONICDET_DATABASE_URL must begin with"),
        ("DATABASE_URL", "secret", "HARMONICDET_DATABASE_URL is no database URL"),
        ("DATABASE_URL", "sqlite://", "HARMONICDET_DATABASE_URL must name a file"),
        ("BROKER_URL", "amqp://u:secret@host", "HARMONICDET_BROKER_URL must be"),
        ("BLOBS", "s3://bucket", "HARMONICDET_BLOBS must be a directory"),
        ("LEASE_SECONDS", "0", "HARMONICDET_LEASE_SECONDS"),
        ("LEASE_SECONDS", "soon", "HARMONICDET_LEASE_SECONDS"),
        ("HEARTBEAT_SECONDS", "9", "HARMONICDET_LEASE_SECONDS must be greater than"),
    ],
)
def test_a_wrong_variable_is_named_and_its_value_kept_quiet(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(f"HARMONICDET_{name}", value)
    with pytest.raises(SettingsInvalid) as caught:
        read(StoreSettings)
    assert says in caught.value.message
    assert "secret" not in caught.value.message
    assert "default factory" not in caught.value.message
