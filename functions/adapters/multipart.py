"""Write one S3 object from a stream: small ones in one request, others in parts, several at once.

Memory holds the part that is being filled and those that are being sent. Parts begin at 5 MiB, and their
buffers are reused. boto3's own transfer manager would hold ten parts of 8 MiB, too much for a stage.
"""

import io
import zlib
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial, reduce
from itertools import chain
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from functions.model.items import StoredObject
from functions.model.multipart_plan import MIN_PART, crc32_combine

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PARTS_OF_A_SIZE = 2000
"""Parts after which the part size doubles. S3's limit of 10,000 parts then allows 300 GB."""
AT_ONCE = 1 << 20
"""Bytes written to the socket at once. The SDK's 16 KiB take almost twice the CPU time."""


class UploadTarget(NamedTuple):
    """The object to write, and how many of its parts are sent at once."""

    s3: "S3Client"
    bucket: str
    key: str
    threads: int


class Sent(NamedTuple):
    """A part that S3 has stored, and its base64 CRC-32; None if S3 did not return one for a copied part."""

    number: int
    etag: str
    checksum: str | None


class _Written(NamedTuple):
    """A part that was sent from memory."""

    sent: Sent
    size: int
    crc32: int


def write(to: UploadTarget, blocks: Iterable[bytes]) -> StoredObject:
    """Write an object. It becomes visible once it is complete."""
    buffers = _Buffers()
    parts = buffers.filled(blocks)
    first, second = next(parts, memoryview(b"")), next(parts, None)
    if second is None:
        return _put(to, bytes(first))
    return _in_parts(to, buffers, chain((first, second), parts))


def _put(to: UploadTarget, body: bytes) -> StoredObject:
    crc32 = zlib.crc32(body)
    to.s3.put_object(Bucket=to.bucket, Key=to.key, Body=body, ChecksumCRC32=base64_crc32(crc32))
    return StoredObject(key=to.key, size=len(body), crc32=crc32)


class _Buffers:
    """Reusable buffers for parts."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def filled(self, blocks: Iterable[bytes]) -> Iterator[memoryview]:
        """Fill one buffer after the other. Only the last part is shorter."""
        number, at = 1, 0
        buffer = self._take(number)
        for block in blocks:
            rest = memoryview(block)
            while rest:
                if at == len(buffer):
                    yield buffer
                    number, at = number + 1, 0
                    buffer = self._take(number)
                fits = rest[: len(buffer) - at]
                buffer[at : at + len(fits)] = fits
                at, rest = at + len(fits), rest[len(fits) :]
        if at:
            yield buffer[:at]

    def _take(self, number: int) -> memoryview:
        size = MIN_PART << ((number - 1) // PARTS_OF_A_SIZE)
        buffer = self._free.pop() if self._free else memoryview(b"")
        # A mapping, not a bytearray: of what is never filled, nothing is taken.
        flags = MAP_PRIVATE | MAP_ANONYMOUS
        return buffer if len(buffer) == size else memoryview(mmap(-1, size, flags=flags))

    def free(self, part: memoryview) -> None:
        """Return a part's buffer for reuse."""
        self._free.append(part)


def _in_parts(to: UploadTarget, buffers: _Buffers, parts: Iterator[memoryview]) -> StoredObject:
    with begun(to) as upload:
        written = [*_at_once(to, upload, buffers, parts)]
        crc32 = reduce(lambda crc, part: crc32_combine(crc, part.crc32, part.size), written, 0)
        complete(to, upload, [part.sent for part in written], crc32)
    return StoredObject(key=to.key, size=sum(part.size for part in written), crc32=crc32)


@contextmanager
def begun(to: UploadTarget, **about: str) -> Iterator[str]:
    """Start a multipart upload and yield its id. Abort it if an error occurs.

    S3 verifies a CRC-32 of each part and of the object. It rejects part checksums if the upload was started
    without: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html.
    """
    begin: Any = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT", **about}
    where: Any = {"Bucket": to.bucket, "Key": to.key}
    upload = to.s3.create_multipart_upload(**where, **begin)["UploadId"]
    try:
        yield upload
    except Exception:
        # Where that fails, too, the bucket's lifecycle removes the parts; what is raised is why it was needed.
        with suppress(ClientError, BotoCoreError):
            to.s3.abort_multipart_upload(**where, UploadId=upload)
        raise


def complete(to: UploadTarget, upload: str, parts: Sequence[Sent], crc32: int) -> None:
    """Complete a multipart upload. S3 rejects it if the object's CRC-32 differs."""
    done: Any = [
        {"PartNumber": part.number, "ETag": part.etag}
        | ({"ChecksumCRC32": part.checksum} if part.checksum else {})
        for part in parts
    ]
    to.s3.complete_multipart_upload(
        Bucket=to.bucket, Key=to.key, UploadId=upload, MultipartUpload={"Parts": done},
        ChecksumType="FULL_OBJECT", ChecksumCRC32=base64_crc32(crc32),
    )  # fmt: skip


def _at_once(
    to: UploadTarget, upload: str, buffers: _Buffers, parts: Iterator[memoryview]
) -> Iterator[_Written]:
    """Send the parts, several at once. Read the next part only while a thread is free to send it."""
    send = partial(_send, to, upload, buffers)
    if to.threads == 1:
        yield from (send(number, part) for number, part in enumerate(parts, 1))
        return
    with ThreadPoolExecutor(to.threads) as pool:
        sending: deque[Future[_Written]] = deque()
        for number, part in enumerate(parts, 1):
            sending.append(pool.submit(send, number, part))
            if len(sending) >= to.threads:
                yield sending.popleft().result()
        yield from (one.result() for one in sending)


def _send(
    to: UploadTarget, upload: str, buffers: _Buffers, number: int, part: memoryview
) -> _Written:
    crc32 = zlib.crc32(part)
    sent = send(to, upload, number, _PartBody(part), crc32)
    buffers.free(part)
    return _Written(sent, len(part), crc32)


def send(
    to: UploadTarget, upload: str, number: int, body: "bytes | _PartBody", crc32: int
) -> Sent:
    """Send a part with its CRC-32, which the SDK would otherwise compute again."""
    checksum = base64_crc32(crc32)
    put = to.s3.upload_part(
        Bucket=to.bucket, Key=to.key, UploadId=upload, PartNumber=number, Body=body,  # type: ignore[arg-type]
        ChecksumCRC32=checksum,
    )  # fmt: skip
    return Sent(number, put["ETag"], checksum)


class _PartBody(io.RawIOBase):
    """A part as a file for the SDK. It returns views instead of copies, of more bytes than the SDK requests."""

    def __init__(self, part: memoryview) -> None:
        self._part, self._at = part, 0

    def __len__(self) -> int:
        return len(self._part)

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begins = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self)}
        self._at = begins[whence] + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        begin = self._at
        self._at = len(self) if size < 0 else min(begin + max(size, AT_ONCE), len(self))
        piece = self._part[begin : self._at]
        return piece if size >= 0 else bytes(piece)  # type: ignore[return-value] # a socket takes both


def base64_crc32(crc32: int) -> str:
    """Return a CRC-32 in the format of S3's API."""
    return b64encode(crc32.to_bytes(4)).decode()
