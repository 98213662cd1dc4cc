"""Plan how several S3 objects become one, under S3's multipart limits. No I/O.

Source of the limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, reduce
from itertools import pairwise

from functions.model.items import StoredObject

MIB, GIB = 1 << 20, 1 << 30
MIN_PART = 5 * MIB
MAX_PART = 5 * GIB
MAX_PARTS = 10_000
COPIED = 256 * MIB
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
        object.__setattr__(self, "size", sum(span.size for span in self.ranges))

    @property
    def copied(self) -> bool:
        """Whether S3 can copy the part without a download."""
        return len(self.ranges) == 1 and self.size >= MIN_PART


def join_plan(pieces: Sequence[StoredObject]) -> list[UploadPart]:
    """Plan the parts of a multipart upload that concatenates the pieces.

    Every part but the last is 5 MiB to 5 GiB. S3 copies large pieces, in parts of 256 MiB. The parts are larger
    if 10,000 would not suffice. Small pieces are read into memory and combined. A combined part under 5 MiB is
    filled up from the large piece behind it. Most combined parts are under 10 MiB.

    Raises:
        ValueError: more than 10,000 parts; join groups of pieces first.
    """
    parts = [UploadPart(spans) for spans in _parts(pieces, _copied(pieces))]
    if len(parts) > MAX_PARTS:
        message = f"{len(parts):,} parts, and S3 joins {MAX_PARTS:,} at the most"
        raise ValueError(message)
    return parts


def _copied(pieces: Sequence[StoredObject]) -> int:
    """Return the largest size of a copied part, in bytes."""
    most = COPIED
    while most < MAX_PART and sum(_needed(piece, most) for piece in pieces) > MAX_PARTS:
        most *= 2
    return min(most, MAX_PART)


def _needed(piece: StoredObject, most: int) -> int:
    """Return an upper bound of the parts that a piece adds to a join."""
    return max(1, -(-piece.size // most))


def _parts(pieces: Sequence[StoredObject], most: int) -> Iterator[tuple[ByteRange, ...]]:
    run = _Run()
    for piece in pieces:
        span = _fill(run, ByteRange(piece.key, 0, piece.size))
        if run.size >= MIN_PART:
            yield tuple(run.spans)
            run = _Run()
        if span.size >= MIN_PART:
            yield from ((cut,) for cut in _cut(span, most))
        elif span.size:
            run.add(span)
    if run.spans:
        yield tuple(run.spans)


@dataclass
class _Run:
    """Small ranges that form one part together."""

    spans: list[ByteRange] = field(default_factory=list)
    size: int = 0

    def add(self, span: ByteRange) -> None:
        self.spans.append(span)
        self.size += span.size


def _fill(run: _Run, span: ByteRange) -> ByteRange:
    """Fill the run up to a valid part from this range. Return the rest of the range."""
    if not run.spans:
        return span
    taken = min(MIN_PART - run.size, span.size)
    if 0 < span.size - taken < MIN_PART:
        taken = min(span.size, MIN_PART * 2)
    if taken:
        run.add(ByteRange(span.key, span.start, taken))
    return ByteRange(span.key, span.start + taken, span.size - taken)


def _cut(span: ByteRange, most: int) -> list[ByteRange]:
    """Cut a range into near-equal ranges of at most `most` bytes."""
    count = -(-span.size // most)
    edges = [span.size * cut // count for cut in range(count + 1)]
    return [ByteRange(span.key, span.start + low, high - low) for low, high in pairwise(edges)]


def groups(pieces: Sequence[StoredObject]) -> list[Sequence[StoredObject]]:
    """Divide the pieces into groups that can each be joined in one multipart upload."""
    edges, parts = [0], 0
    for at, piece in enumerate(pieces):
        needed = _needed(piece, MAX_PART)
        if parts + needed > MAX_PARTS:
            edges.append(at)
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
            first = _times(_zeros(power), first)
    return first ^ second


@cache
def _zeros(power: int) -> list[int]:
    """Return the matrix that appends ``2**power`` zero bytes to a CRC."""
    if power > 0:
        return _square(_zeros(power - 1))
    step = [0xEDB88320, *(1 << bit for bit in range(31))]
    return _square(_square(_square(step)))


def _times(matrix: list[int], vector: int) -> int:
    return reduce(
        lambda total, bit: total ^ matrix[bit] if vector >> bit & 1 else total, range(32), 0
    )


def _square(matrix: list[int]) -> list[int]:
    return [_times(matrix, column) for column in matrix]
