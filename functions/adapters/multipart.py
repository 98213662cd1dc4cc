"""Write one S3 object from a stream: small ones in one request, others in parts, several at once.

Memory holds the part that is being filled and those that are being sent. Parts begin at 5 MiB, and their
buffers are reused. boto3's own transfer manager would hold ten parts of 8 MiB, too much for a stage.
"""

import io
import zlib
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial, reduce
from itertools import chain
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters import tracing
from functions.model.items.stored_objects import StoredObject
from functions.model.multipart_plan import MIN_PART_BYTES, crc32_combine

if TYPE_CHECKING:
    from concurrent.futures import Future

    from mypy_boto3_s3 import S3Client

PARTS_PER_SIZE = 2000
"""Parts after which the part size doubles. S3's limit of 10,000 parts then allows 300 GB."""
_SOCKET_BYTES = 1 << 20
"""Bytes written to the socket at once. The SDK's 16 KiB take almost twice the CPU time."""


class UploadTarget(NamedTuple):
    """The object to write, how many of its parts are sent at once, and its media type."""

    s3: "S3Client"
    bucket: str
    key: str
    threads: int
    content_type: str = "binary/octet-stream"


class StoredPart(NamedTuple):
    """A part that S3 has stored, and its base64 CRC-32; None if S3 did not return one for a copied part."""

    number: int
    etag: str
    checksum: str | None


class _WrittenPart(NamedTuple):
    """A part that was sent from memory."""

    sent: StoredPart
    size: int
    crc32: int


def write(target: UploadTarget, blocks: Iterable[bytes]) -> StoredObject:
    """Write an object. It becomes visible once it is complete."""
    buffers = _Buffers()
    parts = buffers.filled(blocks)
    first, second = next(parts, memoryview(b"")), next(parts, None)
    if second is None:
        return _put(target, bytes(first))
    return _write_parts(target, buffers, chain((first, second), parts))


def _put(target: UploadTarget, body: bytes) -> StoredObject:
    crc32 = zlib.crc32(body)
    target.s3.put_object(
        Bucket=target.bucket, Key=target.key, Body=body, ChecksumCRC32=base64_crc32(crc32),
        ContentType=target.content_type,
    )  # fmt: skip
    return StoredObject(key=target.key, size=len(body), crc32=crc32)


class _Buffers:
    """Reusable buffers for parts."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def filled(self, blocks: Iterable[bytes]) -> Iterator[memoryview]:
        """Fill one buffer after the other. Only the last part is shorter."""
        number, filled = 1, 0
        buffer = self._buffer(number)
        for block in blocks:
            rest = memoryview(block)
            while rest:
                if filled == len(buffer):
                    yield buffer
                    number, filled = number + 1, 0
                    buffer = self._buffer(number)
                fits = rest[: len(buffer) - filled]
                buffer[filled : filled + len(fits)] = fits
                filled, rest = filled + len(fits), rest[len(fits) :]
        if filled:
            yield buffer[:filled]

    def _buffer(self, number: int) -> memoryview:
        size = MIN_PART_BYTES << ((number - 1) // PARTS_PER_SIZE)
        buffer = self._free.pop() if self._free else memoryview(b"")
        # A mapping, unlike a bytearray, takes no memory for pages that are never filled.
        flags = MAP_PRIVATE | MAP_ANONYMOUS
        return buffer if len(buffer) == size else memoryview(mmap(-1, size, flags=flags))

    def free(self, part: memoryview) -> None:
        """Return a part's buffer for reuse."""
        self._free.append(part)


def _write_parts(
    target: UploadTarget, buffers: _Buffers, parts: Iterator[memoryview]
) -> StoredObject:
    with multipart_upload(target, ContentType=target.content_type) as upload_id:
        written = [*_send_concurrently(target, upload_id, buffers, parts)]
        crc32 = reduce(lambda crc, part: crc32_combine(crc, part.crc32, part.size), written, 0)
        complete(target, upload_id, [part.sent for part in written], crc32)
    return StoredObject(key=target.key, size=sum(part.size for part in written), crc32=crc32)


