"""Blobs in a bucket of an object store that speaks S3: Amazon's, MinIO, Ceph, Garage, R2.

Every object carries the SHA-256 of its bytes, and all that is sent has a checksum for the server to verify.
What is known by its content is written only where it is not there yet (`If-None-Match: *`). How a blob can be
deleted while another process puts it: docs/decisions/0029-a-delete-in-s3-is-announced.md.
"""

import base64
import hashlib
import io
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.httpsession import URLLib3Session
from botocore.session import get_session

from store.blobs import (
    CHUNK,
    Blob,
    Entry,
    FileStaging,
    checked,
    content_key,
    hash_file,
    room,
    sweep_staging,
    temporary_in,
)
from store.errors import BlobCorrupt, BlobNotFound, BlobsUnavailable, StorageFull
from store.settings import StoreSettings

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef

logger = logging.getLogger(__name__)

ONE_REQUEST = 64 << 20  # larger files are put in parts
PART = 32 << 20
_MOST_PARTS = 10_000
_AT_ONCE = 4
_COPIED_AT_ONCE = 5 << 30  # S3's limit of one request
_FIRST_READ, _LARGEST_READ = 256 << 10, 8 << 20
_ATTEMPTS = 3  # at one request, and at reading one answer
_ROUNDS = 10
_PAGE = 1000  # as many as S3 tells at once
_ABANDONED_SECONDS = 24 * 3600.0
# A delete is signed for so long; the mark that announces it counts for longer, clocks may differ by the rest.
_DELETE_SECONDS = 20
_MARK_SECONDS = 60.0
_SKEW_SECONDS = 15.0

