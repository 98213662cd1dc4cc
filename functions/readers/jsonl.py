"""JSON Lines, as files really are: BOMs, CRLF, blank lines, no last newline, records run together on one line."""

import re
from collections.abc import Generator, Iterable, Iterator, Sequence

import msgspec

from functions.model.rows import LineBlock, LinePosition, Record
from functions.model.streams import cut
from functions.readers.contract import Source
from functions.readers.cutting import cut_out
from functions.readers.text import checked_text

START = LinePosition()
RETRY_NAME = "retry.jsonl"
_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n\x00\x1a"
"""What is around records: with it what fills up a file's end, NULs and the Ctrl-Z of DOS."""
_JOINED = re.compile(rb"\}[ \t\r\x00\x1a]*+\{")
_SPACES = re.compile(rb"[ \t\r\n\x00\x1a]*+")
_MARK = re.compile(rb'["{}\[\]]')
_QUOTED = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_DEPTH = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
_value = msgspec.json.Decoder(msgspec.Raw)


def read(source: Source, position: LinePosition, row_bytes: int) -> Iterator[LineBlock | Record]:
    """Read an upload from a position on; see `contract.Reader`."""
    blocks = source.read(position.byte)
    return pieces(checked_text(blocks) if position == START else blocks, position, row_bytes)


def retry_head(_position: LinePosition) -> bytes:
    """Return nothing: a file of JSON Lines begins with a row."""
    return b""


