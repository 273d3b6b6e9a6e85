"""What the HTTP process reads from the environment, all of it under `HARMONICDET_`."""

import ipaddress

from pydantic import Field

from store.settings import StoreSettings

MIB = 1024 * 1024


class Settings(StoreSettings):
    """The store's settings and those of the HTTP process."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    allow_unauthenticated: bool = False
    """Whether to listen beyond loopback although nobody has to show a key."""

    upload_limit_bytes: int = Field(20 * 1024 * MIB, gt=0)
    """Largest dataset archive."""
    keep_free_bytes: int = Field(512 * MIB, ge=0)
    """Room on the data volume that uploads leave alone, for the database and the checkpoints."""
    body_limit_bytes: int = Field(1 * MIB, gt=0)
    """Largest body of every other request, such as the config of a job."""

    predict_body_limit_bytes: int = Field(25 * MIB, gt=0)
    """Largest body of a prediction: one image, or several together."""
    predict_pixel_limit: int = Field(25_000_000, gt=0)
    """Most pixels an image to predict on may have."""
    predict_images_limit: int = Field(16, gt=0)
    """Most images in one request."""
    predict_threads: int = Field(2, ge=1, le=256)
    """Predictions computed at the same time."""
    predict_queue_limit: int = Field(64, ge=1)
    """Predictions computed or waiting; one more is answered 503."""
    models_in_memory: int = Field(4, ge=1)
    """Models kept loaded; the one used longest ago makes room."""
    models_in_memory_bytes: int = Field(1024 * MIB, gt=0)
    """Bytes of ONNX files kept loaded."""

    event_streams_limit: int = Field(100, ge=1)
    """Event streams open at the same time; one more is answered 503."""
    event_poll_seconds: float = Field(0.5, gt=0)
    """How often a stream looks for new events of its job."""


class ListenRefused(Exception):
    """Listening beyond loopback needs keys, or HARMONICDET_ALLOW_UNAUTHENTICATED=1."""


def check_listen(host: str, *, allow_unauthenticated: bool) -> None:
    """Raise `ListenRefused` when anybody on the network could use the service without a key."""
    if allow_unauthenticated or is_loopback(host):
        return
    raise ListenRefused(
        f"refusing to listen on {host}: there are no keys yet, so everybody who reaches it could use the "
        "service. Listen on 127.0.0.1, or set HARMONICDET_ALLOW_UNAUTHENTICATED=1 where something else "
        "guards the door."
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`. A name other than localhost may point anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