_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
# Somebody else was quicker, or an answer was lost: look again at what is there.
_RACED = frozenset({"409", "412", "ConditionalRequestConflict", "NoSuchUpload", "PreconditionFailed"})
_FULL = frozenset({"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "InsufficientCapacity"})
_UNKNOWN = frozenset({"NotImplemented", "501"})


class S3Blobs:
    """Blobs below a prefix of a bucket; what arrives is staged on this host first."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._bucket, self._prefix = settings.bucket
        self._staging = settings.staging
        self._staging.mkdir(parents=True, exist_ok=True)
        self._has_conditions = True
        sweep_staging(self._staging)

    # Puts

    def put_file(self, path: Path, *, key: str | None = None) -> Blob:
        sha256, size = hash_file(path)
        blob = Blob(checked(key or content_key(sha256)), sha256, size)
        self._keep(path, blob)
        return blob

    def put_bytes(self, data: bytes, *, key: str | None = None) -> Blob:
        sha256 = hashlib.sha256(data).hexdigest()
        blob = Blob(checked(key or content_key(sha256)), sha256, len(data))
        self._keep(data, blob)
        return blob

    @contextmanager
    def staging(self) -> Iterator[FileStaging]:
        with temporary_in(self._staging) as temporary, FileStaging(temporary, self._keep) as staging:
            yield staging

    def _keep(self, source: Path | bytes, blob: Blob) -> None:
        """The bytes are there, put now, and nobody who thought them old deletes them any more."""
        checked(blob.key)
        for _ in range(_ROUNDS):
            there = self._renew(blob) or self._write(source, blob)
            if there and not self._was_condemned(blob.key):
                return
        raise BlobsUnavailable(f"{blob.key} could not be put: others change it all the time.")

    def _renew(self, blob: Blob) -> bool:
        """Whether the bytes were there already. They are copied onto themselves: that makes them young."""
        head = self._head(blob.key)
        if head is None or not _is(head, blob):
            return False
        source = {"Bucket": self._bucket, "Key": self._name(blob.key)}
        more = {"CopySourceIfMatch": head["ETag"], "MetadataDirective": "REPLACE", "Metadata": _told_of(blob)}
        try:
            with told(blob.key, raced=True):
                self._client.copy(
                    cast(Any, source), self._bucket, source["Key"], ExtraArgs=more, Config=_copying()
                )
        except (_Raced, BlobNotFound):
            return False
        return True

    def _write(self, source: Path | bytes, blob: Blob) -> bool:
        """Put the bytes; False when somebody else has put or is putting something there."""
        known_by_content = blob.key == content_key(blob.sha256)
        condition: dict[str, Any] = {}
        if known_by_content and self._has_conditions and self._head(blob.key) is None:
            condition = {"IfNoneMatch": "*"}
        try:
            with told(blob.key, raced=True):
                try:
                    self._send(source, blob, condition)
                except ClientError as error:
                    if not condition or _code(error) not in _UNKNOWN:
                        raise
                    # Then the same bytes may be written twice.
                    logger.info("this object store knows no conditional writes")
                    self._has_conditions = False
                    self._send(source, blob, {})
        except _Raced:
            return False
        return True

    def _send(self, source: Path | bytes, blob: Blob, condition: dict[str, Any]) -> None:
        if isinstance(source, Path) and blob.bytes > ONE_REQUEST:
            self._send_in_parts(source, blob, condition)
            return
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as body:
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._name(blob.key),
                Body=body,
                ChecksumSHA256=base64.b64encode(bytes.fromhex(blob.sha256)).decode(),
                Metadata=_told_of(blob),
                **condition,
            )

    def _send_in_parts(self, path: Path, blob: Blob, condition: dict[str, Any]) -> None:
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._name(blob.key)}
        size = max(PART, -(-blob.bytes // _MOST_PARTS))
        where["UploadId"] = self._client.create_multipart_upload(
            **where, ChecksumAlgorithm="SHA256", Metadata=_told_of(blob)
        )["UploadId"]

        def send(number: int) -> "CompletedPartTypeDef":
            data = os.pread(file.fileno(), size, number * size)
            checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
            answer = self._client.upload_part(
                **where, PartNumber=number + 1, Body=data, ChecksumSHA256=checksum
            )
            return {"PartNumber": number + 1, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

        try:
            with path.open("rb") as file, ThreadPoolExecutor(_AT_ONCE, "s3-part") as pool:
                try:
                    parts = list(pool.map(send, range(-(-blob.bytes // size))))
                except BaseException:
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise
            self._client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts}, **condition)
        except BaseException:
            # What cannot be said now, because the store is away, `sweep` says later.
            with suppress(ClientError, BotoCoreError):
                self._client.abort_multipart_upload(**where)
            raise

    # Looks

    def open(self, key: str) -> BinaryIO:
        reader = _Reader(self._client, self._bucket, self._name(key), key)
        return cast(BinaryIO, io.BufferedReader(reader, 1 << 16))

    def local_path(self, key: str) -> Path | None:
        checked(key)
        return None

    def url(self, key: str, *, seconds: int, name: str, media_type: str) -> str | None:
        return self._public_client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self._bucket,
                "Key": self._name(key),
                "ResponseContentDisposition": f'attachment; filename="{name}"',
                "ResponseContentType": media_type,
                "ResponseCacheControl": "private, no-cache",
            },
            ExpiresIn=seconds,
        )

    def fetch(self, key: str, destination: Path, sha256: str) -> None:
        destination.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with room(), temporary_in(destination.parent) as temporary:
            with self.open(key) as source, temporary.open("wb") as target:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
            if digest.hexdigest() != sha256:
                raise BlobCorrupt(f"The bytes under {key} are not those with SHA-256 {sha256}.")
            temporary.replace(destination)

    def exists(self, key: str) -> bool:
        return self._head(checked(key)) is not None

    def size(self, key: str) -> int:
        head = self._head(checked(key))
        if head is None:
            raise BlobNotFound(f"There are no bytes under {key}.")
        return int(head["ContentLength"])

    def iter(self, prefix: str = "") -> Iterator[str]:
        for entry in self.entries(prefix):
            yield entry.key

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix, PaginationConfig={"PageSize": _PAGE}
        )
        with told(prefix):
            for page in pages:
                now = _now(page)
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self._prefix)
                    try:
                        checked(key)
                    except ValueError:  # not ours, or a mark
                        continue
                    yield Entry(key, found["Size"], max(0.0, now - found["LastModified"].timestamp()))

    # Deletes

    def delete(self, key: str) -> None:
        with told(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._name(key))

    def discard(self, key: str, *, older_than_seconds: float) -> bool:
        # Signed before anybody sees the mark: however long this process sleeps after any of these lines, the
        # store refuses the delete once the mark has lost its meaning.
        delete = self._client.generate_presigned_url(
            "delete_object",
            Params={"Bucket": self._bucket, "Key": self._name(checked(key))},
            ExpiresIn=_DELETE_SECONDS,
        )
        with told(key):
            if not self._condemn(key):
                return False
            head = self._head(key)
            old = head is not None and _age(head) > older_than_seconds
            if old:
                self._delete_once(delete)
            # Not after an error: then nobody knows whether the delete is still on its way.
            self._client.delete_object(Bucket=self._bucket, Key=self._mark(key))
        return old

    def _condemn(self, key: str) -> bool:
        """Announce that the blob is about to be deleted; False when another does so, or clocks differ."""
        mark = self._head_of(self._mark(key))
        if mark is not None and _age(mark) <= _MARK_SECONDS:
            return False
        condition: dict[str, Any] = {}
        if self._has_conditions:
            condition = {"IfMatch": mark["ETag"]} if mark is not None else {"IfNoneMatch": "*"}
        try:
            with told(key, raced=True):
                answer = self._client.put_object(
                    Bucket=self._bucket, Key=self._mark(key), Body=os.urandom(16), **condition
                )
        except (_Raced, BlobNotFound):
            return False
        if abs(_now(answer) - time.time()) > _SKEW_SECONDS:
            logger.warning("nothing is deleted: the clocks of this host and of the object store differ")
            return False
        return True

    def _was_condemned(self, key: str) -> bool:
        """Whether somebody may have deleted what was there a moment ago. Returns when that is over."""
        was = False
        while (mark := self._head_of(self._mark(key))) is not None and _age(mark) <= _MARK_SECONDS:
            was = True
            time.sleep(0.2)
        return was

    def _delete_once(self, url: str) -> None:
        """Without the second attempts of the client, which could come after another process's put."""
        session = URLLib3Session(verify=get_session().get_config_variable("ca_bundle") or True, timeout=10)
        try:
            answer = session.send(AWSRequest(method="DELETE", url=url).prepare())
        finally:
            session.close()
        if answer.status_code not in (200, 204, 404):
            raise BlobsUnavailable(f"The object store has answered {answer.status_code} to a delete.")

    def sweep(self) -> None:
        sweep_staging(self._staging)
        with told(""):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for page in pages:
                for upload in page.get("Uploads", ()):
                    if _now(page) - upload["Initiated"].timestamp() > _ABANDONED_SECONDS:
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
            marks = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._mark("")
            )
            for found in marks:
                for mark in found.get("Contents", ()):
                    if _now(found) - mark["LastModified"].timestamp() > _ABANDONED_SECONDS:
                        self._client.delete_object(Bucket=self._bucket, Key=mark["Key"])

    def check(self) -> None:
        try:
            with told(""):
                self._client.head_bucket(Bucket=self._bucket)
        except BlobNotFound as error:
            raise BlobsUnavailable("There is no such bucket.") from error

    # Names and requests

    def _name(self, key: str) -> str:
        return self._prefix + checked(key)

    def _mark(self, key: str) -> str:
        return f"{self._prefix}condemned/{key}"

    def _head(self, key: str) -> dict[str, Any] | None:
        return self._head_of(self._name(key))

    def _head_of(self, name: str) -> dict[str, Any] | None:
        """What is known of an object; None where there is none."""
        try:
            with told(name):
                return dict(self._client.head_object(Bucket=self._bucket, Key=name))
        except BlobNotFound:
            return None

    @cached_property
    def _client(self) -> "S3Client":
        return self._connected(self._settings.s3_endpoint_url)

    @cached_property
    def _public_client(self) -> "S3Client":
        public = self._settings.s3_public_endpoint_url
        return self._client if public is None else self._connected(public)

    def _connected(self, endpoint: str | None) -> "S3Client":
        """A client; nothing is sent yet."""
        key, secret = self._settings.s3_access_key_id, self._settings.s3_secret_access_key
        # Checksums are ours: those the client makes by itself go as trailers, which not every store takes.
        return boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            region_name=self._settings.s3_region,
            aws_access_key_id=None if key is None else key.get_secret_value(),
            aws_secret_access_key=None if secret is None else secret.get_secret_value(),
            config=Config(
                signature_version="s3v4",
                connect_timeout=5,
                read_timeout=30,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                max_pool_connections=32,
                tcp_keepalive=True,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


class _Reader(io.RawIOBase):
    """An object read from anywhere in it, by ranges that grow as long as they follow each other."""

    def __init__(self, client: "S3Client", bucket: str, name: str, key: str) -> None:
        self._client = client
        self._where: dict[str, Any] = {"Bucket": bucket, "Key": name}
        self._key = key
        self._position = 0
        self._start = 0
        self._chunk = b""
        self._next = _FIRST_READ
        self._size = 0
        self._load(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("before the start of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size:
            return 0
        if not self._start <= self._position < self._start + len(self._chunk):
            follows = self._position == self._start + len(self._chunk)
            self._next = min(2 * self._next, _LARGEST_READ) if follows else _FIRST_READ
            self._load(self._position)
        view = memoryview(buffer).cast("B")
        offset = self._position - self._start
        found = self._chunk[offset : offset + len(view)]
        view[: len(found)] = found
        self._position += len(found)
        return len(found)

    def _load(self, start: int) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                with told(self._key):
                    self._chunk = self._read(start)
                    self._start = start
                    return
            except BlobsUnavailable as error:
                # The client has tried the request again by itself, but not an answer that broke off.
                if attempt + 1 == _ATTEMPTS or isinstance(error.__cause__, ClientError):
                    raise
                time.sleep(0.1 * 2**attempt)

    def _read(self, start: int) -> bytes:
        try:
            answer = self._client.get_object(**self._where, Range=f"bytes={start}-{start + self._next - 1}")
        except ClientError as error:
            if _code(error) in ("412", "PreconditionFailed"):
                raise BlobCorrupt(
                    f"The bytes under {self._key} were replaced while they were read."
                ) from error
            if _code(error) not in ("416", "InvalidRange"):
                raise
            return b""  # it is empty
        self._size = int(answer.get("ContentRange", "").rpartition("/")[2] or answer["ContentLength"])
        self._where["IfMatch"] = answer["ETag"]
        return answer["Body"].read()


class _Raced(Exception):
    """Something else is there, or was, than was thought."""


@contextmanager
def told(key: str, *, raced: bool = False) -> Iterator[None]:
    """What goes wrong with the object store, as errors of the store.

    Raises `BlobNotFound`, `StorageFull`, `BlobsUnavailable`; with `raced`, `_Raced`.
    """
    try:
        yield
    except ClientError as error:
        code = _code(error)
        if raced and code in _RACED:
            raise _Raced from error
        if code in _ABSENT:
            raise BlobNotFound(f"There are no bytes under {key}.") from error
        if code in _FULL or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 507:
            raise StorageFull("There is no room left in the object store.") from error
        # Wrong credentials or a bucket that is not there, too: the jobs wait until somebody has mended it.
        logger.warning("the object store refuses: %s", error)
        raise BlobsUnavailable from error
    except (BotoCoreError, HTTPClientError) as error:
        logger.warning("the object store cannot be reached: %s", type(error).__name__)
        raise BlobsUnavailable from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _told_of(blob: Blob) -> dict[str, str]:
    return {"sha256": blob.sha256}


def _is(head: dict[str, Any], blob: Blob) -> bool:
    return bool(head["ContentLength"] == blob.bytes and head["Metadata"].get("sha256") == blob.sha256)


def _copying() -> TransferConfig:
    return TransferConfig(multipart_threshold=_COPIED_AT_ONCE, multipart_chunksize=1 << 30, use_threads=False)


def _now(answer: Any) -> float:
    """The store's clock, by which it dates its objects too."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(date).timestamp() if date else time.time()


def _age(head: dict[str, Any]) -> float:
    modified: datetime = head["LastModified"]
    return _now(head) - modified.timestamp()
