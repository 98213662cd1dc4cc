"""What readers find in an upload: records one by one, or whole lines that are still to be looked at."""

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


class Lines(msgspec.Struct, frozen=True):
    """Whole lines, one after the other, not cut into records yet: nearly all can be checked at once.

    Attributes:
        text: the lines, without the last one's line feed.
        place: where the first begins.
        breaks: where in the text the line feeds are.
    """

    text: bytes
    place: Place
    breaks: list[int]

    def halves(self) -> "tuple[Lines, Lines]":
        """Give the first and the second half of two lines or more."""
        middle = len(self.breaks) // 2
        cut = self.breaks[middle] + 1
        place = Place(self.place.byte + cut, self.place.line + middle + 1)
        later = [at - cut for at in self.breaks[middle + 1 :]]
        return (
            Lines(self.text[: cut - 1], self.place, self.breaks[:middle]),
            Lines(self.text[cut:], place, later),
        )
