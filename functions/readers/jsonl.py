"""Read JSON Lines as found in practice.

Accept byte order marks, CRLF, blank lines, a missing last line feed, and several records on one line.
"""

import re
from collections.abc import Generator, Iterable, Iterator, Sequence

import msgspec

from functions.model.rows import LineBlock, LinePosition, Record
from functions.model.streams import cut
from functions.readers.brackets import BracketScanner, match_end
from functions.readers.contract import Source
from functions.readers.cutting import read_rows
from functions.readers.text import checked_text

START = LinePosition()
RETRY_NAME = "retry.jsonl"
_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n\x00\x1a"
"""Bytes around records: white space, and the NULs or DOS Ctrl-Z that pad the end of a file."""
_ADJACENT_OBJECTS = re.compile(rb"\}[ \t\r\x00\x1a]*+\{")
_SPACES = re.compile(rb"[ \t\r\n\x00\x1a]*+")
_decoder = msgspec.json.Decoder(msgspec.Raw)


def read(source: Source, position: LinePosition, row_bytes: int) -> Iterator[LineBlock | Record]:
    """Read an upload from a position on; see `contract.Reader`."""
    blocks = source.read(position.byte)
    return pieces(checked_text(blocks) if position == START else blocks, position, row_bytes)


def columns(_position: LinePosition) -> Sequence[str]:
    """Return no columns: JSON Lines has no header."""
    return ()


def retry_head(_position: LinePosition) -> bytes:
    """Return no bytes: JSON Lines has no header."""
    return b""


