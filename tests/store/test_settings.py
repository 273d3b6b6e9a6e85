"""The environment: defaults that work, and errors that name the variable."""

from pathlib import Path

import pytest
import redis
from sqlalchemy import make_url

from store.errors import SettingsInvalid
from store.settings import StoreSettings, read


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in StoreSettings.model_fields:
        monkeypatch.delenv(f"HARMONICDET_{name.upper()}", raising=False)
    monkeypatch.delenv("HARMONICDET_SECRETS_DIR", raising=False)
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
        ("BLOBS", "gs://bucket", "HARMONICDET_BLOBS must be a directory"),
        ("BLOBS", "s3://b/../c", "HARMONICDET_BLOBS must be a directory"),
        ("S3_ENDPOINT_URL", "minio:9000", "HARMONICDET_S3_ENDPOINT_URL must be http"),
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


def test_passwords_are_taken_from_files_and_put_into_the_urls(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARMONICDET_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv(
        "HARMONICDET_DATABASE_URL", "postgresql+psycopg://harmonicdet@postgres:5432/harmonicdet"
    )
    monkeypatch.setenv("HARMONICDET_BROKER_URL", "redis://redis:6379/0")
    (tmp_path / "harmonicdet_database_password").write_text("p/@:ss\n")
    (tmp_path / "harmonicdet_broker_password").write_text("r/@:ss\n")
    settings = read(StoreSettings)
    assert make_url(settings.database_url).password == "p/@:ss"
    assert make_url(settings.database_url).host == "postgres"
    broker = redis.Redis.from_url(settings.broker_url).connection_pool.connection_kwargs
    assert (broker["host"], broker["port"], broker["db"], broker["password"]) == ("redis", 6379, 0, "r/@:ss")
    assert "p/@" not in repr(settings)
    assert "r/@" not in repr(settings)


def test_a_password_in_a_url_is_the_one_that_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARMONICDET_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("HARMONICDET_DATABASE_URL", "postgresql://u:own@db/harmonicdet")
    monkeypatch.setenv("HARMONICDET_BROKER_URL", "redis://u:own@redis:6379/0")
    for name in ("database", "broker"):
        (tmp_path / f"harmonicdet_{name}_password").write_text("other")
    settings = read(StoreSettings)
    assert settings.database_url == "postgresql://u:own@db/harmonicdet"
    assert settings.broker_url == "redis://u:own@redis:6379/0"


def test_an_embedded_service_takes_no_notice_of_passwords(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARMONICDET_DATABASE_PASSWORD", "password")
    monkeypatch.setenv("HARMONICDET_BROKER_PASSWORD", "password")
    assert read(StoreSettings).database_url == f"sqlite:///{tmp_path}/data/harmonicdet.db"
    assert read(StoreSettings).broker_url == "filesystem://"


def test_a_directory_of_secrets_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARMONICDET_SECRETS_DIR", str(tmp_path / "absent"))
    with pytest.raises(SettingsInvalid, match="HARMONICDET_SECRETS_DIR is no directory"):
        read(StoreSettings)
