"""S3's walls that moto lacks: what S3 refuses and moto takes, and what S3 says to whom may not read, as data.

The hooks sit on a client of boto3, before moto: stages, adapters and the SDK with its repeats are the real ones.
Each line of a table has a test in tests/integration/test_s3_walls.py.
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

NOWHERE = "https://refused.invalid/"
GIB = 1 << 30
MAX_COPY = 5 * GIB
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html."""


@dataclass(frozen=True)
class Refusal:
    """What S3 answers in place of doing it."""

    status: int
    code: str
    message: str = "said by the test"

    def answer(self, request: Any) -> AWSResponse:
        """Answer in moto's place: botocore lets every hook see a request, and moto finds nothing at this address."""
        request.url = NOWHERE
        said = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
        body = HTTPResponse(io.BytesIO(said.encode()), status=self.status, preload_content=False)
        return AWSResponse(NOWHERE, self.status, HTTPHeaders(), body)


ROLE = "arn:aws:sts::123456789012:assumed-role/relay-results/relay-results"
UNREADABLE = {
    "version gone": Refusal(404, "NoSuchVersion"),
    "object gone": Refusal(404, "NoSuchKey"),
    "bucket gone": Refusal(404, "NoSuchBucket"),
    "gone, and the role lacks s3:ListBucket": Refusal(403, "AccessDenied", "Access Denied"),
    "a delete marker": Refusal(405, "MethodNotAllowed"),
    "archived": Refusal(403, "InvalidObjectState", "The operation is not valid for the object's storage class"),
    "a bucket policy": Refusal(403, "AccessDenied", f"User: {ROLE} is not authorized to perform: s3:GetObjectVersion"),
    "KMS: not permitted": Refusal(403, "AccessDenied", f"User: {ROLE} is not authorized to perform: kms:Decrypt on the resource associated with this ciphertext"),
    "KMS: disabled": Refusal(400, "KMS.DisabledException"),
    "KMS: waits to be deleted": Refusal(400, "KMS.KMSInvalidStateException"),
    "KMS: gone": Refusal(400, "KMS.NotFoundException"),
    "KMS: refuses": Refusal(400, "KMS.AccessDeniedException"),
}  # fmt: skip
"""What S3 answers to GetObject for as long as nobody mends it."""
PASSING = {
    "too many requests": Refusal(503, "SlowDown"),
    "trouble of its own": Refusal(500, "InternalError"),
    "KMS: too many requests": Refusal(400, "KMS.ThrottlingException"),
    "KMS: trouble of its own": Refusal(400, "KMS.InternalException"),
}
"""What may be over at the next try."""
REFUSED = {
    "a checksum where the upload has none": Refusal(400, "InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: null, actual checksum Type: crc32"),
    "no checksum where the upload has one": Refusal(400, "InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: crc32, actual checksum Type: null"),
    "bytes that are not their checksum": Refusal(400, "BadDigest", "The CRC32 you specified did not match what we received"),
    "an object that is not its checksum": Refusal(400, "BadDigest", "The CRC32 you specified did not match what we received"),
    "an end without the parts' checksums": Refusal(400, "InvalidRequest", "The upload was created using a crc32 checksum. The complete request must include the checksum for each part"),
    "a copied part over 5 GiB": Refusal(400, "InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120"),
}  # fmt: skip
"""What moto takes and S3 does not."""


def build(s3: "S3Client") -> "S3Client":
    """Make moto's S3 as strict as S3."""
    hooks: Any = s3.meta.events
    checks = {"PutObject": _put, "UploadPart": _part, "UploadPartCopy": _copy, "CompleteMultipartUpload": _complete}  # fmt: skip
    for operation, check in checks.items():
        hooks.register_first(f"before-send.s3.{operation}", _before(check))
    hooks.register("before-call.s3.UploadPartCopy", _note_part)
    hooks.register("after-call.s3.UploadPartCopy", _tell_checksum)
    return s3


