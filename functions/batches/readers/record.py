"""One record of an upload, as a reader finds it."""

import msgspec


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a reader stands, always between two records.

    Attributes:
        byte: the offset in the upload.
        line: the line, from 1.
        column: the bytes of that line that are read already.
    """

    byte: int = 0
    line: int = 1
    column: int = 0

    def along(self, count: int) -> "Place":
        """Give the place this many bytes further on the same line."""
        return Place(self.byte + count, self.line, self.column + count)

    def next_line(self) -> "Place":
        """Give the place behind the line feed that stands here."""
        return Place(self.byte + 1, self.line + 1)


class Record(msgspec.Struct, frozen=True, gc=False):
    """The bytes of one row, without the white space around them.

    Attributes:
        line: the line it begins on, from 1.
        column: the byte of that line it begins at, from 1.
        at: its offset in the upload, in bytes.
        size: its length in bytes.
        data: the bytes; None where it is longer than a row may be.
        end: where the next record may begin.
    """

    line: int
    column: int
    at: int
    size: int
    data: bytes | None
    end: Place
