"""What readers find in an upload: records one by one, or whole lines that are still to be looked at."""

import msgspec


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where a reader stands, always between two records.

    Attributes:
        byte: the offset in the upload.
        line: the line, from 1.
        column: the bytes of that line that are read already.
    """

    byte: int = 0
    line: int = 1
    column: int = 0

    def advance_bytes(self, count: int) -> "Position":
        """Give the place this many bytes further on the same line."""
        return Position(self.byte + count, self.line, self.column + count)

    def next_line(self) -> "Position":
        """Give the place behind the line feed that stands here."""
        return Position(self.byte + 1, self.line + 1)


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
    position: Position
    breaks: list[int]

    def split(self) -> "tuple[LineBlock, LineBlock]":
        """Give the first and the second half of two lines or more."""
        middle = len(self.breaks) // 2
        cut = self.breaks[middle] + 1
        place = Position(self.position.byte + cut, self.position.line + middle + 1)
        later = [at - cut for at in self.breaks[middle + 1 :]]
        return (
            LineBlock(self.text[: cut - 1], self.position, self.breaks[:middle]),
            LineBlock(self.text[cut:], place, later),
        )