@contextmanager
def refusing(
    s3: "S3Client", operation: str, refusal: Refusal, key: str = "", *, after: int = 0
) -> Iterator[list[str]]:
    """Refuse an operation on the keys with `key` in them, but for the first `after` requests.

    Yields:
        The URLs that were refused.
    """
    seen: list[str] = []
    hooks: Any = s3.meta.events

    def refuse(request: Any, **_: object) -> AWSResponse | None:
        if key not in urllib.parse.unquote(request.url):
            return None
        seen.append(request.url)
        return refusal.answer(request) if len(seen) > after else None

    event = f"before-send.s3.{operation}"
    hooks.register_first(event, refuse)
    try:
        yield seen
    finally:
        hooks.unregister(event, refuse)


@contextmanager
def without_list_bucket(s3: "S3Client") -> Iterator[None]:
    """Answer as S3 does to a role without s3:ListBucket: who may not know what is there gets no 404."""
    denied = {"Code": "AccessDenied", "Message": "Access Denied"}

    def hide(parsed: dict[str, Any], **_: object) -> None:
        if parsed["ResponseMetadata"]["HTTPStatusCode"] == 404:
            parsed["ResponseMetadata"]["HTTPStatusCode"] = 403
            parsed["Error"] = denied

    events = [f"after-call.s3.{name}" for name in ("GetObject", "HeadObject")]
    for event in events:
        s3.meta.events.register(event, hide)
    try:
        yield
    finally:
        for event in events:
            s3.meta.events.unregister(event, hide)


def _before(check: Callable[[Any], str | None]) -> Callable[..., AWSResponse | None]:
    def look(request: Any, **_: object) -> AWSResponse | None:
        wrong = check(request)
        return None if wrong is None else REFUSED[wrong].answer(request)

    return look


def _put(request: Any) -> str | None:
    told, body = _header(request, "x-amz-checksum-crc32"), request.body
    if told is None:
        return None
    sent = body if isinstance(body, bytes) else _read(body)
    return None if told == _crc32(sent) else "bytes that are not their checksum"


def _read(body: Any) -> bytes:
    begin = body.tell()
    sent = bytes(body.read())
    body.seek(begin)
    return sent


def _part(request: Any) -> str | None:
    begun = _upload(request.url).metadata
    wanted = begun.get("x-amz-checksum-algorithm")
    names = {name.lower() for name in request.headers}
    named = _header(request, "x-amz-trailer") or ""
    given = "x-amz-checksum-crc32" in names or "crc32" in named
    if given and wanted is None:
        return "a checksum where the upload has none"
    if wanted is not None and not given and begun.get("x-amz-checksum-type") != "FULL_OBJECT":
        return "no checksum where the upload has one"
    return _put(request)


def _copy(request: Any) -> str | None:
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", _header(request, "x-amz-copy-source-range") or "")
    if found is not None and int(found[2]) + 1 - int(found[1]) > MAX_COPY:
        return "a copied part over 5 GiB"
    return None


def _complete(request: Any) -> str | None:
    upload = _upload(request.url)
    if upload.metadata.get("x-amz-checksum-algorithm") is None:
        return None
    told = _header(request, "x-amz-checksum-crc32")
    parts = bytes(request.body).decode().split("<Part>")[1:]
    if told is None and not all("<ChecksumCRC32>" in part for part in parts):
        return "an end without the parts' checksums"
    numbers = [int(number) for part in parts for number in re.findall(r"<PartNumber>(\d+)<", part)]
    whole = b"".join(upload.parts[number].value for number in numbers)
    return None if told in {None, _crc32(whole)} else "an object that is not its checksum"


def _note_part(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    context["asked"] = params["query_string"]


def _tell_checksum(parsed: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    """S3 computes the checksum of what it copies, and says it: moto does not."""
    asked = context["asked"]
    upload = _found(asked["uploadId"])
    if "CopyPartResult" in parsed and upload.metadata.get("x-amz-checksum-algorithm"):
        body = upload.parts[int(asked["partNumber"])].value
        parsed["CopyPartResult"]["ChecksumCRC32"] = _crc32(body)


def _upload(url: str) -> Any:
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
    return _found(query["uploadId"][0])


def _found(upload_id: str) -> Any:
    """Find an upload in parts where moto has it."""
    buckets = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"].buckets.values()
    return next(one.multiparts[upload_id] for one in buckets if upload_id in one.multiparts)


def _header(request: Any, name: str) -> str | None:
    value = request.headers.get(name)
    return value.decode() if isinstance(value, bytes) else value


def _crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4)).decode()