def retry_rows(source: Source, offsets: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
    """Stream rows for retry.jsonl, each on a line of its own; see `contract.Reader`."""
    return cut_out(source, offsets, sizes, b"\n")


def records(blocks: Iterable[bytes], position: LinePosition, row_bytes: int) -> Iterator[Record]:
    """Read an upload one record at a time: every record of `pieces`."""
    for piece in pieces(blocks, position, row_bytes):
        yield from records_of(piece, row_bytes) if isinstance(piece, LineBlock) else (piece,)


def pieces(
    blocks: Iterable[bytes], place: LinePosition, row_bytes: int
) -> Iterator[LineBlock | Record]:
    """Read an upload in file order, the same rows however it comes in blocks.

    Args:
        blocks: the upload's bytes from ``place.byte`` on, in blocks of any size.
        place: where the blocks begin; ``LinePosition()`` for the whole upload.
        row_bytes: how long a row may be; of a longer one only the place and size are told, and memory
            stays below a few times this.

    Yields:
        Lines that end within some hundred kilobytes, as they are; of a longer line, its records.
    """
    held, long = bytearray(), None
    for block in cut(blocks):
        whole, feed, rest = block.rpartition(b"\n")
        if feed:
            text, held = b"".join((held, whole)), bytearray()
            place = yield from _whole_lines(text, place, long)
            long = None
        if long is None and len(held) + len(rest) > row_bytes:
            rest, place = _past_bom(b"".join((held, rest)), place)
            held, long = bytearray(), _LongLine(place, row_bytes)
        if long is None:
            held += rest
        else:
            yield from long.take(rest)
    yield from _rest(bytes(held), place) if long is None else long.last(b"")


def _rest(held: bytes, place: LinePosition) -> Iterator[LineBlock]:
    """Give what no line feed ends."""
    if held:
        yield LineBlock(held, place, [])


def _whole_lines(
    text: bytes, place: LinePosition, long: "_LongLine | None"
) -> Generator[LineBlock | Record, None, LinePosition]:
    """Give whole lines, the first perhaps the end of a long one; returns where the next begins."""
    feed = b"\n"
    if long is not None:
        first, feed, text = text.partition(b"\n")
        yield from long.last(first)
        place = long.position.next_line()
    if not feed:
        return place
    lines = LineBlock(text, place, _feeds(text))
    yield lines
    return LinePosition(place.byte + len(text) + 1, place.line + len(lines.breaks) + 1)


def _feeds(text: bytes) -> list[int]:
    """Find the line feeds; by `find`, for a regular expression takes five times as long."""
    find, at, found = text.find, -1, list[int]()
    while (at := find(b"\n", at + 1)) >= 0:
        found.append(at)
    return found


def records_of(lines: LineBlock, row_bytes: int) -> Iterator[Record]:
    """Cut lines into records: every one that is not white space; whether it is JSON is not checked here."""
    place = lines.position
    for line in lines.text.split(b"\n"):
        yield from _records(line, place, row_bytes)
        place = place.advance_bytes(len(line)).next_line()


def _past_bom(text: bytes, place: LinePosition) -> tuple[bytes, LinePosition]:
    """Pass over the mark at the front of a line: files that begin with one are put together."""
    while place.column == 0 and text.startswith(_BOM):
        text, place = text[len(_BOM) :], LinePosition(place.byte + len(_BOM), place.line)
    return text, place


def _records(line: bytes, place: LinePosition, row_bytes: int) -> Iterator[Record]:
    """Cut a line into its records: nearly always one."""
    line, place = _past_bom(line, place)
    if _JOINED.search(line) is not None and not _whole(line):
        yield from _LongLine(place, row_bytes).last(line)
        return
    data = line.strip(_SPACE)
    if data:
        at = place.advance_bytes(len(line) - len(line.lstrip(_SPACE)))
        told = data if len(data) <= row_bytes else None
        yield Record(
            at.line, at.column + 1, at.byte, len(data), told, place.advance_bytes(len(line))
        )


def _whole(line: bytes) -> bool:
    try:
        _value.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


class _LongLine:
    """A line of more than one record, or longer than a row may be, as its bytes come.

    Attributes:
        position: where the next byte stands.
    """

    def __init__(self, place: LinePosition, row_bytes: int) -> None:
        self.position = place
        self._row_bytes = row_bytes
        self._objects = _Objects()
        self._begin: LinePosition | None = None
        self._size = 0
        self._data = bytearray()

    def take(self, text: bytes) -> Iterator[Record]:
        """Take more of the line; gives the records that end in it."""
        done = 0
        for start in self._objects.starts(text):
            self._add(text[done:start])
            yield from self._ended()
            done = start
        self._add(text[done:])

    def last(self, text: bytes) -> Iterator[Record]:
        """Take the rest of the line."""
        yield from self.take(text)
        yield from self._ended()

    def _add(self, text: bytes) -> None:
        blank = len(text) - len(text.lstrip(_SPACE)) if self._begin is None else 0
        if self._begin is None and blank < len(text):
            self._begin = self.position.advance_bytes(blank)
        if self._begin is not None:
            content = len(text.rstrip(_SPACE))
            if content:
                self._size = self.position.byte + content - self._begin.byte
            if len(self._data) <= self._row_bytes:
                self._data += text[blank:]
        self.position = self.position.advance_bytes(len(text))

    def _ended(self) -> Iterable[Record]:
        begin, size, data = self._begin, self._size, self._data
        self._begin, self._size, self._data = None, 0, bytearray()
        if begin is None:
            return ()
        told = bytes(data[:size]) if size <= self._row_bytes else None
        return (Record(begin.line, begin.column + 1, begin.byte, size, told, self.position),)


class _Objects:
    """Finds where objects begin that stand whole and side by side, from the front of a line on."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = self._escaped = self._over = False

    def starts(self, text: bytes) -> Iterator[int]:
        """Give the offset of each opening brace in this next piece of the line."""
        at = 0
        while at < len(text) and not self._over:
            if self._quoted:
                at = self._through_string(text, at)
            elif self._depth:
                at = self._through_object(text, at)
            else:
                at = _end(_SPACES, text, at)
                if text[at : at + 1] == b"{":
                    yield at
                    self._depth, at = 1, at + 1
                else:
                    self._over = at < len(text)

    def _through_string(self, text: bytes, at: int) -> int:
        at = _end(_QUOTED, text, at + self._escaped)
        self._escaped = text[at : at + 1] == b"\\"  # the last byte of this piece
        self._quoted = self._escaped or at >= len(text)
        return at + 1

    def _through_object(self, text: bytes, at: int) -> int:
        mark = _MARK.search(text, at)
        if mark is None:
            return len(text)
        self._quoted = mark[0] == b'"'
        self._depth += _DEPTH.get(mark[0], 0)
        self._over = self._depth == 0 and mark[0] != b"}"
        return mark.end()


def _end(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()
