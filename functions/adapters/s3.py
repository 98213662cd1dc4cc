"""The adapter for S3: streams objects, and joins them on the server. No large object is held in memory."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from io import BytesIO
from itertools import batched
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from functions.adapters import multipart, tracing
from functions.adapters.multipart import StoredPart, UploadTarget
from functions.adapters.refusals import ABSENT, refusal_code, why_refused
from functions.errors import DownloadError, ObjectNotFoundError, ObjectUnreadableError
from functions.model import multipart_plan
from functions.model.items.stored_objects import ObjectVersion, StoredObject
from functions.model.multipart_plan import ByteRange, UploadPart
from functions.model.streams import lines

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, HeadObjectOutputTypeDef

BLOCK = 1 << 20
JSON_LINES_TYPE = "application/x-ndjson"
TAGGING_THREADS = 10
"""Objects tagged at once, no more than the client's connections. A long job has tens of thousands."""
MAX_QUEUED_TAGS = 200
"""Objects queued for tagging, which bounds the memory used."""
RANGE_THREADS, COPY_THREADS = 8, 16
"""While joining: ranges of one part downloaded at once, and parts that S3 copies at once."""
MAX_INTERRUPTIONS = 5
"""Consecutive interruptions without a new byte after which a download fails."""
_CONDITION_FAILED = frozenset(
    {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "404", "412"}
)
"""Errors of a conditional write: the object has changed, is being changed, or is gone."""
_UNREADABLE_STATUSES = frozenset({"400", "403", "405"})
"""HeadObject statuses for a customer's encryption key, a missing permission, and a delete marker.

Its responses have no body, so botocore uses the status as the code.
"""


@dataclass(frozen=True)
class ListedVersion:
    """One version of an object, as listed. `version` is ``null`` in a bucket without versioning."""

    key: str
    version: str
    size_bytes: int
    made_at: datetime
    latest: bool


