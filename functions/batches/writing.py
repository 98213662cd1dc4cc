"""One object in S3 from bytes as they come: whole in one request, or in parts, some of them on their way at once.

In memory are the part that grows and those that are being sent, of 5 MiB each. boto3's own transfer holds ten of
8 MiB, which is more than everything else that a stage needs.
"""

import zlib
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from itertools import count, islice
from typing import TYPE_CHECKING, NamedTuple

from functions.batches.items import Piece
from functions.batches.joining import MIN_PART, crc32_combine

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PARTS_OF_A_SIZE = 2000
"""After so many parts they are twice as long: 10,000 of them hold more than S3 takes as one object."""


class _Part(NamedTuple):
    """Bytes of an object, and their CRC-32: it goes along, so that S3 sees what came otherwise."""

    body: bytes
    crc32: int

    @property
    def checksum(self) -> str:
        """The CRC-32 as S3 takes it; left out, the SDK would compute it once more."""
        return b64encode(self.crc32.to_bytes(4)).decode()


class Target(NamedTuple):
    """Where an object is written, and how many of its parts at once."""

    s3: "S3Client"
    bucket: str
    key: str
    threads: int


def write(to: Target, blocks: Iterable[bytes]) -> Piece:
    """Write an object, which is there when all of it is."""
    counted = _Counted(_parts(blocks))
    parts = iter(counted)
    held = deque(islice(parts, 2))
    if len(held) > 1:
        _in_parts(to, _draining(held, parts))
    else:
        _put(to, held.pop() if held else _Part(b"", 0))
    return Piece(key=to.key, size=counted.size, crc32=counted.crc32)


def _put(to: Target, part: _Part) -> None:
    to.s3.put_object(Bucket=to.bucket, Key=to.key, Body=part.body, ChecksumCRC32=part.checksum)


class _Counted:
    """Parts that pass; counts their bytes and their CRC-32."""

    def __init__(self, parts: Iterable[_Part]) -> None:
        self._parts = parts
        self.size = self.crc32 = 0

    def __iter__(self) -> Iterator[_Part]:
        for part in self._parts:
            self.size += len(part.body)
            self.crc32 = crc32_combine(self.crc32, part.crc32, len(part.body))
            yield part
            del part  # as does who asks for the next


def _parts(blocks: Iterable[bytes]) -> Iterator[_Part]:
    """Gather blocks until they are long enough for a part; only the last is shorter."""
    part, crc32, number = BytesIO(), 0, 0
    for block in blocks:
        part.write(block)
        crc32 = zlib.crc32(block, crc32)
        if part.tell() >= MIN_PART << (number // PARTS_OF_A_SIZE):
            yield _Part(part.getvalue(), crc32)
            part, crc32, number = BytesIO(), 0, number + 1
    if part.tell():
        yield _Part(part.getvalue(), crc32)


def _draining(held: deque[_Part], parts: Iterator[_Part]) -> Iterator[_Part]:
    """Give those that are held and then the others; none is held any longer than that."""
    while held:
        yield held.popleft()
    yield from parts


def _in_parts(to: Target, parts: Iterator[_Part]) -> None:
    upload = to.s3.create_multipart_upload(Bucket=to.bucket, Key=to.key)["UploadId"]
    try:
        done = [*_at_once(to, upload, parts)] if to.threads > 1 else [*_singly(to, upload, parts)]
    except Exception:
        to.s3.abort_multipart_upload(Bucket=to.bucket, Key=to.key, UploadId=upload)
        raise
    to.s3.complete_multipart_upload(
        Bucket=to.bucket, Key=to.key, UploadId=upload, MultipartUpload={"Parts": done}
    )


def _singly(to: Target, upload: str, parts: Iterator[_Part]) -> Iterator["CompletedPartTypeDef"]:
    return (_send(to, upload, number, part) for number, part in enumerate(parts, 1))


def _at_once(to: Target, upload: str, parts: Iterator[_Part]) -> Iterator["CompletedPartTypeDef"]:
    """Send several parts side by side; the next is only gathered when there is room for it."""
    with ThreadPoolExecutor(to.threads) as pool:
        sending: deque[Future[CompletedPartTypeDef]] = deque()
        numbers = count(1)
        for part in parts:  # enumerate would hold each part while the next one grows
            sending.append(pool.submit(_send, to, upload, next(numbers), part))
            del part  # as would its name
            if len(sending) >= to.threads:
                yield sending.popleft().result()
        yield from (one.result() for one in sending)


def _send(to: Target, upload: str, number: int, part: _Part) -> "CompletedPartTypeDef":
    put = to.s3.upload_part(
        Bucket=to.bucket, Key=to.key, UploadId=upload, PartNumber=number, Body=part.body,
        ChecksumCRC32=part.checksum,
    )  # fmt: skip
    return {"PartNumber": number, "ETag": put["ETag"]}
