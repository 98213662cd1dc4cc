"""Rules of S3 that moto does not enforce: invalid writes, and errors of unreadable objects.

The hooks run in a boto3 client, in front of moto; stages, adapters and SDK retries are real.
Each entry of a table has a test in tests/integration/test_strict_s3.py.
"""

import base64
import io
import re
import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID
from urllib3 import HTTPResponse

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

UNREACHABLE_URL = "https://refused.invalid/"
GIB = 1 << 30
MAX_COPY = 5 * GIB
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html."""


@dataclass(frozen=True)
class S3ErrorResponse:
    """An error that S3 answers with."""

    status: int
    code: str
    message: str = "injected by the test"

    def answer(self, request: Any) -> AWSResponse:
        """Answer instead of moto: with this URL, botocore's later hooks find nothing."""
        request.url = UNREACHABLE_URL
        error_xml = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
        body = HTTPResponse(
            io.BytesIO(error_xml.encode()), status=self.status, preload_content=False
        )
        return AWSResponse(UNREACHABLE_URL, self.status, HTTPHeaders(), body)


ROLE = "arn:aws:sts::123456789012:assumed-role/relay-results/relay-results"
PERMANENT_READ_ERRORS = {
    "version gone": S3ErrorResponse(404, "NoSuchVersion"),
    "object gone": S3ErrorResponse(404, "NoSuchKey"),
    "bucket gone": S3ErrorResponse(404, "NoSuchBucket"),
    "gone, without s3:ListBucket": S3ErrorResponse(403, "AccessDenied", "Access Denied"),
    "a delete marker": S3ErrorResponse(405, "MethodNotAllowed"),
    "archived": S3ErrorResponse(403, "InvalidObjectState", "The operation is not valid for the object's storage class"),
    "a bucket policy": S3ErrorResponse(403, "AccessDenied", f"User: {ROLE} is not authorized to perform: s3:GetObjectVersion"),
    "KMS: not permitted": S3ErrorResponse(403, "AccessDenied", f"User: {ROLE} is not authorized to perform: kms:Decrypt on the resource associated with this ciphertext"),
    "KMS: disabled": S3ErrorResponse(400, "KMS.DisabledException"),
    "KMS: pending deletion": S3ErrorResponse(400, "KMS.KMSInvalidStateException"),
    "KMS: gone": S3ErrorResponse(400, "KMS.NotFoundException"),
    "KMS: access denied": S3ErrorResponse(400, "KMS.AccessDeniedException"),
}  # fmt: skip
"""Errors of GetObject that last until somebody fixes the cause."""
TRANSIENT_READ_ERRORS = {
    "too many requests": S3ErrorResponse(503, "SlowDown"),
    "internal error": S3ErrorResponse(500, "InternalError"),
    "KMS: too many requests": S3ErrorResponse(400, "KMS.ThrottlingException"),
    "KMS: internal error": S3ErrorResponse(400, "KMS.InternalException"),
}
"""Errors that the next attempt may not meet."""
INVALID_WRITES = {
    "a checksum for an upload without checksums": S3ErrorResponse(400, "InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: null, actual checksum Type: crc32"),
    "no checksum for an upload with checksums": S3ErrorResponse(400, "InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: crc32, actual checksum Type: null"),
    "a part with a wrong checksum": S3ErrorResponse(400, "BadDigest", "The CRC32 you specified did not match what we received"),
    "an object with a wrong checksum": S3ErrorResponse(400, "BadDigest", "The CRC32 you specified did not match what we received"),
    "a completion without part checksums": S3ErrorResponse(400, "InvalidRequest", "The upload was created using a crc32 checksum. The complete request must include the checksum for each part"),
    "a copied part over 5 GiB": S3ErrorResponse(400, "InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120"),
}  # fmt: skip
"""Writes that moto accepts and S3 rejects."""


def make_strict(s3: "S3Client") -> "S3Client":
    """Make moto's S3 enforce S3's own rules."""
    hooks: Any = s3.meta.events
    checks = {"PutObject": _check_body, "UploadPart": _check_part, "UploadPartCopy": _check_copy, "CompleteMultipartUpload": _check_complete}  # fmt: skip
    for operation, check in checks.items():
        hooks.register_first(f"before-send.s3.{operation}", _reject_if(check))
    hooks.register("before-call.s3.UploadPartCopy", _remember_part)
    hooks.register("after-call.s3.UploadPartCopy", _add_copy_checksum)
    return s3


