"""One object in S3 from bytes as they come: whole in one request, or in parts, some of them on their way at once.

In memory are the part that grows and those that are being sent, of 5 MiB each. boto3's own transfer holds ten of
8 MiB, which is more than everything else that a stage needs.
"""

import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from functions.batches.items import Piece
from functions.batches.joining import MIN_PART

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PARTS_OF_A_SIZE = 2000
"""After so many parts they are twice as long: 10,000 of them hold more than S3 takes as one object."""


class Target(NamedTuple):
    """Where an object is written, and how many of its parts at once."""

    s3: "S3Client"
    bucket: str
    key: str
    threads: int


def write(to: Target, blocks: Iterable[bytes]) -> Piece:
    """Write an object, which is there when all of it is."""
    counted = _Counted(blocks)
    parts = _parts(counted)
    first, second = next(parts, b""), next(parts, None)
    if second is None:
        to.s3.put_object(Bucket=to.bucket, Key=to.key, Body=first)
    else:
        _in_parts(to, chain([first, second], parts))
    return Piece(key=to.key, size=counted.size, crc32=counted.crc32)


class _Counted:
    """Blocks that pass; counts their bytes and their CRC-32."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = blocks
        self.size = self.crc32 = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            self.size, self.crc32 = self.size + len(block), zlib.crc32(block, self.crc32)
            yield block


def _parts(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Gather blocks until they are long enough for a part; only the last is shorter."""
    held: list[bytes] = []
    size, number = 0, 0
    for block in blocks:
        held.append(block)
        size += len(block)
        if size >= MIN_PART << (number // PARTS_OF_A_SIZE):
            part, held, size = b"".join(held), [], 0
            number += 1
            yield part
    if held:
        yield b"".join(held)


def _in_parts(to: Target, parts: Iterator[bytes]) -> None:
    upload = to.s3.create_multipart_upload(Bucket=to.bucket, Key=to.key)["UploadId"]
    try:
        done = [*_at_once(to, upload, parts)] if to.threads > 1 else [*_singly(to, upload, parts)]
    except Exception:
        to.s3.abort_multipart_upload(Bucket=to.bucket, Key=to.key, UploadId=upload)
        raise
    to.s3.complete_multipart_upload(
        Bucket=to.bucket, Key=to.key, UploadId=upload, MultipartUpload={"Parts": done}
    )


def _singly(to: Target, upload: str, parts: Iterator[bytes]) -> Iterator["CompletedPartTypeDef"]:
    return (_send(to, upload, number, part) for number, part in enumerate(parts, 1))


def _at_once(to: Target, upload: str, parts: Iterator[bytes]) -> Iterator["CompletedPartTypeDef"]:
    """Send several parts side by side; the next is only gathered when there is room for it."""
    with ThreadPoolExecutor(to.threads) as pool:
        sending: deque[Future[CompletedPartTypeDef]] = deque()
        for number, part in enumerate(parts, 1):
            sending.append(pool.submit(_send, to, upload, number, part))
            del part  # or it would be held while the next one grows
            if len(sending) >= to.threads:
                yield sending.popleft().result()
        yield from (one.result() for one in sending)


def _send(to: Target, upload: str, number: int, part: bytes) -> "CompletedPartTypeDef":
    put = to.s3.upload_part(
        Bucket=to.bucket, Key=to.key, UploadId=upload, PartNumber=number, Body=part
    )
    return {"PartNumber": number, "ETag": put["ETag"]}
