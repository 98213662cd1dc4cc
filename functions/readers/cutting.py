"""Rows of an upload, cut out by their offsets, byte for byte."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from functions.errors import ObjectUnreadableError
from functions.readers.contract import Source

GAP = 1 << 20
"""Rows that lie closer than this, in bytes, are read in one request: its price is that of reading so much."""


def cut_out(
    source: Source, offsets: Sequence[int], sizes: Sequence[int], line_end: bytes
) -> Iterator[bytes]:
    r"""Read rows of an upload, each followed by a line end.

    Args:
        source: the upload.
        offsets: the offset of each row in bytes, in order.
        sizes: the length of each row in bytes.
        line_end: ``b"\n"`` or ``b"\r\n"``.

    Raises:
        ObjectUnreadableError: S3 refuses the upload, or it is shorter than it was.
    """
    for run in _runs(offsets, sizes):
        stop = offsets[run.stop - 1] + sizes[run.stop - 1]
        blocks = chain(source.read(offsets[run.start], stop), _too_short(source))
        rows = ((offsets[row], sizes[row]) for row in run)
        yield from _cut(blocks, offsets[run.start], rows, line_end)


def _too_short(source: Source) -> Iterator[bytes]:
    """Follow the last block: reading on means that bytes are gone, as where an object without versions was replaced."""
    raise ObjectUnreadableError(
        source.uri, "is shorter than it was: another was uploaded in its place"
    )
    yield


def _runs(offsets: Sequence[int], sizes: Sequence[int]) -> Iterator[range]:
    """Group rows that lie near one another, by their indices."""
    first = 0
    for row in range(1, len(offsets)):
        if offsets[row] - (offsets[row - 1] + sizes[row - 1]) > GAP:
            yield range(first, row)
            first = row
    if offsets:
        yield range(first, len(offsets))


def _cut(
    blocks: Iterator[bytes], start: int, rows: Iterable[tuple[int, int]], line_end: bytes
) -> Iterator[bytes]:
    """Cut rows out of a stream that begins at `start`; a row longer than a block passes in pieces."""
    held = b""
    for offset, size in rows:
        while offset > start + len(held):
            start, held = start + len(held), next(blocks)
        held, start = held[offset - start :], offset
        left = size
        while left > len(held):
            yield held
            left, start, held = left - len(held), start + len(held), next(blocks)
        yield held[:left] + line_end
        held, start = held[left:], start + left