@contextmanager
def multipart_upload(target: UploadTarget, **options: str) -> Iterator[str]:
    """Start a multipart upload and yield its id. Abort it if an error occurs.

    S3 verifies a CRC-32 of each part and of the object. It rejects part checksums if the upload was started
    without: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html.
    """
    settings: Any = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT", **options}
    name: Any = {"Bucket": target.bucket, "Key": target.key}
    upload_id = target.s3.create_multipart_upload(**name, **settings)["UploadId"]
    try:
        yield upload_id
    except Exception:
        # If the abort fails too, the bucket's lifecycle deletes the parts. Raise the original error.
        with suppress(ClientError, BotoCoreError):
            target.s3.abort_multipart_upload(**name, UploadId=upload_id)
        raise


def complete(
    target: UploadTarget, upload_id: str, parts: Sequence[StoredPart], crc32: int
) -> None:
    """Complete a multipart upload. S3 rejects it if the object's CRC-32 differs."""
    completed: Any = [
        {"PartNumber": part.number, "ETag": part.etag}
        | ({"ChecksumCRC32": part.checksum} if part.checksum else {})
        for part in parts
    ]
    target.s3.complete_multipart_upload(
        Bucket=target.bucket, Key=target.key, UploadId=upload_id, MultipartUpload={"Parts": completed},
        ChecksumType="FULL_OBJECT", ChecksumCRC32=base64_crc32(crc32),
    )  # fmt: skip


def _send_concurrently(
    target: UploadTarget, upload_id: str, buffers: _Buffers, parts: Iterator[memoryview]
) -> Iterator[_WrittenPart]:
    """Send the parts, several at once. Read the next part only while a thread is free to send it."""
    send = partial(_send, target, upload_id, buffers)
    if target.threads == 1:
        yield from (send(number, part) for number, part in enumerate(parts, 1))
        return
    with tracing.thread_pool(target.threads) as pool:
        futures: deque[Future[_WrittenPart]] = deque()
        for number, part in enumerate(parts, 1):
            futures.append(pool.submit(send, number, part))
            if len(futures) >= target.threads:
                yield futures.popleft().result()
        yield from (future.result() for future in futures)


def _send(
    target: UploadTarget, upload_id: str, buffers: _Buffers, number: int, part: memoryview
) -> _WrittenPart:
    crc32 = zlib.crc32(part)
    sent = send(target, upload_id, number, _PartBody(part), crc32)
    buffers.free(part)
    return _WrittenPart(sent, len(part), crc32)


def send(
    target: UploadTarget, upload_id: str, number: int, body: "bytes | _PartBody", crc32: int
) -> StoredPart:
    """Send a part with its CRC-32, which the SDK would otherwise compute again."""
    checksum = base64_crc32(crc32)
    response = target.s3.upload_part(
        Bucket=target.bucket, Key=target.key, UploadId=upload_id, PartNumber=number, Body=body,  # type: ignore[arg-type]
        ChecksumCRC32=checksum,
    )  # fmt: skip
    return StoredPart(number, response["ETag"], checksum)


class _PartBody(io.RawIOBase):
    """A part as a file for the SDK. It returns views instead of copies, of more bytes than the SDK requests."""

    def __init__(self, part: memoryview) -> None:
        self._part, self._offset = part, 0

    def __len__(self) -> int:
        return len(self._part)

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: len(self)}
        self._offset = origins[whence] + offset
        return self._offset

    def read(self, size: int = -1) -> bytes:
        start = self._offset
        self._offset = len(self) if size < 0 else min(start + max(size, _SOCKET_BYTES), len(self))
        piece = self._part[start : self._offset]
        return piece if size >= 0 else bytes(piece)  # type: ignore[return-value] # a socket accepts both


def base64_crc32(crc32: int) -> str:
    """Return a CRC-32 in the format of S3's API."""
    return b64encode(crc32.to_bytes(4)).decode()
