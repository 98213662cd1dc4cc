"""Cut rows out of an upload by their offsets, byte for byte."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from functions.errors import ObjectUnreadableError
from functions.readers.contract import Source

GAP = 1 << 20
"""Rows with smaller gaps, in bytes, share one request. A request takes about as long as reading this much."""


def read_rows(
    source: Source, offsets: Sequence[int], sizes: Sequence[int], line_end: bytes
) -> Iterator[bytes]:
    r"""Read rows of an upload, each followed by a line end.

    Args:
        source: the upload.
        offsets: the offset of each row in bytes, in order.
        sizes: the length of each row in bytes.
        line_end: ``b"\n"`` or ``b"\r\n"``.

    Raises:
        ObjectUnreadableError: S3 refuses the upload, or it is shorter than when it was planned.
    """
    everything = [range(len(offsets))] if offsets else []
    for run in _group_nearby(offsets, sizes) if source.seekable else everything:
        stop = offsets[run.stop - 1] + sizes[run.stop - 1]
        blocks = chain(source.read(offsets[run.start], stop), _raise_too_short(source))
        rows = ((offsets[row], sizes[row]) for row in run)
        yield from _cut_rows(blocks, offsets[run.start], rows, line_end)


def _raise_too_short(source: Source) -> Iterator[bytes]:
    """Raise when read. Placed after the last block, because a row that ends beyond it is missing bytes.

    A bucket without versioning allows this: a shorter object can replace the upload.
    """
    raise ObjectUnreadableError(
        source.uri, "is shorter than it was when it was planned; a new upload replaced it"
    )
    yield


def _group_nearby(offsets: Sequence[int], sizes: Sequence[int]) -> Iterator[range]:
    """Group the indices of rows that are at most `GAP` bytes apart."""
    first = 0
    for row in range(1, len(offsets)):
        if offsets[row] - (offsets[row - 1] + sizes[row - 1]) > GAP:
            yield range(first, row)
            first = row
    if offsets:
        yield range(first, len(offsets))


def _cut_rows(
    blocks: Iterator[bytes], start: int, rows: Iterable[tuple[int, int]], line_end: bytes
) -> Iterator[bytes]:
    """Cut rows out of a stream that begins at `start`. A row longer than a block is yielded in pieces."""
    buffer = b""
    for offset, size in rows:
        while offset > start + len(buffer):
            start, buffer = start + len(buffer), next(blocks)
        buffer, start = buffer[offset - start :], offset
        left = size
        while left > len(buffer):
            yield buffer
            left, start, buffer = left - len(buffer), start + len(buffer), next(blocks)
        yield buffer[:left] + line_end
        buffer, start = buffer[left:], start + left