@contextmanager
def reject_requests(
    s3: "S3Client", operation: str, response: S3ErrorResponse, key: str = "", *, after: int = 0
) -> Iterator[list[str]]:
    """Reject an operation on keys that contain `key`, except for the first `after` requests.

    Yields:
        The URLs of the requests so far.
    """
    urls: list[str] = []
    hooks: Any = s3.meta.events

    def reject(request: Any, **_: object) -> AWSResponse | None:
        if key not in urllib.parse.unquote(request.url):
            return None
        urls.append(request.url)
        return response.answer(request) if len(urls) > after else None

    event = f"before-send.s3.{operation}"
    hooks.register_first(event, reject)
    try:
        yield urls
    finally:
        hooks.unregister(event, reject)


@contextmanager
def without_list_bucket(s3: "S3Client") -> Iterator[None]:
    """Answer like S3 to a role without s3:ListBucket: 403 instead of 404."""
    denied = {"Code": "AccessDenied", "Message": "Access Denied"}

    def hide_not_found(parsed: dict[str, Any], **_: object) -> None:
        if parsed["ResponseMetadata"]["HTTPStatusCode"] == 404:
            parsed["ResponseMetadata"]["HTTPStatusCode"] = 403
            parsed["Error"] = denied

    events = [f"after-call.s3.{name}" for name in ("GetObject", "HeadObject")]
    for event in events:
        s3.meta.events.register(event, hide_not_found)
    try:
        yield
    finally:
        for event in events:
            s3.meta.events.unregister(event, hide_not_found)


def _reject_if(check: Callable[[Any], str | None]) -> Callable[..., AWSResponse | None]:
    def check_request(request: Any, **_: object) -> AWSResponse | None:
        problem = check(request)
        return None if problem is None else INVALID_WRITES[problem].answer(request)

    return check_request


def _check_body(request: Any) -> str | None:
    checksum, body = _header(request, "x-amz-checksum-crc32"), request.body
    if checksum is None:
        return None
    sent = body if isinstance(body, bytes) else _read_and_rewind(body)
    return None if checksum == _crc32(sent) else "a part with a wrong checksum"


def _read_and_rewind(body: Any) -> bytes:
    position = body.tell()
    sent = bytes(body.read())
    body.seek(position)
    return sent


def _check_part(request: Any) -> str | None:
    metadata = _upload_of(request.url).metadata
    algorithm = metadata.get("x-amz-checksum-algorithm")
    names = {name.lower() for name in request.headers}
    trailer = _header(request, "x-amz-trailer") or ""
    has_checksum = "x-amz-checksum-crc32" in names or "crc32" in trailer
    if has_checksum and algorithm is None:
        return "a checksum for an upload without checksums"
    if (
        algorithm is not None
        and not has_checksum
        and metadata.get("x-amz-checksum-type") != "FULL_OBJECT"
    ):
        return "no checksum for an upload with checksums"
    return _check_body(request)


def _check_copy(request: Any) -> str | None:
    byte_range = re.fullmatch(
        r"bytes=(\d+)-(\d+)", _header(request, "x-amz-copy-source-range") or ""
    )
    if byte_range is not None and int(byte_range[2]) + 1 - int(byte_range[1]) > MAX_COPY:
        return "a copied part over 5 GiB"
    return None


def _check_complete(request: Any) -> str | None:
    upload = _upload_of(request.url)
    if upload.metadata.get("x-amz-checksum-algorithm") is None:
        return None
    checksum = _header(request, "x-amz-checksum-crc32")
    parts = bytes(request.body).decode().split("<Part>")[1:]
    if checksum is None and not all("<ChecksumCRC32>" in part for part in parts):
        return "a completion without part checksums"
    numbers = [int(number) for part in parts for number in re.findall(r"<PartNumber>(\d+)<", part)]
    joined = b"".join(upload.parts[number].value for number in numbers)
    return None if checksum in {None, _crc32(joined)} else "an object with a wrong checksum"


def _remember_part(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    context["asked"] = params["query_string"]


def _add_copy_checksum(parsed: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    """Add the checksum of a copied part, which S3 computes and moto does not."""
    query = context["asked"]
    upload = _find_upload(query["uploadId"])
    if "CopyPartResult" in parsed and upload.metadata.get("x-amz-checksum-algorithm"):
        body = upload.parts[int(query["partNumber"])].value
        parsed["CopyPartResult"]["ChecksumCRC32"] = _crc32(body)


def _upload_of(url: str) -> Any:
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
    return _find_upload(query["uploadId"][0])


def _find_upload(upload_id: str) -> Any:
    """Return moto's multipart upload of this id."""
    buckets = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"].buckets.values()
    return next(
        bucket.multiparts[upload_id] for bucket in buckets if upload_id in bucket.multiparts
    )


def _header(request: Any, name: str) -> str | None:
    value = request.headers.get(name)
    return value.decode() if isinstance(value, bytes) else value


def _crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4)).decode()
