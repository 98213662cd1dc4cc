"""S3 in memory: versions, tags and uploads in parts, each held to its checksums as S3 does it."""

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

from tests.fakes.errors import AwsError

UPLOADS, RESULTS = "uploads", "results"
MIN_PART = 5 << 20
MAX_COPY = 5 << 30
MAX_PARTS = 10_000
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html."""
_PAGE = 1000
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Version:
    """A version of an object."""

    key: str
    id: str
    body: bytes
    etag: str
    checksum: str | None
    modified: datetime


@dataclass
class _Upload:
    """An upload in parts that is not complete."""

    bucket: str
    key: str
    checksummed: bool
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)


class S3:
    """Two buckets; the one for uploads keeps versions."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], list[Version]] = {}
        self._tags: dict[tuple[str, str], dict[str, str]] = {}
        self.uploads: dict[str, _Upload] = {}
        self._clock = itertools.count()

    # -- for tests

    def objects(self, bucket: str, prefix: str = "") -> dict[str, Version]:
        """Return what is there now, by key."""
        return {
            key: versions[-1]
            for (of, key), versions in self._objects.items()
            if of == bucket and key.startswith(prefix) and versions
        }

    def hold(self, bucket: str, key: str, body: bytes, version: str = "null") -> None:
        """Put an object there, as the only version of its key."""
        self._objects[bucket, key] = [
            Version(key, version, body, _md5(body), _crc32(body), _EPOCH)
        ]

    def tags(self, bucket: str, key: str) -> dict[str, str]:
        return self._tags.get((bucket, key), {})

    # -- what boto3 calls

    def put_object(self, *, Bucket: str, Key: str, Body: Any = b"", **more: Any) -> Any:  # noqa: N803 - AWS's names
        body = _read(Body)
        checksum = more.get("ChecksumCRC32")
        if checksum not in {None, _crc32(body)}:
            raise AwsError("BadDigest", "The CRC32 you specified did not match what we received")
        stored = self._put(Bucket, Key, body, _md5(body), _crc32(body))
        return stored | {
            "ChecksumCRC32": _crc32(body)
        }  # the SDK computes it where it is not given

    def copy_object(self, *, Bucket: str, Key: str, CopySource: str, **_more: Any) -> Any:  # noqa: N803
        bucket, _, key = urllib.parse.unquote(CopySource).partition("/")
        body = self._find(bucket, key, None).body
        return {"CopyObjectResult": {}} | self._put(Bucket, Key, body, _md5(body), _crc32(body))

    def get_object(self, *, Bucket: str, Key: str, **more: Any) -> Any:  # noqa: N803
        found = self._find(Bucket, Key, more.get("VersionId"))
        body = found.body
        if asked := more.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            if int(first) >= len(body):
                raise AwsError("InvalidRange", status=416)
            body = body[int(first) : int(last) + 1 if last else None]
        return _about(found) | {"ContentLength": len(body), "Body": StreamingBody(io.BytesIO(body), len(body))}  # fmt: skip

    def head_object(self, *, Bucket: str, Key: str, **more: Any) -> Any:  # noqa: N803
        try:
            found = self._find(Bucket, Key, more.get("VersionId"))
        except AwsError:
            raise AwsError("404", "Not Found", status=404) from None
        checksum = {"ChecksumCRC32": found.checksum, "ChecksumType": "FULL_OBJECT"}
        return _about(found) | (checksum if more.get("ChecksumMode") else {})

    def delete_object(self, *, Bucket: str, Key: str, VersionId: str | None = None) -> Any:  # noqa: N803
        versions = self._objects.get((Bucket, Key), [])
        self._objects[Bucket, Key] = [one for one in versions if VersionId and one.id != VersionId]
        return {}

    def list_objects_v2(self, *, Bucket: str, Prefix: str = "", StartAfter: str = "", **more: Any) -> Any:  # noqa: N803  # fmt: skip
        behind = more.get("ContinuationToken") or StartAfter
        found = [one for key, one in sorted(self.objects(Bucket, Prefix).items()) if key > behind]
        page = found[:_PAGE]
        contents = [{"Key": one.key, "Size": len(one.body), "ETag": one.etag, "LastModified": one.modified} for one in page]  # fmt: skip
        rest = {"NextContinuationToken": page[-1].key} if len(found) > _PAGE else {}
        return {"IsTruncated": len(found) > _PAGE, "KeyCount": len(page)} | rest | ({"Contents": contents} if page else {})  # fmt: skip

    def list_object_versions(self, *, Bucket: str, **_: Any) -> Any:  # noqa: N803
        found = [
            {"Key": key, "VersionId": one.id, "Size": len(one.body), "LastModified": one.modified, "IsLatest": one is versions[-1]}
            for (of, key), versions in sorted(self._objects.items())
            if of == Bucket
            for one in reversed(versions)
        ]  # fmt: skip
        return {"IsTruncated": False, "Versions": found}

    def put_object_tagging(self, *, Bucket: str, Key: str, Tagging: Any) -> Any:  # noqa: N803
        self._find(Bucket, Key, None)
        self._tags[Bucket, Key] = {tag["Key"]: tag["Value"] for tag in Tagging["TagSet"]}
        return {}

    def get_object_tagging(self, *, Bucket: str, Key: str, **_: Any) -> Any:  # noqa: N803
        self._find(Bucket, Key, None)
        tags = self.tags(Bucket, Key).items()
        return {"TagSet": [{"Key": name, "Value": value} for name, value in tags]}

    def create_multipart_upload(self, *, Bucket: str, Key: str, **more: Any) -> Any:  # noqa: N803
        name = str(uuid.uuid4())
        self.uploads[name] = _Upload(Bucket, Key, "ChecksumAlgorithm" in more)
        return {"UploadId": name}

    def upload_part(self, *, UploadId: str, PartNumber: int, Body: Any, **more: Any) -> Any:  # noqa: N803
        upload, body = self._upload(UploadId), _read(Body)
        checksum = more.get("ChecksumCRC32")
        if checksum is not None and not upload.checksummed:
            raise AwsError("InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: null, actual checksum Type: crc32")  # fmt: skip
        if checksum not in {None, _crc32(body)}:
            raise AwsError("BadDigest", "The CRC32 you specified did not match what we received")
        upload.parts[PartNumber] = (_md5(body), body)
        return {"ETag": _md5(body)}

    def upload_part_copy(self, *, UploadId: str, PartNumber: int, CopySource: str, **more: Any) -> Any:  # noqa: N803  # fmt: skip
        upload = self._upload(UploadId)
        bucket, _, key = urllib.parse.unquote(CopySource).partition("/")
        body = self._find(bucket, key, None).body
        if asked := more.get("CopySourceRange"):
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
            if last >= len(body) or last + 1 - first > MAX_COPY:
                raise AwsError("InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120")  # fmt: skip
            body = body[first : last + 1]
        upload.parts[PartNumber] = (_md5(body), body)
        checksum = {"ChecksumCRC32": _crc32(body)} if upload.checksummed else {}
        return {"CopyPartResult": {"ETag": _md5(body)} | checksum}

    def complete_multipart_upload(self, *, UploadId: str, MultipartUpload: Any, **more: Any) -> Any:  # noqa: N803  # fmt: skip
        upload = self._upload(UploadId)
        asked = [(part["PartNumber"], part["ETag"]) for part in MultipartUpload["Parts"]]
        held = [(number, upload.parts[number][0]) for number, _ in asked if number in upload.parts]
        if held != asked or asked != sorted(asked) or not 1 <= len(asked) <= MAX_PARTS:
            raise AwsError("InvalidPart")
        bodies = [upload.parts[number][1] for number, _ in asked]
        if any(len(body) < MIN_PART for body in bodies[:-1]):
            raise AwsError("EntityTooSmall")
        body = b"".join(bodies)
        checksum = more.get("ChecksumCRC32")
        if upload.checksummed and checksum is None and not all("ChecksumCRC32" in part for part in MultipartUpload["Parts"]):  # fmt: skip
            raise AwsError("InvalidRequest", "The complete request must include the checksum for each part")  # fmt: skip
        if checksum not in {None, _crc32(body)}:
            raise AwsError("BadDigest", "The CRC32 you specified did not match what we received")
        etags = b"".join(bytes.fromhex(etag.strip('"')) for _, etag in asked)
        etag = f'"{hashlib.md5(etags, usedforsecurity=False).hexdigest()}-{len(asked)}"'
        stored = self._put(upload.bucket, upload.key, body, etag, _crc32(body))
        del self.uploads[UploadId]
        return stored

    def abort_multipart_upload(self, *, UploadId: str, **_: Any) -> Any:  # noqa: N803
        self._upload(UploadId)
        del self.uploads[UploadId]
        return {}

    # -- within

    def _put(self, bucket: str, key: str, body: bytes, etag: str, checksum: str) -> Any:
        versioned = bucket == UPLOADS
        modified = _EPOCH.fromtimestamp(_EPOCH.timestamp() + next(self._clock), UTC)
        version = Version(key, str(uuid.uuid4()) if versioned else "null", body, etag, checksum, modified)  # fmt: skip
        before = self._objects.get((bucket, key), [])
        self._objects[bucket, key] = [*before, version] if versioned else [version]
        self._tags.pop((bucket, key), None)
        return {"ETag": etag} | ({"VersionId": version.id} if versioned else {})

    def _find(self, bucket: str, key: str, version: str | None) -> Version:
        versions = self._objects.get((bucket, key), [])
        if version is None:
            if not versions:
                raise AwsError("NoSuchKey", "The specified key does not exist.", status=404)
            return versions[-1]
        found = next((one for one in versions if one.id == version), None)
        if found is None:
            raise AwsError("NoSuchVersion", "The specified version does not exist.", status=404)
        return found

    def _upload(self, name: str) -> _Upload:
        if name not in self.uploads:
            raise AwsError("NoSuchUpload", "The upload may have been aborted or completed.", status=404)  # fmt: skip
        return self.uploads[name]


def _about(version: Version) -> dict[str, Any]:
    named = {} if version.id == "null" else {"VersionId": version.id}
    return {
        "ETag": version.etag, "ContentLength": len(version.body), "LastModified": version.modified, **named
    }  # fmt: skip


def _read(body: Any) -> bytes:
    return bytes(body if isinstance(body, bytes | bytearray | memoryview) else body.read())


def _md5(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4)).decode()
