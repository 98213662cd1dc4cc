"""Read CSV and TSV as spreadsheets and warehouses write them, in UTF-8.

Accept a byte order mark, Excel's ``sep=`` line, the delimiters ``, ; tab |``, quoted cells with doubled quotes and
line ends, and lines that end with CRLF, LF or CR. Blank lines are skipped.

Only a quote at the start of a cell opens it. In such a cell each quote is doubled, or ends the cell. A row that
breaks this rule is rejected, because a guess can join several rows into one.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from itertools import chain

from functions.errors import ObjectUnreadableError, UnreadableUploadError
from functions.model.rows import Record
from functions.model.streams import cut
from functions.readers import tables
from functions.readers.contract import Source
from functions.readers.cutting import read_rows
from functions.readers.tables import TablePosition
from functions.readers.text import HEAD_BYTES, checked_text

csv.field_size_limit(1 << 30)  # the module's own limit is 128 KiB; `row_bytes` limits rows

START = tables.START
RETRY_NAME = tables.RETRY_NAME
_LINE_END = b"\r\n"
_FRONT = re.compile(rb"(?:\xef\xbb\xbf|[ \t]*[\r\n])*+")
_SEPARATOR_LINE = re.compile(rb'"?sep=([^\w"\r\n\x80-\xff])"?(?:\r\n|\r|\n)', re.IGNORECASE)
_QUOTED = rb'"[^"]*+(?:""[^"]*+)*+"'
_CELL = rb"(?:%b)?+[^,;\t|\r\n]*+" % _QUOTED
_HEADER = re.compile(rb"(%b(?:[,;\t|]%b)*+)(?:\r\n|\r|\n)?+" % (_CELL, _CELL))
_QUOTED_NAME = re.compile(rb"(?:^|(?<=[,;\t|]))" + _QUOTED)
_QUOTED_CELL = re.compile(_QUOTED.decode())
_MAX_REPAIRED_BYTES = 32_000_000
"""The longest row of a retry file whose quotes are rewritten. No accepted row is longer."""
_MAX_CELLS = 1_000_000
"""A row with more cells is not parsed: each takes 60 bytes of memory, and no header has that many columns."""


def read(source: Source, position: TablePosition, row_bytes: int) -> Iterator[Record]:
    """Read an upload from a position on; see `contract.Reader`.

    Raises:
        UnreadableUploadError: the upload is not text, or its header does not name each column once.
    """
    blocks = source.read(position.byte)
    if position == START:
        blocks = checked_text(blocks)
        head = next(blocks, b"")
        position = _read_header(head)
        blocks = chain([head[position.byte :]], blocks)
    lines = chain.from_iterable(_lines(blocks, row_bytes))
    yield from _Rows(lines, position, row_bytes).read()


def columns(position: TablePosition) -> Sequence[str]:
    """Return the names in the header."""
    return position.columns


def retry_head(position: TablePosition) -> bytes:
    """Return the header for retry.csv; empty if the upload has none."""
    if not position.columns:
        return b""
    header = tables.csv_line(position.columns, position.delimiter)
    # A header that begins like JSON would be read as JSON again.
    if _find_delimiter(header) != position.delimiter or header.startswith((b"[", b"{")):
        header = b"sep=%b\r\n%b" % (position.delimiter.encode(), header)
    return tables.BOM.encode() + header


def retry_rows(source: Source, offsets: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
    """Stream rows for retry.csv, as they are in the upload; see `contract.Reader`.

    Only the quotes of a row with an unclosed one are rewritten, because they could reach into the next row.
    """
    if not offsets:
        return
    pieces = read_rows(source, offsets, sizes, _LINE_END)
    header = _header_of(source)
    for size in sizes:
        if size > _MAX_REPAIRED_BYTES:  # too long for a row, so it is rejected again anyway
            yield from _take(pieces, size + len(_LINE_END))
        else:
            row = b"".join(_take(pieces, size + len(_LINE_END)))
            yield _contain_quotes(row.removesuffix(_LINE_END), header) + _LINE_END


def _header_of(source: Source) -> TablePosition:
    """Return the position after the header of an upload that was planned.

    Raises:
        ObjectUnreadableError: it has no such header.
    """
    try:
        return _read_header(b"".join(source.read(0, HEAD_BYTES)))
    except UnreadableUploadError as error:
        why = "is not the table that was planned, or is shorter than it was; a new upload replaced it"
        raise ObjectUnreadableError(source.uri, why) from error


def _take(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield pieces up to this many bytes. No piece has bytes of two rows."""
    while size:
        piece = next(pieces)
        size -= len(piece)
        yield piece


