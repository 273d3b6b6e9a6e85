"""What every process reads from the environment. Nothing set: embedded, under `./data`."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from store.errors import SettingsInvalid
from store.logs import LogFormat

S = TypeVar("S", bound="StoreSettings")

_BUCKET = re.compile(
    r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/(?P<prefix>\w[\w.-]*(/\w[\w.-]*)*))?/?"
)
SECRETS_VARIABLE = "HARMONICDET_SECRETS_DIR"


def _database_url(value: str, info: ValidationInfo) -> str:
    try:
        url = make_url(value)
    except ArgumentError:
        raise ValueError("is no database URL; write postgresql://user:password@host/name") from None
    if url.get_backend_name() == "sqlite":
        if not url.database or ":memory:" in url.database:
            raise ValueError("must name a file: several processes share the database")
    elif url.get_backend_name() != "postgresql":
        raise ValueError("must begin with sqlite:/// or postgresql://")
    password = _password(info, "database_password", url.password)
    if password is None or url.get_backend_name() == "sqlite":
        return value
    return url.set(password=password).render_as_string(hide_password=False)


def _broker_url(value: str, info: ValidationInfo) -> str:
    if value.split("://")[0] not in ("filesystem", "redis", "rediss"):
        raise ValueError("must be filesystem://, redis://host:port/0 or rediss://host:port/0")
    url = urlsplit(value)
    password = _password(info, "broker_password", url.password)
    if password is None or url.scheme == "filesystem":
        return value
    user, _, address = url.netloc.rpartition("@")
    login = f"{user.partition(':')[0]}:{quote(password, safe='')}"
    return url._replace(netloc=f"{login}@{address}").geturl()


def _password(info: ValidationInfo, name: str, in_url: str | None) -> str | None:
    """The one that is to be put into the URL."""
    given: SecretStr | None = info.data.get(name)
    if given is None or in_url is not None:
        return None
    return given.get_secret_value()


def _blobs(value: str) -> str:
    if "://" in value and not _BUCKET.fullmatch(value):
        raise ValueError("must be a directory, s3://bucket or s3://bucket/prefix")
    return value


def _endpoint(value: str | None) -> str | None:
    if value is not None and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).netloc):
        raise ValueError("must be http://host:port or https://host:port")
    return value


def _embedded(data: dict[str, Any]) -> bool:
    database, broker = str(data["database_url"]), str(data["broker_url"])
    return database.startswith("sqlite") or broker.startswith("filesystem")


class StoreSettings(BaseSettings):
    """Variables are these names in capitals after `HARMONICDET_`; an empty one counts as not set.

    What has no variable may be a file `harmonicdet_…` in the directory that `HARMONICDET_SECRETS_DIR` names,
    as container engines hand out secrets; see `read`.
    """

    model_config = SettingsConfigDict(
        env_prefix="HARMONICDET_",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    data: Annotated[Path, AfterValidator(Path.absolute)] = Path("data")
    """Directory of the database file, blobs, runs and caches. Local disk when the database is SQLite."""
    database_password: SecretStr | None = Field(default=None, min_length=1)
    """Password of the database, where its URL has none."""
    database_url: Annotated[str, AfterValidator(_database_url)] = Field(
        default_factory=lambda data: f"sqlite:///{data['data'] / 'harmonicdet.db'}", repr=False
    )
    """`sqlite:///…` or `postgresql://…`; by default a SQLite file in the data directory."""
    broker_password: SecretStr | None = Field(default=None, min_length=1)
    """Password of Redis, where its URL has none."""
    broker_url: Annotated[str, AfterValidator(_broker_url)] = Field(default="filesystem://", repr=False)
    """`redis://…`; by default a folder in the data directory."""
    blobs: Annotated[str, AfterValidator(_blobs)] = Field(
        default_factory=lambda data: str(data["data"] / "blobs")
    )
    """Directory of datasets, checkpoints and artifacts, or `s3://bucket/prefix`."""
    s3_endpoint_url: Annotated[str | None, AfterValidator(_endpoint)] = None
    """Where the object store listens, such as `https://minio:9000`; by default Amazon's."""
    s3_public_endpoint_url: Annotated[str | None, AfterValidator(_endpoint)] = None
    """The same as clients reach it, for downloads that the API hands over to it."""
    s3_region: str = Field("us-east-1", min_length=1)
    """Region of the bucket."""
    s3_access_key_id: SecretStr | None = Field(default=None, min_length=1, repr=False)
    """Who asks it; by default as boto3 finds it: its own variables, a profile, the role of the machine."""
    s3_secret_access_key: SecretStr | None = Field(default=None, min_length=1, repr=False)
    """The secret that belongs to it."""

    log_format: LogFormat = "text"
    """`text`, lines for people, or `json`, an object on each line."""
    metrics_port: int = Field(0, ge=0, le=65535)
    """Port on which Prometheus may ask this process, without a key; 0: none."""
    metrics_host: str = "127.0.0.1"
    """Address of that port. Whoever reaches it learns how busy the service is, no names and no ids."""
    traces: bool = False
    """Whether traces are sent by OTLP, to where OpenTelemetry's own `OTEL_EXPORTER_OTLP_ENDPOINT` says."""

    min_free_bytes: int = Field(1 << 30, ge=0)
    """With less room on a disk nothing new is begun there: no upload, no job, no training."""

    collect_seconds: float = Field(3600.0, ge=0)
    """How often blobs that nothing refers to any more are deleted; 0: never by itself."""
    collect_grace_seconds: float = Field(3600.0, gt=0)
    """Blobs put within this time are left alone: what refers to them may still be on its way."""

    heartbeat_seconds: float = Field(default_factory=lambda data: 1.0 if _embedded(data) else 5.0, gt=0)
    """How often a worker extends its lease."""
    lease_seconds: float = Field(default_factory=lambda data: 10.0 if _embedded(data) else 30.0, gt=0)
    """After so long without a heartbeat a job is taken from its worker."""
    lease_margin_seconds: float = Field(default_factory=lambda data: 3.0 if _embedded(data) else 10.0, gt=0)
    """So long before its lease ends, a worker that could not extend it stops by itself."""
    dispatch_seconds: float = Field(default_factory=lambda data: 2.0 if _embedded(data) else 30.0, gt=0)
    """How often a queued job is announced to the workers again."""

    @property
    def embedded(self) -> bool:
        """Whether all runs on this host, with nothing installed but Python packages."""
        return _embedded({"database_url": self.database_url, "broker_url": self.broker_url})

    @property
    def blobs_folder(self) -> Path | None:
        """Directory of the blobs; None where they are in S3."""
        return None if _BUCKET.fullmatch(self.blobs) else Path(self.blobs)

    @property
    def bucket(self) -> tuple[str, str]:
        """Bucket and prefix of the blobs in S3; the prefix is empty or ends with a slash."""
        found = _BUCKET.fullmatch(self.blobs)
        if found is None:
            raise ValueError(f"{self.blobs} is a directory")
        return found["bucket"], f"{found['prefix']}/" if found["prefix"] else ""

    @property
    def staging(self) -> Path:
        """Directory of what is on its way to the blobs, on their volume where they have one."""
        return (self.blobs_folder or self.data) / "staging"

    @property
    def volumes(self) -> list[Path]:
        """Directories that the service fills, which may be on disks of their own."""
        return [self.data] if self.blobs_folder in (None, self.data) else [self.data, Path(self.blobs)]

    @model_validator(mode="after")
    def _keys_come_in_pairs(self) -> Self:
        if (self.s3_access_key_id is None) != (self.s3_secret_access_key is None):
            raise ValueError("HARMONICDET_S3_ACCESS_KEY_ID and HARMONICDET_S3_SECRET_ACCESS_KEY go together")
        return self

    @model_validator(mode="after")
    def _times_fit_together(self) -> Self:
        if self.heartbeat_seconds + self.lease_margin_seconds >= self.lease_seconds:
            raise ValueError(
                "HARMONICDET_LEASE_SECONDS must be greater than "
                "HARMONICDET_HEARTBEAT_SECONDS + HARMONICDET_LEASE_MARGIN_SECONDS"
            )
        return self


def read(settings: type[S], **given: Any) -> S:
    """The settings from the environment and the directory of secrets; those that are `given` come first.

    Raises `SettingsInvalid`, which names every wrong variable.
    """
    secrets = os.environ.get(SECRETS_VARIABLE) or None
    if secrets is not None and not Path(secrets).is_dir():
        raise SettingsInvalid(f"{SECRETS_VARIABLE} is no directory: {secrets}")
    try:
        return settings(_secrets_dir=secrets, **given)
    except PermissionError as error:
        raise SettingsInvalid(f"the secret {error.filename} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        faults = []
        for fault in error.errors(include_input=False, include_url=False):
            if fault["type"] == "default_factory_not_called":
                continue  # a default that depends on a variable which is wrong itself
            names = "".join(f"HARMONICDET_{str(part).upper()} " for part in fault["loc"])
            verdict = "is not set" if fault["type"] == "missing" else fault["msg"]
            faults.append(names + verdict.removeprefix("Value error, "))
        raise SettingsInvalid("; ".join(faults)) from None
