"""How many objects become one, under S3's rules: a plan, without a byte moved.

Source of the rules: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
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
"""A part of this length is copied within seconds, while the SDK waits 60 for an answer; S3 would take up to 5 GiB."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range of one object: `size` bytes from `start` on."""

    key: str
    start: int
    size: int


@dataclass(frozen=True)
class UploadPart:
    """One part of the joined object: one large span that S3 copies, or small ones that go through memory."""

    ranges: tuple[ByteRange, ...]
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", sum(span.size for span in self.ranges))

    @property
    def copied(self) -> bool:
        """Whether S3 can copy it by itself."""
        return len(self.ranges) == 1 and self.size >= MIN_PART


def join_plan(pieces: Sequence[StoredObject]) -> list[UploadPart]:
    """Plan the parts of a multipart upload that puts the pieces one after the other.

    Every part but the last is 5 MiB to 5 GiB. A large piece is copied by S3, in parts of 256 MiB, or of more where
    there would be too many of them; a run of small ones goes through memory, and where it is shorter than a part may be, it takes what it lacks from the large piece
    behind it. Most parts that need memory are under 10 MiB.

    Raises:
        ValueError: more than 10,000 parts; join groups of pieces first.
    """
    parts = [UploadPart(spans) for spans in _parts(pieces, _copied(pieces))]
    if len(parts) > MAX_PARTS:
        message = f"{len(parts):,} parts, and S3 joins {MAX_PARTS:,} at the most"
        raise ValueError(message)
    return parts


def _copied(pieces: Sequence[StoredObject]) -> int:
    """Choose how long a copied part may be."""
    most = COPIED
    while most < MAX_PART and sum(_needed(piece, most) for piece in pieces) > MAX_PARTS:
        most *= 2
    return min(most, MAX_PART)


def _needed(piece: StoredObject, most: int) -> int:
    """Count the parts that a piece can add to a join."""
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
    """Small spans that make one part together."""

    spans: list[ByteRange] = field(default_factory=list)
    size: int = 0

    def add(self, span: ByteRange) -> None:
        self.spans.append(span)
        self.size += span.size


def _fill(run: _Run, span: ByteRange) -> ByteRange:
    """Move to the small ones what they lack to make a part; give what is left of the span."""
    if not run.spans:
        return span
    taken = min(MIN_PART - run.size, span.size)
    if 0 < span.size - taken < MIN_PART:
        taken = min(span.size, MIN_PART * 2)
    if taken:
        run.add(ByteRange(span.key, span.start, taken))
    return ByteRange(span.key, span.start + taken, span.size - taken)


def _cut(span: ByteRange, most: int) -> list[ByteRange]:
    """Cut a span into near-equal ones, none longer than `most`."""
    count = -(-span.size // most)
    edges = [span.size * cut // count for cut in range(count + 1)]
    return [ByteRange(span.key, span.start + low, high - low) for low, high in pairwise(edges)]


def groups(pieces: Sequence[StoredObject]) -> list[Sequence[StoredObject]]:
    """Cut a list of pieces that is too long for one join into lists that are not."""
    edges, parts = [0], 0
    for at, piece in enumerate(pieces):
        needed = _needed(piece, MAX_PART)
        if parts + needed > MAX_PARTS:
            edges.append(at)
            parts = 0
        parts += needed
    return [pieces[low:high] for low, high in pairwise([*edges, len(pieces)]) if low < high]


def joined_crc32(pieces: Sequence[StoredObject]) -> int:
    """Give the CRC-32 of the pieces one after the other, from theirs alone."""
    return reduce(lambda crc, piece: crc32_combine(crc, piece.crc32, piece.size), pieces, 0)


def crc32_combine(first: int, second: int, second_size: int) -> int:
    """Give the CRC-32 of two strings put together, from theirs and the second one's length.

    To append a zero byte to a string is linear in its CRC: raised to the length by squaring (as zlib's
    ``crc32_combine``, which Python does not offer).
    """
    for power in range(second_size.bit_length()):
        if second_size >> power & 1:
            first = _times(_zeros(power), first)
    return first ^ second


@cache
def _zeros(power: int) -> list[int]:
    """Give what appending so many zero bytes does to a CRC: 2 to this power."""
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