def _contain_quotes(row: bytes, header: TablePosition) -> bytes:
    """Return a row whose quotes are all closed. One with an unclosed quote stays a row that is rejected.

    Such a row is one line. Its text from the unclosed quote on becomes one cell. If the row then has as many cells
    as the header, it gets another one, so that nobody pays for the beginning of a text.
    """
    if b'"' not in row or b"\n" in row or b"\r" in row:
        return row
    text = row.decode(errors="surrogateescape")
    fault = _find_unclosed(text, header.delimiter)
    if fault is None:
        return row
    number, start = fault
    rest = text[start:].replace('"', '""')
    more = header.delimiter if number == len(header.columns) else ""
    return f'{text[:start]}"{rest}"{more}'.encode(errors="surrogateescape")


def _read_header(head: bytes) -> TablePosition:
    """Return the position after the header.

    Args:
        head: the first 64 KiB of the upload, or more; all of it if it is shorter.
    """
    front = _FRONT.match(head)
    start = front.end() if front else 0
    separator = _SEPARATOR_LINE.match(head, start)
    start = separator.end() if separator else start
    header = _HEADER.match(head[start:])
    raw, size = (header[1], header.end()) if header else (b"", 0)
    delimiter = separator[1].decode() if separator else _find_delimiter(raw)
    columns = tables.check_columns(_header_cells(raw, delimiter))
    line = len(head[: start + size].splitlines()) + 1
    return TablePosition(start + size, line, columns, delimiter)


def _find_delimiter(header: bytes) -> str:
    """Return the delimiter that occurs most often outside quotes; a comma if there is none."""
    outside = _QUOTED_NAME.sub(b"", header)
    return max(",;\t|", key=lambda delimiter: outside.count(delimiter.encode()))


def _header_cells(raw: bytes, delimiter: str) -> list[str]:
    try:
        text = StringIO(raw.decode(), newline="")
        return next(csv.reader(text, delimiter=delimiter, strict=True), [])
    except UnicodeDecodeError:
        problem = "the header is not UTF-8 text; save the file as UTF-8"
    except csv.Error:
        problem = "a quote in the header is not closed; write quotes inside a quoted name twice"
    raise UnreadableUploadError(problem)


_Line = tuple[int, str | None]
"""The length of a line in bytes, and its text; None if it is longer than a row may be. Both include its line end."""


def _lines(blocks: Iterable[bytes], row_bytes: int) -> Iterator[list[_Line]]:
    """Cut an upload into lines, many at a time. The size of the blocks does not change the lines."""
    begun, dropped = bytearray(), 0  # the line whose end is still to come
    for block in cut(blocks):
        if begun.endswith(b"\r") and not block.startswith(b"\n"):
            yield _split(bytes(begun), dropped, row_bytes)
            begun, dropped = bytearray(), 0
        # A CR at the end of the block may be the first half of CRLF.
        end = max(block.rfind(b"\n"), block.rfind(b"\r", 0, len(block) - 1)) + 1
        if end:
            yield _split(b"".join((begun, block[:end])), dropped, row_bytes)
            begun, dropped = bytearray(), 0
        begun += block[end:]
        if len(begun) > row_bytes + len(_LINE_END):
            dropped += len(begun) - 1
            del begun[:-1]
    yield _split(bytes(begun), dropped, row_bytes)


def _split(text: bytes, dropped: int, row_bytes: int) -> list[_Line]:
    """Split text into lines. The first of them has lost this many bytes, because it is too long."""
    sizes = list(map(len, text.splitlines(keepends=True)))
    lines = StringIO(text.decode(errors="surrogateescape"), newline="").readlines()
    if sizes:
        sizes[0] += dropped
    return [
        (size, line if size <= row_bytes or size - _ending(line) <= row_bytes else None)
        for size, line in zip(sizes, lines, strict=True)
    ]


def _ending(line: str) -> int:
    """Return the length of a line's end."""
    return len(line) - len(line.rstrip("\r\n"))


