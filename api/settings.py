"""What the HTTP process reads from the environment, all of it under `HARMONICDET_`."""

import ipaddress
import os
import secrets
from pathlib import Path
from typing import Annotated

from limits import parse
from pydantic import AfterValidator, Field, SecretStr

from store.errors import SettingsInvalid
from store.settings import StoreSettings

MIB = 1024 * 1024


def _long_enough(value: SecretStr | None) -> SecretStr | None:
    if value is not None and len(value.get_secret_value()) < 32:
        raise ValueError("must have at least 32 characters")
    return value


def _cores() -> int:
    """That this process may use."""
    return min(256, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _rate(value: str | None) -> str | None:
    if value is None or value == "off":
        return None
    try:
        parse(value)
    except ValueError:
        raise ValueError("must be a number of requests and a time, such as 600/minute, or off") from None
    return value


class Settings(StoreSettings):
    """The store's settings and those of the HTTP process."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    require_keys: bool | None = None
    """Whether every request must show an API key; by default where others than this machine can ask."""
    allow_unauthenticated: bool = False
    """Whether to listen beyond loopback although nobody has to show a key."""
    secret: Annotated[SecretStr | None, AfterValidator(_long_enough)] = None
    """The server's own secret, under which keys are hashed: 32 characters or more, the same in every API
    process. Embedded, one is made in the data directory."""
    webhooks_allow_private: bool = False
    """Whether webhooks may be sent over plain http and to addresses that are not on the internet."""
    rate_limit: Annotated[str | None, AfterValidator(_rate)] = "3000/minute"
    """How often one key may ask, such as `600/minute`, in each API process; `off` for no limit."""

    upload_limit_bytes: int = Field(20 * 1024 * MIB, gt=0)
    """Largest dataset archive."""
    uploads_limit: int = Field(100, ge=1)
    """Unfinished resumable uploads that a project may have."""
    upload_keep_seconds: float = Field(24 * 3600.0, gt=0)
    """How long a resumable upload is kept after its last part."""
    upload_idle_seconds: float = Field(60.0, gt=0)
    """After so long without a byte, a part of a resumable upload has ended."""
    weights_limit_bytes: int = Field(2 * 1024 * MIB, gt=0)
    """Largest file of weights to import."""
    detections_limit_bytes: int = Field(128 * MIB, gt=0)
    """Largest file of detections to evaluate."""
    body_limit_bytes: int = Field(1 * MIB, gt=0)
    """Largest body of every other request, such as the config of a job."""

    presigned_downloads: bool = False
    """Whether downloads of files in an object store are handed over to it: answered with a URL, valid for
    some minutes, that clients follow. They must reach it (HARMONICDET_S3_PUBLIC_ENDPOINT_URL)."""
    presigned_seconds: int = Field(300, ge=1, le=7 * 24 * 3600)
    """How long such a URL is valid."""

    predict_body_limit_bytes: int = Field(25 * MIB, gt=0)
    """Largest body of a prediction: one image, or several together."""
    predict_pixel_limit: int = Field(25_000_000, gt=0)
    """Most pixels an image to predict on may have."""
    predict_images_limit: int = Field(16, gt=0)
    """Most images in one request."""
    predict_threads: int = Field(default_factory=_cores, ge=1, le=256)
    """Predictions computed at the same time, each on one core; by default as many as there are cores."""
    predict_queue_limit: int = Field(64, ge=1)
    """Predictions computed or waiting; one more is answered 503."""
    models_in_memory: int = Field(4, ge=1)
    """Models kept loaded; the one used longest ago makes room."""
    models_in_memory_bytes: int = Field(1024 * MIB, gt=0)
    """Bytes of ONNX files kept loaded."""
    preload_models: str = ""
    """Models to load before the process is ready: ids or aliases with commas between, those of another
    project than the default one as `prj_…/alias`."""

    event_streams_limit: int = Field(500, ge=1)
    """Event streams open at the same time; one more is answered 503."""
    event_poll_seconds: float = Field(0.5, gt=0)
    """How often the events of all jobs that are followed are looked for."""


class ListenRefused(Exception):
    """Listening beyond loopback needs keys, or HARMONICDET_ALLOW_UNAUTHENTICATED=1."""


def keys_required(settings: Settings) -> bool:
    """Whether a request without a key is refused."""
    if settings.require_keys is not None:
        return settings.require_keys
    return not (settings.allow_unauthenticated or is_loopback(settings.host))


def check_listen(settings: Settings) -> None:
    """Raise `ListenRefused` when anybody on the network could use the service without a key."""
    if settings.allow_unauthenticated or is_loopback(settings.host) or keys_required(settings):
        return
    raise ListenRefused(
        f"refusing to listen on {settings.host} with HARMONICDET_REQUIRE_KEYS off: everybody who reaches it "
        "could use the service. Leave that variable out, listen on 127.0.0.1, or set "
        "HARMONICDET_ALLOW_UNAUTHENTICATED=1 where something else guards the door."
    )


def server_secret(settings: Settings) -> bytes:
    """What keys are hashed under. Raises `SettingsInvalid` where several hosts need to share it and it is not
    set."""
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    if not settings.embedded:
        raise SettingsInvalid("HARMONICDET_SECRET is not set: API keys cannot be made or checked without it")
    path = settings.data / "secret"
    try:
        return _made(path)
    except FileExistsError:
        return path.read_bytes()


def _made(path: Path) -> bytes:
    """A new secret in this file, whole from the first moment that it can be seen, for its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    value = secrets.token_hex(32).encode()
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)  # unlike a rename, it does not replace another process's
    finally:
        temporary.unlink()
    return value


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`. A name other than localhost may point anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
