"""Rows of an upload: as readers find them, and as validation leaves them."""

from collections.abc import Sequence

import msgspec

_value = msgspec.json.Decoder(msgspec.Raw)
_MARGIN = 500
"""Brackets that could be put around a value that is kept, and it would still be read."""


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where a reader stands, always between two records; each reader has its own kind, and alone knows what it holds.

    Attributes:
        byte: the offset in the upload, by which people find the place; in the unit of `Record.offset`.
    """

    byte: int = 0


class LinePosition(Position, frozen=True, gc=False):
    """The position of a reader of lines.

    Attributes:
        line: the line, from 1.
        column: the bytes of that line that are read already.
    """

    line: int = 1
    column: int = 0

    def advance_bytes(self, count: int) -> "LinePosition":
        """Return the position this many bytes further on the same line."""
        return LinePosition(self.byte + count, self.line, self.column + count)

    def next_line(self) -> "LinePosition":
        """Return the position behind the line feed that stands here."""
        return LinePosition(self.byte + 1, self.line + 1)


class Record(msgspec.Struct, frozen=True, gc=False):
    """The bytes of one row, without the white space around them.

    Attributes:
        line: the line it begins on, from 1.
        column: the byte of that line it begins at, from 1.
        offset: its offset in the upload, in bytes.
        size: its length in bytes.
        data: the bytes; None where it is longer than a row may be.
        end: where the next record may begin.
    """

    line: int
    column: int
    offset: int
    size: int
    data: bytes | None
    end: Position


class LineBlock(msgspec.Struct, frozen=True):
    """Whole lines, one after the other, not cut into records yet: nearly all can be checked at once.

    Attributes:
        text: the lines, without the last one's line feed.
        position: where the first begins.
        breaks: where in the text the line feeds are.
    """

    text: bytes
    position: LinePosition
    breaks: list[int]

    def split(self) -> "tuple[LineBlock, LineBlock]":
        """Give the first and the second half of two lines or more."""
        middle = len(self.breaks) // 2
        cut = self.breaks[middle] + 1
        place = LinePosition(self.position.byte + cut, self.position.line + middle + 1)
        later = [at - cut for at in self.breaks[middle + 1 :]]
        return (
            LineBlock(self.text[: cut - 1], self.position, self.breaks[:middle]),
            LineBlock(self.text[cut:], place, later),
        )


class Rejection(msgspec.Struct, frozen=True):
    """Why a row was never sent: a code for programs, a sentence for people, the line of the upload."""

    code: str
    message: str
    line: int


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row: what is sent for it, or why nothing is.

    Attributes:
        custom_id: the user's own, as the JSON that stood in the upload; ``null`` where there is none.
        params: the JSON that stood in the upload, byte for byte; None for a rejected row.
        rejection: None for a row that can be sent.
    """

    custom_id: msgspec.Raw
    params: bytes | None
    rejection: Rejection | None


class ValidRows(msgspec.Struct, frozen=True):
    """Rows that can be sent, each alone on its line and on the lines one after the other.

    Attributes:
        line: that of the first.
        offsets: the offset of each in the upload, in bytes; `sizes` are their lengths.
        custom_ids: the users' own, as JSON.
        params: what is sent, as JSON.
        ending: bytes between a row and its line feed.
    """

    line: int
    offsets: list[int]
    sizes: list[int]
    custom_ids: list[msgspec.Raw]
    params: list[msgspec.Raw]
    ending: int

    @property
    def end(self) -> LinePosition:
        """Where the next record may begin."""
        size = self.sizes[-1] + self.ending
        return LinePosition(self.offsets[-1] + size, self.line + len(self.offsets) - 1, size)

    def cut(self, count: int) -> "tuple[ValidRows, ValidRows]":
        """Give the first so many, and the others."""
        first = self._slice(slice(count), self.line)
        return first, self._slice(slice(count, None), self.line + count)

    def _slice(self, rows: slice, line: int) -> "ValidRows":
        return ValidRows(
            line, self.offsets[rows], self.sizes[rows], self.custom_ids[rows], self.params[rows], self.ending
        )  # fmt: skip


def can_be_reparsed(values: Sequence[bytes | msgspec.Raw]) -> bool:
    """Whether JSON that was read can surely be read again, from a deeper stack than here."""
    try:
        _value.decode(b"[" * _MARGIN + b",".join(values) + b"]" * _MARGIN)
    except RecursionError:
        return False
    return True
