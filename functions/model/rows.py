"""The rows of an upload, as readers return them and as validation leaves them."""

import msgspec


class Position(msgspec.Struct, frozen=True, gc=False):
    """A reader's position between two records. Each reader has its own subclass and interprets it alone.

    Attributes:
        byte: the offset in the upload, in the unit of `Record.offset`.
    """

    byte: int = 0


class LinePosition(Position, frozen=True, gc=False):
    """The position of a reader of lines.

    Attributes:
        line: the line, from 1.
        column: the bytes of that line that have been read.
    """

    line: int = 1
    column: int = 0

    def advance_bytes(self, count: int) -> "LinePosition":
        """Return the position this many bytes further on the same line."""
        return LinePosition(self.byte + count, self.line, self.column + count)

    def next_line(self) -> "LinePosition":
        """Return the position after the line feed at this position."""
        return LinePosition(self.byte + 1, self.line + 1)


class Record(msgspec.Struct, frozen=True, gc=False):
    """The bytes of one row, without surrounding white space.

    Attributes:
        line: the line where it begins, from 1.
        column: the byte of that line where it begins, from 1.
        offset: its offset in the upload, in bytes.
        size: its length in bytes.
        data: the bytes; None if it is longer than a row may be. With a fault: the members that are certain, or None.
        end: the position where the next record may begin.
        fault: why the row cannot be sent, if its reader already knows: a rejection code and a sentence. None for a row
            that validation must judge.
    """

    line: int
    column: int
    offset: int
    size: int
    data: bytes | None
    end: Position
    fault: tuple[str, str] | None = None


class LineBlock(msgspec.Struct, frozen=True):
    """Consecutive whole lines, not yet cut into records, so that most can be validated at once.

    Attributes:
        text: the lines, without the last line feed.
        position: the position of the first line.
        breaks: the offsets of the line feeds in `text`.
    """

    text: bytes
    position: LinePosition
    breaks: list[int]

    def split(self) -> "tuple[LineBlock, LineBlock]":
        """Return both halves of a block of two lines or more."""
        middle = len(self.breaks) // 2
        cut = self.breaks[middle] + 1
        position = LinePosition(self.position.byte + cut, self.position.line + middle + 1)
        breaks = [offset - cut for offset in self.breaks[middle + 1 :]]
        return (
            LineBlock(self.text[: cut - 1], self.position, self.breaks[:middle]),
            LineBlock(self.text[cut:], position, breaks),
        )


class Rejection(msgspec.Struct, frozen=True):
    """Why a row was never sent: a code for programs, a sentence for people, and the upload's line."""

    code: str
    message: str
    line: int


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row: what is sent for it, or why nothing is sent.

    Attributes:
        custom_id: the user's custom_id as the upload's JSON; ``null`` if there is none.
        params: the upload's JSON, byte for byte, unless the row is translated; None for a rejected row.
        rejection: None for a row that can be sent.
        betas: values of `anthropic-beta` that this row needs besides those of its job, sorted.
        changes: the fields that its translation dropped or changed.
        warmup_prefix: the prefix that it puts into the cache for other rows; None for none.
        own_params: the params before a warm-up changed them; None if they are unchanged.
    """

    custom_id: msgspec.Raw
    params: bytes | None
    rejection: Rejection | None
    betas: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    warmup_prefix: str | None = None
    own_params: bytes | None = None


class ValidRows(msgspec.Struct, frozen=True):
    """Rows that can be sent, on consecutive lines, one row per line.

    Attributes:
        line: the line of the first row, from 1.
        offsets: the offset of each row in the upload, in bytes.
        sizes: the length of each row, in bytes.
        custom_ids: the users' custom_ids, as JSON.
        params: the params, as JSON.
        models: their models.
        max_tokens: their `max_tokens`.
        ending: the bytes between a row and its line feed.
    """

    line: int
    offsets: list[int]
    sizes: list[int]
    custom_ids: list[msgspec.Raw]
    params: list[msgspec.Raw]
    models: list[str]
    max_tokens: list[int]
    ending: int

    @property
    def end(self) -> LinePosition:
        """The position where the next record may begin."""
        size = self.sizes[-1] + self.ending
        return LinePosition(self.offsets[-1] + size, self.line + len(self.offsets) - 1, size)

    def cut(self, count: int) -> "tuple[ValidRows, ValidRows]":
        """Return the first `count` rows, and the others."""
        first = self._slice(slice(count), self.line)
        return first, self._slice(slice(count, None), self.line + count)

    def _slice(self, rows: slice, line: int) -> "ValidRows":
        return ValidRows(
            line, self.offsets[rows], self.sizes[rows], self.custom_ids[rows], self.params[rows],
            self.models[rows], self.max_tokens[rows], self.ending,
        )  # fmt: skip