class ObjectStore:
    """The uploads bucket and the results bucket."""

    def __init__(
        self, results_bucket: str, *, client: "S3Client | None" = None, threads: int = 3
    ) -> None:
        config = Config(
            retries={"mode": "standard", "total_max_attempts": 5},
            max_pool_connections=RANGE_THREADS + COPY_THREADS + 1,
            s3={"payload_signing_enabled": False},  # boto3's default over TLS; each part has a CRC
        )
        self._s3: S3Client = client or boto3.client("s3", config=config)
        self.bucket = results_bucket
        self._threads = threads

    def results_object(self, key: str) -> ObjectVersion:
        """Return the name of an object in the results bucket."""
        return ObjectVersion(self.bucket, key)

    def read(
        self, source: ObjectVersion, start: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        """Stream an object, or its bytes ``start`` to ``stop``, in blocks of 1 MiB.

        Raises:
            ObjectUnreadableError: S3 refuses the object until somebody changes something.
            ObjectNotFoundError: the object does not exist.
            DownloadError: the download was interrupted repeatedly.
        """
        offset, tries_left = start, MAX_INTERRUPTIONS
        while stop is None or offset < stop:
            try:
                for block in self._stream(source, offset, stop):
                    offset, tries_left = offset + len(block), MAX_INTERRUPTIONS
                    yield block
            except (HTTPClientError, IncompleteReadError) as error:
                tries_left -= 1
                if tries_left == 0:
                    message = (
                        f"{source.uri}: {MAX_INTERRUPTIONS} downloads failed at byte {offset:,}"
                    )
                    raise DownloadError(message) from error
            else:
                return

    def _stream(self, source: ObjectVersion, start: int, stop: int | None) -> Iterator[bytes]:
        body = self._open(source, start, stop)
        return iter(()) if body is None else body.iter_chunks(BLOCK)

    def _open(self, source: ObjectVersion, start: int, stop: int | None) -> "StreamingBody | None":
        last = "" if stop is None else str(stop - 1)
        answer = self._get(source, {"Range": f"bytes={start}-{last}"} if start or last else {})
        return None if answer is None else answer["Body"]

    def _get(
        self, source: ObjectVersion, options: dict[str, str]
    ) -> "GetObjectOutputTypeDef | None":
        """Request an object. Return None for a range past its end."""
        version = {"VersionId": source.version} if source.version else {}
        try:
            return self._s3.get_object(Bucket=source.bucket, Key=source.key, **options, **version)  # type: ignore[arg-type]
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "InvalidRange":
                return None
            why = why_refused(error)
            if why is None:
                raise
            error_type = ObjectNotFoundError if _is_absent(error) else ObjectUnreadableError
            raise error_type(source.uri, why, refusal_code(error)) from error

    def read_small(self, bucket: str, key: str, limit: int) -> tuple[ObjectVersion, bytes] | None:
        """Read the latest version of a small object, at most its first `limit` bytes.

        Returns:
            The version and its bytes; None if the object does not exist.

        Raises:
            ObjectUnreadableError: S3 refuses the object until somebody changes something.
        """
        try:
            answer = self._get(ObjectVersion(bucket, key), {})
        except ObjectNotFoundError:
            return None
        if answer is None:
            return None
        with answer["Body"] as body:
            return ObjectVersion(bucket, key, answer.get("VersionId")), body.read(limit)

    def read_with_etag(self, key: str, limit: int) -> tuple[str, bytes] | None:
        """Read the ETag of an object in the results bucket, and at most its first `limit` bytes.

        Returns:
            None if S3 refuses the object, or it does not exist; without s3:ListBucket, both are a 403.
        """
        try:
            answer = self._get(self.results_object(key), {})
        except ObjectUnreadableError:
            return None
        if answer is None:
            return None
        with answer["Body"] as body:
            return answer["ETag"], body.read(limit)

    def lines(self, source: ObjectVersion) -> Iterator[bytes]:
        """Stream an object's lines, without line feeds."""
        return lines(self.read(source))

    def exists(self, key: str) -> bool:
        """Return whether the results bucket has this object."""
        try:
            self._s3.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in ABSENT:
                return False
            raise
        return True

    def describe(self, source: ObjectVersion) -> "HeadObjectOutputTypeDef | None":
        """Read an object's version, size, ETag and checksum. Return None if it is missing or unreadable."""
        version: dict[str, Any] = {"VersionId": source.version} if source.version else {}
        try:
            return self._s3.head_object(
                Bucket=source.bucket, Key=source.key, ChecksumMode="ENABLED", **version
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in ABSENT | _UNREADABLE_STATUSES:
                return None
            raise

    def versions(
        self, bucket: str, key: str | None, version: str | None
    ) -> tuple[list[ListedVersion], tuple[str | None, str | None]]:
        """List a page of a bucket's versions, after this key and version.

        Returns:
            The versions, and the key and version to continue after; both None at the end.
        """
        after: dict[str, Any] = {
            name: text for name, text in (("KeyMarker", key), ("VersionIdMarker", version)) if text
        }
        page = self._s3.list_object_versions(Bucket=bucket, **after)
        versions = [
            ListedVersion(
                listed["Key"],
                listed["VersionId"],
                listed["Size"],
                listed["LastModified"],
                listed["IsLatest"],
            )
            for listed in page.get("Versions", [])
        ]
        if not page["IsTruncated"]:
            return versions, (None, None)
        return versions, (page.get("NextKeyMarker"), page.get("NextVersionIdMarker"))

    def list_keys(self, prefix: str, after: str | None = None) -> Iterator[str]:
        """Yield the results bucket's keys under a prefix, in order, only those after `after`."""
        start_after: Any = {"StartAfter": after} if after else {}
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, **start_after
        )
        for page in pages:
            yield from (listed["Key"] for listed in page.get("Contents", []))

    def write(
        self, key: str, blocks: Iterable[bytes], content_type: str = "binary/octet-stream"
    ) -> StoredObject:
        """Stream bytes into an object. It becomes visible once it is complete."""
        target = UploadTarget(self._s3, self.bucket, key, self._threads, content_type)
        return multipart.write(target, blocks)

    def put_if_unchanged(self, key: str, body: bytes, etag: str | None) -> bool:
        """Replace a small object that still has this ETag, or create one that does not exist yet.

        Returns:
            False, without any change, if the object has another ETag, or exists although `etag` is None.
        """
        condition: Any = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            self._s3.put_object(
                Bucket=self.bucket, Key=key, Body=body, ContentType="application/json", **condition
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in _CONDITION_FAILED:
                return False
            raise
        return True

    def put(self, key: str, body: bytes, content_type: str = "application/json") -> StoredObject:
        """Write a small object."""
        crc32 = zlib.crc32(body)
        self._s3.put_object(
            Bucket=self.bucket, Key=key, Body=body, ContentType=content_type,
            ChecksumCRC32=multipart.base64_crc32(crc32),
        )  # fmt: skip
        return StoredObject(key=key, size=len(body), crc32=crc32)

    def tag_done(self, keys: Iterable[str], *, done: bool = True) -> None:
        """Tag work files as done, so that the bucket's lifecycle deletes them; or remove the tag again."""
        tags = [{"Key": "done", "Value": "true"}] if done else []
        with tracing.thread_pool(TAGGING_THREADS) as pool:
            for queued_keys in batched(keys, MAX_QUEUED_TAGS, strict=False):
                for _ in pool.map(partial(self._tag, tags), queued_keys):
                    pass

    def _tag(self, tags: list[dict[str, str]], key: str) -> None:
        try:
            self._s3.put_object_tagging(Bucket=self.bucket, Key=key, Tagging={"TagSet": tags})  # type: ignore[typeddict-item]
        except ClientError as error:
            if error.response["Error"]["Code"] not in ABSENT:
                raise  # a deleted object needs no tag

    def join(
        self,
        key: str,
        pieces: Sequence[StoredObject],
        scratch: str,
        content_type: str = JSON_LINES_TYPE,
    ) -> StoredObject:
        """Concatenate pieces into one object. S3 copies the large ones on the server.

        Args:
            key: the object's key.
            pieces: the pieces, in order; too many for one join are joined in groups first.
            scratch: the key prefix of the groups.
            content_type: the media type of the object.
        """
        grouped = multipart_plan.groups(pieces)
        if len(grouped) > 1:
            pieces = [
                self.join(f"{scratch}.{number}", group, f"{scratch}.{number}")
                for number, group in enumerate(grouped)
            ]
        crc32 = multipart_plan.joined_crc32(pieces)
        parts = multipart_plan.join_plan(pieces)
        if len(parts) > 1 or any(part.can_be_copied for part in parts):
            self._join(key, parts, crc32, content_type)
        else:
            self._s3.put_object(
                Bucket=self.bucket, Key=key, Body=b"".join(self._read_ranges(part) for part in parts),
                ContentType=content_type, ChecksumCRC32=multipart.base64_crc32(crc32),
            )  # fmt: skip
        return StoredObject(key=key, size=sum(piece.size for piece in pieces), crc32=crc32)

    def _join(self, key: str, parts: Sequence[UploadPart], crc32: int, content_type: str) -> None:
        """Join in parts. S3 verifies the CRC-32 that the pieces had when they were written."""
        target = UploadTarget(self._s3, self.bucket, key, self._threads)
        with multipart.multipart_upload(target, ContentType=content_type) as upload_id:
            multipart.complete(target, upload_id, self._send(target, upload_id, parts), crc32)

    def _send(
        self, target: UploadTarget, upload_id: str, parts: Sequence[UploadPart]
    ) -> list[StoredPart]:
        """Send and copy parts concurrently. If one fails, cancel those that have not begun."""
        with (
            tracing.thread_pool(1) as reading,
            tracing.thread_pool(self._concurrency(COPY_THREADS)) as copying,
        ):
            futures = [
                copying.submit(_copy, target, upload_id, number, part.ranges[0])
                if part.can_be_copied
                else reading.submit(self._send_ranges, target, upload_id, number, part)
                for number, part in enumerate(parts, 1)
            ]
            try:
                return [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def _send_ranges(
        self, target: UploadTarget, upload_id: str, number: int, part: UploadPart
    ) -> StoredPart:
        body = self._read_ranges(part)
        return multipart.send(target, upload_id, number, body, zlib.crc32(body))

    def _read_ranges(self, part: UploadPart) -> bytes:
        """Read a part's ranges into memory."""
        read = BytesIO()
        with tracing.thread_pool(self._concurrency(RANGE_THREADS)) as pool:
            for range_bytes in pool.map(self._read_range, part.ranges):
                read.write(range_bytes)
        return read.getvalue()

    def _concurrency(self, limit: int) -> int:
        """Return how many threads to use: 1 if this store has one thread, else `limit`."""
        return limit if self._threads > 1 else 1

    def _read_range(self, byte_range: ByteRange) -> bytes:
        return b"".join(
            self.read(
                self.results_object(byte_range.key),
                byte_range.start,
                byte_range.start + byte_range.size,
            )
        )


def _copy(target: UploadTarget, upload_id: str, number: int, byte_range: ByteRange) -> StoredPart:
    """Let S3 copy a part. S3 computes its checksum.

    Raises:
        ObjectNotFoundError: the object to copy does not exist.
    """
    source = ObjectVersion(target.bucket, byte_range.key)
    try:
        copied = target.s3.upload_part_copy(
            Bucket=target.bucket, Key=target.key, UploadId=upload_id, PartNumber=number,
            CopySource={"Bucket": source.bucket, "Key": source.key},
            CopySourceRange=f"bytes={byte_range.start}-{byte_range.start + byte_range.size - 1}",
        )["CopyPartResult"]  # fmt: skip
    except ClientError as error:
        why = why_refused(error)
        if why is None or not _is_absent(error):
            raise  # any other refusal may concern the object that is written
        raise ObjectNotFoundError(source.uri, why, refusal_code(error)) from error
    return StoredPart(number, copied["ETag"], copied.get("ChecksumCRC32"))


def _is_absent(error: ClientError) -> bool:
    """Return whether an object does not exist, in a bucket that does."""
    code = error.response["Error"]["Code"]
    return code in ABSENT and code != "NoSuchBucket"