class _Rows:
    """Joins lines into rows.

    `csv.reader` asks for one line at a time, and for another line of the same row only while a quote is open.
    """

    def __init__(self, lines: Iterator[_Line], position: TablePosition, row_bytes: int) -> None:
        self._lines, self._given_back = lines, deque[_Line]()
        self._row_bytes = row_bytes
        self._byte, self._line = position.byte, position.line
        self._columns, self._delimiter = position.columns, position.delimiter
        self._unclosed_to = position.unclosed_to
        self._row, self._size = list[str](), 0

    def read(self) -> Iterator[Record]:
        """Yield a record for each row that is not blank."""
        while (line := self._next_line()) is not None:
            size, text = line
            if text is None:
                self._row, self._size = [""], size
                yield self._end_row(None, None)
            elif self._has_too_many_cells(text):
                self._row, self._size = [text], size
                yield self._end_row(None, tables.ragged(_MAX_CELLS, len(self._columns)))
            else:
                self._given_back.appendleft(line)
                yield from self._parse()

    def _parse(self) -> Iterator[Record]:
        """Yield the rows up to a line that is too long, or up to an unclosed quote."""
        columns = len(self._columns)
        try:
            for cells in csv.reader(self._feed(), delimiter=self._delimiter, strict=True):
                if len(cells) <= 1 and self._is_blank(cells):
                    self._advance()
                elif len(cells) == columns:
                    yield self._end_row(*self._encode(cells))
                else:
                    yield self._end_row(self._known(cells[0]), tables.ragged(len(cells), columns))
        except csv.Error:
            yield self._end_unclosed()

    def _feed(self) -> Iterator[str]:
        while (line := self._next_line()) is not None:
            size, text = line
            if text is None or not self._may_follow(size, text):
                self._given_back.appendleft(line)
                return
            self._row.append(text)
            self._size += size
            yield text

    def _next_line(self) -> _Line | None:
        return self._given_back.popleft() if self._given_back else next(self._lines, None)

    def _has_too_many_cells(self, text: str) -> bool:
        """Return whether a row that begins with this line has more cells than fit into the memory."""
        if len(text) <= _MAX_CELLS or text.count(self._delimiter) < _MAX_CELLS:
            return False
        return _QUOTED_CELL.sub("", text).count(self._delimiter) >= _MAX_CELLS

    def _may_follow(self, size: int, text: str) -> bool:
        """Return whether this line may begin a row, or may continue one with an open quote."""
        if not self._row:
            return not self._has_too_many_cells(text)
        if self._byte + self._size < self._unclosed_to:
            return False
        size += self._size
        return size <= self._row_bytes or size - _ending(text) <= self._row_bytes

    def _is_blank(self, cells: Sequence[str]) -> bool:
        """Return whether a row of at most one cell is blank. A quoted cell is not."""
        return not "".join(cells).strip(tables.BLANK) and '"' not in self._row[0]

    def _encode(self, cells: Sequence[str]) -> tuple[bytes | None, tuple[str, str] | None]:
        """Return the row as JSON, or its fault."""
        try:
            return tables.encode_row(self._columns, cells), None
        except UnicodeEncodeError:
            number = next(number for number, cell in enumerate(cells, 1) if not _is_utf8(cell))
            sentence = f"cell {number} is not UTF-8 text; save the file as UTF-8"
            return self._known(cells[0]), ("invalid_utf8", sentence)

    def _known(self, cell: str | None) -> bytes | None:
        """Return the first cell of a rejected row, which may be its id. It may also be text after an unclosed quote."""
        if cell is None or not _is_utf8(cell) or self._byte < self._unclosed_to:
            return None
        return tables.first_cell(self._columns, cell)

    def _end_unclosed(self) -> Record:
        """Return the record of a row with an unclosed quote: its first line. The next line is read as a new row.

        The other lines are not searched twice: if a later row has an open quote there, it is unclosed, too.
        """
        fault = _find_unclosed("".join(self._row), self._delimiter)
        number = fault[0] if fault else 1
        known = None if number == 1 else self._known(_first_cell(self._row[0], self._delimiter))
        self._unclosed_to = max(self._unclosed_to, self._byte + self._size)
        others = [(len(text.encode(errors="surrogateescape")), text) for text in self._row[1:]]
        self._given_back.extendleft(reversed(others))
        self._size -= sum(size for size, _ in others)
        del self._row[1:]
        sentence = (
            f"the quote that begins cell {number} is not closed; write quotes inside the cell twice, and "
            "one more at its end"
        )
        return self._end_row(known, ("unclosed_quote", sentence))

    def _end_row(self, data: bytes | None, fault: tuple[str, str] | None) -> Record:
        line, offset, size = self._line, self._byte, self._size - _ending(self._row[-1])
        self._advance()
        end = TablePosition(
            self._byte, self._line, self._columns, self._delimiter, self._unclosed_to
        )
        return Record(line, 1, offset, size, data, end, fault)

    def _advance(self) -> None:
        self._byte += self._size
        self._line += len(self._row)
        self._row.clear()
        self._size = 0


def _is_utf8(cell: str) -> bool:
    try:
        return cell.isascii() or bool(cell.encode())
    except UnicodeEncodeError:
        return False


def _first_cell(line: str, delimiter: str) -> str | None:
    """Return the first cell of a line, whose quotes are right; None if it continues on the next line."""
    quoted = _QUOTED_CELL.match(line)
    if quoted:
        return quoted[0][1:-1].replace('""', '"')
    return None if line.startswith('"') else line.partition(delimiter)[0]


def _find_unclosed(row: str, delimiter: str) -> tuple[int, int] | None:
    """Return the number of the first cell whose quotes are wrong, and where it begins; None if there is none."""
    number, start = 1, 0
    while True:
        quoted = _QUOTED_CELL.match(row, start)
        end = quoted.end() if quoted else start
        is_closed = quoted is not None and row[end : end + 1] in {delimiter, ""}
        if row[start : start + 1] == '"' and not is_closed:
            return number, start
        start = row.find(delimiter, end) + 1
        if not start:
            return None
        number += 1
