"""A real S3 server for tests: moto's, as a process of its own on loopback."""

import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import httpx
import pytest

from tests.servers import READY_SECONDS, free_port

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_START_SECONDS = 120  # it is a second's work, but the machine may be busy
BUCKET = "harmonicdet-tests"
ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key"


class ObjectStore:
    """Keeps its objects in memory. It listens on loopback, or on `address`."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._address = address
        self.port = free_port()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{self._address}:{self.port}"

    def start(self) -> None:
        """Start, wait until it answers, and make the bucket."""
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", self._address, "-p", str(self.port)],
            stdout=self._log,
            stderr=self._log,
        )
        give_up = time.monotonic() + _START_SECONDS
        while True:
            try:
                httpx.get(f"{self.url}/moto-api/", timeout=5)
                break
            except httpx.TransportError:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    self._log.seek(0)
                    raise RuntimeError(self._log.read().decode()) from None
                time.sleep(0.05)
        self.client().create_bucket(Bucket=BUCKET)

    def client(self) -> "S3Client":
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """The settings that lead to a new prefix of it, through `endpoint` if that is given."""
        return {
            "HARMONICDET_BLOBS": f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}",
            "HARMONICDET_S3_ENDPOINT_URL": endpoint or self.url,
            "HARMONICDET_S3_ACCESS_KEY_ID": ACCESS_KEY,
            "HARMONICDET_S3_SECRET_ACCESS_KEY": SECRET_KEY,
        }

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(READY_SECONDS)
            self._process = None
        self._log.close()


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """An object store for the whole session."""
    store = ObjectStore()
    try:
        store.start()
        yield store
    finally:
        store.close()