def retry_rows(source: Source, offsets: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
    """Stream rows for retry.jsonl, one per line; see `contract.Reader`."""
    return read_rows(source, offsets, sizes, b"\n")


def records(blocks: Iterable[bytes], position: LinePosition, row_bytes: int) -> Iterator[Record]:
    """Read an upload one record at a time. The arguments are those of `pieces`."""
    for piece in pieces(blocks, position, row_bytes):
        yield from split_records(piece, row_bytes) if isinstance(piece, LineBlock) else (piece,)


def pieces(
    blocks: Iterable[bytes], position: LinePosition, row_bytes: int
) -> Iterator[LineBlock | Record]:
    """Read an upload in file order. The size of the blocks does not change the rows.

    Args:
        blocks: the upload's bytes from ``position.byte`` on, in blocks of any size.
        position: where the blocks begin; ``LinePosition()`` for the whole upload.
        row_bytes: the maximum length of a row in bytes. A longer row has ``data=None``, so that memory stays
            below a few times this length.

    Yields:
        A `LineBlock` for lines that end within a few hundred kilobytes; the records of a longer line.
    """
    buffer, long_line = bytearray(), None
    for block in cut(blocks):
        complete, feed, rest = block.rpartition(b"\n")
        if feed:
            text, buffer = b"".join((buffer, complete)), bytearray()
            position = yield from _complete_lines(text, position, long_line)
            long_line = None
        if long_line is None and len(buffer) + len(rest) > row_bytes:
            rest, position = _skip_bom(b"".join((buffer, rest)), position)
            buffer = bytearray()
            if not _BOM.startswith(rest):  # the rest of a byte order mark may follow
                long_line = _LongLine(position, row_bytes)
        if long_line is None:
            buffer += rest
        else:
            yield from long_line.feed(rest)
    yield from _last_line(bytes(buffer), position) if long_line is None else long_line.finish(b"")


def _last_line(text: bytes, position: LinePosition) -> Iterator[LineBlock]:
    """Yield the text after the last line feed, if there is any."""
    if text:
        yield LineBlock(text, position, [])


def _complete_lines(
    text: bytes, position: LinePosition, long_line: "_LongLine | None"
) -> Generator[LineBlock | Record, None, LinePosition]:
    """Yield complete lines. Return the position of the next line.

    Args:
        text: the lines, without the last one's line feed.
        position: where the text begins.
        long_line: the line that the first line of the text ends; None if the first line is new.
    """
    feed = b"\n"
    if long_line is not None:
        line_end, feed, text = text.partition(b"\n")
        yield from long_line.finish(line_end)
        position = long_line.position.next_line()
    if not feed:
        return position
    lines = LineBlock(text, position, _line_feeds(text))
    yield lines
    return LinePosition(position.byte + len(text) + 1, position.line + len(lines.breaks) + 1)


def _line_feeds(text: bytes) -> list[int]:
    """Return the offsets of the line feeds. `find` is five times as fast as a regular expression."""
    find, offset, offsets = text.find, -1, list[int]()
    while (offset := find(b"\n", offset + 1)) >= 0:
        offsets.append(offset)
    return offsets


def split_records(lines: LineBlock, row_bytes: int) -> Iterator[Record]:
    """Cut lines into records. A line of white space has none. The JSON is not validated here."""
    position = lines.position
    for line in lines.text.split(b"\n"):
        yield from _records_of_line(line, position, row_bytes)
        position = position.advance_bytes(len(line)).next_line()


def _skip_bom(text: bytes, position: LinePosition) -> tuple[bytes, LinePosition]:
    """Skip byte order marks at the front of any line, because concatenated files have them there."""
    while position.column == 0 and text.startswith(_BOM):
        text, position = text[len(_BOM) :], LinePosition(position.byte + len(_BOM), position.line)
    return text, position


def _records_of_line(line: bytes, position: LinePosition, row_bytes: int) -> Iterator[Record]:
    """Cut a line into its records, nearly always one."""
    line, position = _skip_bom(line, position)
    if _ADJACENT_OBJECTS.search(line) is not None and not _is_one_value(line):
        yield from _LongLine(position, row_bytes).finish(line)
        return
    data = line.strip(_SPACE)
    if data:
        start = position.advance_bytes(len(line) - len(line.lstrip(_SPACE)))
        end = position.advance_bytes(len(line))
        kept = data if len(data) <= row_bytes else None
        yield Record(start.line, start.column + 1, start.byte, len(data), kept, end)


def _is_one_value(line: bytes) -> bool:
    try:
        _decoder.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


class _LongLine:
    """Cuts a line into records as its bytes arrive, for long lines and lines of several records.

    Attributes:
        position: where the next byte belongs.
    """

    def __init__(self, position: LinePosition, row_bytes: int) -> None:
        self.position = position
        self._row_bytes = row_bytes
        self._scanner = _ObjectScanner()
        self._start: LinePosition | None = None
        self._size = 0
        self._data = bytearray()

    def feed(self, text: bytes) -> Iterator[Record]:
        """Add bytes of the line. Yield the records that end in them."""
        done = 0
        for start in self._scanner.starts(text):
            self._append(text[done:start])
            yield from self._end_record()
            done = start
        self._append(text[done:])

    def finish(self, text: bytes) -> Iterator[Record]:
        """Add the last bytes of the line. Yield the remaining records."""
        yield from self.feed(text)
        yield from self._end_record()

    def _append(self, text: bytes) -> None:
        blank = len(text) - len(text.lstrip(_SPACE)) if self._start is None else 0
        if self._start is None and blank < len(text):
            self._start = self.position.advance_bytes(blank)
        if self._start is not None:
            content = len(text.rstrip(_SPACE))
            if content:
                self._size = self.position.byte + content - self._start.byte
            if len(self._data) <= self._row_bytes:
                self._data += text[blank:]
        self.position = self.position.advance_bytes(len(text))

    def _end_record(self) -> Iterable[Record]:
        start, size, data = self._start, self._size, self._data
        self._start, self._size, self._data = None, 0, bytearray()
        if start is None:
            return ()
        kept = bytes(data[:size]) if size <= self._row_bytes else None
        return (Record(start.line, start.column + 1, start.byte, size, kept, self.position),)


class _ObjectScanner:
    """Finds where each of several adjacent objects begins, from the front of a line on.

    It stops at the first bytes that are neither an object nor white space between two objects.
    """

    def __init__(self) -> None:
        self._brackets = BracketScanner()
        self._stopped = False

    def starts(self, text: bytes) -> Iterator[int]:
        """Yield the offset of each object's opening brace in the next bytes of the line."""
        offset = 0
        while offset < len(text) and not self._stopped:
            if not self._brackets.is_open:
                offset = match_end(_SPACES, text, offset)
                if text[offset : offset + 1] != b"{":
                    self._stopped = offset < len(text)
                    continue
                yield offset
            offset = self._brackets.find_end(text, offset)
            closed = not self._brackets.is_open
            self._stopped = closed and text[offset - 1 : offset] != b"}"
