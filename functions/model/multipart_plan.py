"""Plan how several S3 objects become one, under S3's multipart limits. No I/O.

Source of the limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, reduce
from itertools import pairwise

from functions.model.items.stored_objects import StoredObject

MIB, GIB = 1 << 20, 1 << 30
MIN_PART_BYTES = 5 * MIB
MAX_PART_BYTES = 5 * GIB
MAX_PARTS = 10_000
COPIED_PART_BYTES = 256 * MIB
"""Bytes of a copied part. S3 allows 5 GiB, but the SDK's read timeout is 60 s; this much copies in seconds."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range of one object: `size` bytes from the offset `start`."""

    key: str
    start: int
    size: int


@dataclass(frozen=True)
class UploadPart:
    """One part of the joined object: one large range that S3 copies, or small ones read into memory."""

    ranges: tuple[ByteRange, ...]
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", sum(byte_range.size for byte_range in self.ranges))

    @property
    def can_be_copied(self) -> bool:
        """Whether S3 can copy the part without a download."""
        return len(self.ranges) == 1 and self.size >= MIN_PART_BYTES


def join_plan(pieces: Sequence[StoredObject]) -> list[UploadPart]:
    """Plan the parts of a multipart upload that concatenates the pieces.

    Every part but the last is 5 MiB to 5 GiB. S3 copies large pieces, in parts of 256 MiB. The parts are larger
    if 10,000 would not suffice. Small pieces are read into memory and combined. A combined part under 5 MiB is
    filled up from the large piece after it. Most combined parts are under 10 MiB.

    Raises:
        ValueError: more than 10,000 parts; join groups of pieces first.
    """
    parts = [UploadPart(ranges) for ranges in _part_ranges(pieces, _copied_part_bytes(pieces))]
    if len(parts) > MAX_PARTS:
        message = f"{len(parts):,} parts exceed S3's limit of {MAX_PARTS:,}"
        raise ValueError(message)
    return parts


def _copied_part_bytes(pieces: Sequence[StoredObject]) -> int:
    """Return the largest size of a copied part, in bytes."""
    max_part = COPIED_PART_BYTES
    while (
        max_part < MAX_PART_BYTES
        and sum(_part_count(piece, max_part) for piece in pieces) > MAX_PARTS
    ):
        max_part *= 2
    return min(max_part, MAX_PART_BYTES)


def _part_count(piece: StoredObject, max_part: int) -> int:
    """Return an upper bound of the parts that a piece adds to a join."""
    return max(1, -(-piece.size // max_part))


def _part_ranges(pieces: Sequence[StoredObject], max_part: int) -> Iterator[tuple[ByteRange, ...]]:
    run = _Run()
    for piece in pieces:
        byte_range = _fill_run(run, ByteRange(piece.key, 0, piece.size))
        if run.size >= MIN_PART_BYTES:
            yield tuple(run.ranges)
            run = _Run()
        if byte_range.size >= MIN_PART_BYTES:
            yield from ((cut,) for cut in _split(byte_range, max_part))
        elif byte_range.size:
            run.add(byte_range)
    if run.ranges:
        yield tuple(run.ranges)


@dataclass
class _Run:
    """Small ranges that form one part together."""

    ranges: list[ByteRange] = field(default_factory=list)
    size: int = 0

    def add(self, byte_range: ByteRange) -> None:
        self.ranges.append(byte_range)
        self.size += byte_range.size


def _fill_run(run: _Run, byte_range: ByteRange) -> ByteRange:
    """Fill the run up to a valid part from this range. Return the rest of the range."""
    if not run.ranges:
        return byte_range
    taken = min(MIN_PART_BYTES - run.size, byte_range.size)
    if 0 < byte_range.size - taken < MIN_PART_BYTES:
        taken = min(byte_range.size, MIN_PART_BYTES * 2)
    if taken:
        run.add(ByteRange(byte_range.key, byte_range.start, taken))
    return ByteRange(byte_range.key, byte_range.start + taken, byte_range.size - taken)


def _split(byte_range: ByteRange, max_part: int) -> list[ByteRange]:
    """Cut a range into near-equal ranges of at most `max_part` bytes."""
    count = -(-byte_range.size // max_part)
    edges = [byte_range.size * cut // count for cut in range(count + 1)]
    return [
        ByteRange(byte_range.key, byte_range.start + low, high - low)
        for low, high in pairwise(edges)
    ]


def groups(pieces: Sequence[StoredObject]) -> list[Sequence[StoredObject]]:
    """Divide the pieces into groups that can each be joined in one multipart upload."""
    edges, parts = [0], 0
    for index, piece in enumerate(pieces):
        needed = _part_count(piece, MAX_PART_BYTES)
        if parts + needed > MAX_PARTS:
            edges.append(index)
            parts = 0
        parts += needed
    return [pieces[low:high] for low, high in pairwise([*edges, len(pieces)]) if low < high]


def joined_crc32(pieces: Sequence[StoredObject]) -> int:
    """Return the CRC-32 of the concatenated pieces, computed from their own."""
    return reduce(lambda crc, piece: crc32_combine(crc, piece.crc32, piece.size), pieces, 0)


def crc32_combine(first: int, second: int, second_size: int) -> int:
    """Return the CRC-32 of two concatenated strings, from both CRCs and the second string's length in bytes.

    Appending a zero byte is a linear map of the CRC, so squaring gives its powers. zlib's ``crc32_combine``
    does the same, but Python does not expose it.
    """
    for power in range(second_size.bit_length()):
        if second_size >> power & 1:
            first = _apply(_zero_bytes_matrix(power), first)
    return first ^ second


@cache
def _zero_bytes_matrix(power: int) -> list[int]:
    """Return the matrix that appends ``2**power`` zero bytes to a CRC."""
    if power > 0:
        return _square(_zero_bytes_matrix(power - 1))
    step = [0xEDB88320, *(1 << bit for bit in range(31))]
    return _square(_square(_square(step)))


def _apply(matrix: list[int], vector: int) -> int:
    return reduce(
        lambda total, bit: total ^ matrix[bit] if vector >> bit & 1 else total, range(32), 0
    )


def _square(matrix: list[int]) -> list[int]:
    return [_apply(matrix, column) for column in matrix]
