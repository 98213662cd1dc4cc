"""In-memory S3: versions, tags and multipart uploads, with S3's checksum rules."""

import base64
import hashlib
import io
import itertools
import urllib.parse
import uuid
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.response import StreamingBody

from tests.fakes.errors import FakeAwsError

UPLOADS, RESULTS = "uploads", "results"
MIN_PART_BYTES = 5 << 20
MAX_COPY = 5 << 30
MAX_PARTS = 10_000
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html."""
_PAGE = 1000
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Version:
    """One version of an object."""

    key: str
    id: str
    body: bytes
    etag: str
    checksum: str | None
    modified_at: datetime


@dataclass
class _Upload:
    """An incomplete multipart upload."""

    bucket: str
    key: str
    checksummed: bool
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)


class FakeS3:
    """Two buckets; the uploads bucket is versioned."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], list[Version]] = {}
        self._tags: dict[tuple[str, str], dict[str, str]] = {}
        self.uploads: dict[str, _Upload] = {}
        self._clock = itertools.count()

    # -- called by tests

    def objects(self, bucket: str, prefix: str = "") -> dict[str, Version]:
        """Return the current version of each object by key."""
        return {
            key: versions[-1]
            for (object_bucket, key), versions in self._objects.items()
            if object_bucket == bucket and key.startswith(prefix) and versions
        }

    def store(self, bucket: str, key: str, body: bytes, version_id: str = "null") -> None:
        """Store an object as the only version of its key."""
        self._objects[bucket, key] = [
            Version(key, version_id, body, _md5(body), _crc32(body), _EPOCH)
        ]

    def tags(self, bucket: str, key: str) -> dict[str, str]:
        return self._tags.get((bucket, key), {})

    # -- called by boto3

    def put_object(self, *, Bucket: str, Key: str, Body: Any = b"", **options: Any) -> Any:  # noqa: N803 - AWS's names
        body = _read(Body)
        checksum = options.get("ChecksumCRC32")
        if checksum not in {None, _crc32(body)}:
            raise FakeAwsError(
                "BadDigest", "The CRC32 you specified did not match what we received"
            )
        self._check_conditions(Bucket, Key, options)
        response = self._put(Bucket, Key, body, _md5(body), _crc32(body))
        return response | {"ChecksumCRC32": _crc32(body)}  # as the SDK does if none is given

    def copy_object(self, *, Bucket: str, Key: str, CopySource: str, **_more: Any) -> Any:  # noqa: N803
        bucket, _, key = urllib.parse.unquote(CopySource).partition("/")
        body = self._find_version(bucket, key, None).body
        return {"CopyObjectResult": {}} | self._put(Bucket, Key, body, _md5(body), _crc32(body))

    def get_object(self, *, Bucket: str, Key: str, **options: Any) -> Any:  # noqa: N803
        version = self._find_version(Bucket, Key, options.get("VersionId"))
        body = version.body
        if byte_range := options.get("Range"):
            first, _, last = byte_range.removeprefix("bytes=").partition("-")
            if int(first) >= len(body):
                raise FakeAwsError("InvalidRange", status=416)
            body = body[int(first) : int(last) + 1 if last else None]
        return _headers(version) | {"ContentLength": len(body), "Body": StreamingBody(io.BytesIO(body), len(body))}  # fmt: skip

    def head_object(self, *, Bucket: str, Key: str, **options: Any) -> Any:  # noqa: N803
        try:
            version = self._find_version(Bucket, Key, options.get("VersionId"))
        except FakeAwsError:
            raise FakeAwsError("404", "Not Found", status=404) from None
        checksum = {"ChecksumCRC32": version.checksum, "ChecksumType": "FULL_OBJECT"}
        return _headers(version) | (checksum if options.get("ChecksumMode") else {})

    def delete_object(self, *, Bucket: str, Key: str, VersionId: str | None = None) -> Any:  # noqa: N803
        versions = self._objects.get((Bucket, Key), [])
        self._objects[Bucket, Key] = [
            version for version in versions if VersionId and version.id != VersionId
        ]
        return {}

    def list_objects_v2(self, *, Bucket: str, Prefix: str = "", StartAfter: str = "", **options: Any) -> Any:  # noqa: N803  # fmt: skip
        if options.get("Delimiter"):
            behind = {key.removeprefix(Prefix) for key in self.objects(Bucket, Prefix)}
            folders = sorted({key.partition("/")[0] for key in behind if "/" in key})
            return {"CommonPrefixes": [{"Prefix": f"{Prefix}{folder}/"} for folder in folders]}
        start_after = options.get("ContinuationToken") or StartAfter
        versions = [
            version
            for key, version in sorted(self.objects(Bucket, Prefix).items())
            if key > start_after
        ]
        page = versions[:_PAGE]
        contents = [{"Key": version.key, "Size": len(version.body), "ETag": version.etag, "LastModified": version.modified_at} for version in page]  # fmt: skip
        rest = {"NextContinuationToken": page[-1].key} if len(versions) > _PAGE else {}
        return {"IsTruncated": len(versions) > _PAGE, "KeyCount": len(page)} | rest | ({"Contents": contents} if page else {})  # fmt: skip

    def list_object_versions(self, *, Bucket: str, **_: Any) -> Any:  # noqa: N803
        entries = [
            {"Key": key, "VersionId": version.id, "Size": len(version.body), "LastModified": version.modified_at, "IsLatest": version is versions[-1]}
            for (object_bucket, key), versions in sorted(self._objects.items())
            if object_bucket == Bucket
            for version in reversed(versions)
        ]  # fmt: skip
        return {"IsTruncated": False, "Versions": entries}

    def put_object_tagging(self, *, Bucket: str, Key: str, Tagging: Any) -> Any:  # noqa: N803
        self._find_version(Bucket, Key, None)
        self._tags[Bucket, Key] = {tag["Key"]: tag["Value"] for tag in Tagging["TagSet"]}
        return {}

    def get_object_tagging(self, *, Bucket: str, Key: str, **_: Any) -> Any:  # noqa: N803
        self._find_version(Bucket, Key, None)
        tags = self.tags(Bucket, Key).items()
        return {"TagSet": [{"Key": name, "Value": value} for name, value in tags]}

    def create_multipart_upload(self, *, Bucket: str, Key: str, **options: Any) -> Any:  # noqa: N803
        name = str(uuid.uuid4())
        self.uploads[name] = _Upload(Bucket, Key, "ChecksumAlgorithm" in options)
        return {"UploadId": name}

    def upload_part(self, *, UploadId: str, PartNumber: int, Body: Any, **options: Any) -> Any:  # noqa: N803
        upload, body = self._upload(UploadId), _read(Body)
        checksum = options.get("ChecksumCRC32")
        if checksum is not None and not upload.checksummed:
            raise FakeAwsError("InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: null, actual checksum Type: crc32")  # fmt: skip
        if checksum not in {None, _crc32(body)}:
            raise FakeAwsError(
                "BadDigest", "The CRC32 you specified did not match what we received"
            )
        upload.parts[PartNumber] = (_md5(body), body)
        return {"ETag": _md5(body)}

    def upload_part_copy(self, *, UploadId: str, PartNumber: int, CopySource: str, **options: Any) -> Any:  # noqa: N803  # fmt: skip
        upload = self._upload(UploadId)
        bucket, _, key = urllib.parse.unquote(CopySource).partition("/")
        body = self._find_version(bucket, key, None).body
        if byte_range := options.get("CopySourceRange"):
            first, last = map(int, byte_range.removeprefix("bytes=").split("-"))
            if last >= len(body) or last + 1 - first > MAX_COPY:
                raise FakeAwsError("InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120")  # fmt: skip
            body = body[first : last + 1]
        upload.parts[PartNumber] = (_md5(body), body)
        checksum = {"ChecksumCRC32": _crc32(body)} if upload.checksummed else {}
        return {"CopyPartResult": {"ETag": _md5(body)} | checksum}

    def complete_multipart_upload(self, *, UploadId: str, MultipartUpload: Any, **options: Any) -> Any:  # noqa: N803  # fmt: skip
        upload = self._upload(UploadId)
        requested_parts = [(part["PartNumber"], part["ETag"]) for part in MultipartUpload["Parts"]]
        stored_parts = [
            (number, upload.parts[number][0])
            for number, _ in requested_parts
            if number in upload.parts
        ]
        if (
            stored_parts != requested_parts
            or requested_parts != sorted(requested_parts)
            or not 1 <= len(requested_parts) <= MAX_PARTS
        ):
            raise FakeAwsError("InvalidPart")
        bodies = [upload.parts[number][1] for number, _ in requested_parts]
        if any(len(body) < MIN_PART_BYTES for body in bodies[:-1]):
            raise FakeAwsError("EntityTooSmall")
        body = b"".join(bodies)
        checksum = options.get("ChecksumCRC32")
        if upload.checksummed and checksum is None and not all("ChecksumCRC32" in part for part in MultipartUpload["Parts"]):  # fmt: skip
            raise FakeAwsError("InvalidRequest", "The complete request must include the checksum for each part")  # fmt: skip
        if checksum not in {None, _crc32(body)}:
            raise FakeAwsError(
                "BadDigest", "The CRC32 you specified did not match what we received"
            )
        etags = b"".join(bytes.fromhex(etag.strip('"')) for _, etag in requested_parts)
        etag = f'"{hashlib.md5(etags, usedforsecurity=False).hexdigest()}-{len(requested_parts)}"'
        response = self._put(upload.bucket, upload.key, body, etag, _crc32(body))
        del self.uploads[UploadId]
        return response

    def abort_multipart_upload(self, *, UploadId: str, **_: Any) -> Any:  # noqa: N803
        self._upload(UploadId)
        del self.uploads[UploadId]
        return {}

    # -- internal

    def _put(self, bucket: str, key: str, body: bytes, etag: str, checksum: str) -> Any:
        versioned = bucket == UPLOADS
        modified_at = _EPOCH.fromtimestamp(_EPOCH.timestamp() + next(self._clock), UTC)
        version = Version(key, str(uuid.uuid4()) if versioned else "null", body, etag, checksum, modified_at)  # fmt: skip
        versions = self._objects.get((bucket, key), [])
        self._objects[bucket, key] = [*versions, version] if versioned else [version]
        self._tags.pop((bucket, key), None)
        return {"ETag": etag} | ({"VersionId": version.id} if versioned else {})

    def _check_conditions(self, bucket: str, key: str, options: dict[str, Any]) -> None:
        """Check the ETag that a conditional write requires, or that there is no object."""
        current = self.objects(bucket).get(key)
        if "IfMatch" in options:
            current = self._find_version(bucket, key, None)
        if options.get("IfMatch") not in {None, current and current.etag} or (
            "IfNoneMatch" in options and current is not None
        ):
            raise FakeAwsError("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", status=412)  # fmt: skip

    def _find_version(self, bucket: str, key: str, version_id: str | None) -> Version:
        versions = self._objects.get((bucket, key), [])
        if version_id is None:
            if not versions:
                raise FakeAwsError("NoSuchKey", "The specified key does not exist.", status=404)
            return versions[-1]
        match = next((version for version in versions if version.id == version_id), None)
        if match is None:
            raise FakeAwsError(
                "NoSuchVersion", "The specified version does not exist.", status=404
            )
        return match

    def _upload(self, name: str) -> _Upload:
        if name not in self.uploads:
            raise FakeAwsError("NoSuchUpload", "The upload may have been aborted or completed.", status=404)  # fmt: skip
        return self.uploads[name]


def _headers(version: Version) -> dict[str, Any]:
    version_id = {} if version.id == "null" else {"VersionId": version.id}
    return {
        "ETag": version.etag, "ContentLength": len(version.body), "LastModified": version.modified_at, **version_id
    }  # fmt: skip


def _read(body: Any) -> bytes:
    return bytes(body if isinstance(body, bytes | bytearray | memoryview) else body.read())


def _md5(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4)).decode()
