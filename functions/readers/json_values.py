"""Read JSON that is not one value per line: an array, ``{"requests": […]}``, or objects over several lines.

Arrays and objects may follow one another, as ``cat`` leaves them; commas between them are skipped. Each
element is one row, cut out by counting brackets. Validation reports what is wrong inside a row. What is wrong
between rows becomes a row of its own with a `fault`, so that no part of an upload is lost silently.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from functions.model.rows import LinePosition, Record
from functions.model.streams import cut
from functions.readers.brackets import BracketScanner, match_end
from functions.readers.contract import Source
from functions.readers.cutting import read_rows
from functions.readers.text import checked_text

RETRY_NAME = "retry.jsonl"
MAX_OTHER_MEMBERS = 10
MAX_NAME_CHARS = 50
"""How many names of other members a position keeps, and how many characters of each."""
_MAX_NAME_BYTES = 1024
_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n\x00\x1a"
"""Bytes around values: white space, and the NULs or DOS Ctrl-Z that pad the end of a file."""
_SPACES = re.compile(rb"[ \t\r\n\x00\x1a]*+")
_BRACKETS = frozenset({b"{", b"["})
_PUNCTUATION = _BRACKETS | {b"}", b"]", b",", b":", b'"'}
_WORD = re.compile(rb'[^ \t\r\n\x00\x1a,:\[\]{}"]++')
"""A number, a literal or stray text, up to what may follow it."""
_BREAK = re.compile(rb"[\r\n][ \t\r\n]*+")
_OPEN_BREAK = re.compile(rb"[\r\n][ \t\r\n]*+\Z")
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)$")
_CODE = "invalid_json"
_decoder = msgspec.json.Decoder(msgspec.Raw)
_name_decoder = msgspec.json.Decoder(str)

type Expected = Literal["start", "value", "first", "comma", "element", "member", "end"]
"""What comes next.

Outside of arrays: ``start`` of the upload, or a ``value``. Inside: the ``first`` element, a ``comma``, or an
``element`` after a comma. After the array of "requests": another ``member``. ``end`` reads no further.
"""
type _Member = Literal["requests", "other", "broken"]


class JsonPosition(LinePosition, frozen=True, gc=False):
    """A position between two elements.

    Attributes:
        element: the rows before it.
        expected: what comes next.
        wrapped: whether the array is that of ``{"requests": […]}``.
        others: the first `MAX_OTHER_MEMBERS` names of members before the array of "requests".
    """

    element: int = 0
    expected: Expected = "start"
    wrapped: bool = False
    others: tuple[str, ...] = ()


START = JsonPosition()


def read(source: Source, position: JsonPosition, row_bytes: int) -> Iterator[Record]:
    """Read an upload from a position on; see `contract.Reader`."""
    return _Reading(source.read, position, row_bytes).records()


def wraps_requests(blocks: Iterable[bytes]) -> bool:
    """Return whether an upload begins with ``{"requests": […]}``, with or without other members before the array.

    Args:
        blocks: the upload from its first byte on. They are read up to the array, or to the end of the first object.

    Raises:
        UnreadableUploadError: the upload is not text.
    """
    return _Reading(lambda _start: iter(blocks), START, 0).enter_requests()


def other_members(source: Source, position: JsonPosition) -> tuple[str, ...]:
    """Return the names of the members other than "requests", at most `MAX_OTHER_MEMBERS`.

    Args:
        source: the upload.
        position: the position where planning ended. Names before it are kept in it; the rest is read.
    """
    reading = _Reading(source.read, position, 0)
    for _ in reading.records():
        pass
    return reading.others


def columns(_position: JsonPosition) -> Sequence[str]:
    """Return no columns: the rows are JSON."""
    return ()


def retry_head(_position: JsonPosition) -> bytes:
    """Return no bytes: JSON Lines has no header."""
    return b""


def retry_rows(source: Source, offsets: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
    """Stream rows for retry.jsonl, each on one line; see `contract.Reader`.

    A line break in a row, with the indentation after it, becomes a tab. JSON allows both between values and
    neither in a string, so that a valid row keeps its meaning and a broken row stays broken.
    """
    rows = [
        row for row in zip(offsets, sizes, strict=True) if row[1]
    ]  # a missing element has no bytes
    if len(rows) == 1 and not _is_one_object(source, *rows[0]):
        rows = _rows_between(source, *rows[0])
    sizes = [size for _, size in rows]
    pieces = read_rows(source, [offset for offset, _ in rows], sizes, b"\n")
    yield from _on_one_line(pieces, sizes)


def _is_one_object(source: Source, offset: int, size: int) -> bool:
    """Return whether these bytes are one object, and so one row. They may also be a span of several rows.

    An array does not prove it: it may be a row, or the array around all rows.

    Raises:
        ObjectUnreadableError: the upload is shorter than when it was planned.
    """
    text = _Text(read_rows(source, [offset], [size], b""), LinePosition(offset))
    is_object = text.peek() == b"{"
    value, rest = text.take(0), text.take_rest(0)
    return is_object and value.complete and value.size == size and not rest.size


def _rows_between(source: Source, offset: int, size: int) -> list[tuple[int, int]]:
    """Return the rows of a span. It is read from the start, because a span does not show where it begins."""
    rows: list[tuple[int, int]] = []
    for record in _Reading(source.read, START, 0).records():
        if record.offset >= offset + size:
            break
        if record.offset >= offset and record.size:
            rows.append((record.offset, record.size))
    return rows


def _on_one_line(pieces: Iterator[bytes], sizes: Iterable[int]) -> Iterator[bytes]:
    """Put each row on one line. Each row ends with a line end, and no piece has bytes of two rows."""
    for size in sizes:
        left, in_break = size + 1, False
        while left:
            piece = next(pieces)
            left -= len(piece)
            end = b"" if left else b"\n"
            text = piece.removesuffix(end)
            yield _BREAK.sub(b"\t", text.lstrip(b" \t\r\n") if in_break else text) + end
            in_break = _OPEN_BREAK.search(text) is not None or (in_break and not text.strip())


class _Value(NamedTuple):
    """The bytes of a value, without white space at the end.

    Attributes:
        size: their number.
        data: the bytes; None if there are more than the limit.
        complete: whether the value ends before the upload does.
    """

    size: int
    data: bytes | None
    complete: bool


class _Pieces:
    """Collects the bytes of a value that arrives in several blocks."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = self._length = 0
        self._data = bytearray()

    def add(self, text: bytes) -> None:
        """Add the next bytes."""
        content = len(text.rstrip(_SPACE))
        if content:
            self._size = self._length + content
        if len(self._data) <= self._limit:
            self._data += text
        self._length += len(text)

    def joined(self, *, complete: bool) -> _Value:
        """Return the value."""
        data = bytes(self._data[: self._size]) if self._size <= self._limit else None
        return _Value(self._size, data, complete)


class _Text:
    """The text of an upload, read value by value.

    Attributes:
        line: the line of the next byte, from 1.
    """

    def __init__(self, blocks: Iterable[bytes], position: LinePosition) -> None:
        self._blocks = cut(blocks)
        self._text, self._index = b"", 0
        self._base = position.byte
        self.line, self._line_start = position.line, position.byte - position.column

    @property
    def offset(self) -> int:
        """The offset of the next byte."""
        return self._base + self._index

    @property
    def column(self) -> int:
        """The bytes of the line that have been read."""
        return self.offset - self._line_start

    def peek(self) -> bytes:
        """Skip white space and byte order marks, and return the next byte; empty at the end."""
        while (byte := self._text[self._index : self._index + 1]) not in _PUNCTUATION:
            self._advance(match_end(_SPACES, self._text, self._index))
            if len(self._text) - self._index < len(_BOM) and self._load():
                continue
            if not self._text.startswith(_BOM, self._index):
                return self._text[self._index : self._index + 1]
            self._line_start += len(_BOM) if self.column == 0 else 0
            self._index += len(_BOM)
        return byte

    def skip(self) -> None:
        """Skip the byte that `peek` returned."""
        self._index += 1

    def take(self, limit: int) -> _Value:
        """Read a bracketed value, a string or a word. Keep only the size of one longer than ``limit`` bytes."""
        first = self._text[self._index : self._index + 1]
        end = self._end_of_valid() if first in _BRACKETS else self._index
        size = end - self._index
        if size:
            data = self._text[self._index : end] if size <= limit else None
            self._advance(end)
            return _Value(size, data, complete=True)
        pieces = _Pieces(limit)
        complete = True
        if first in _BRACKETS:
            complete = self._take_open(pieces, BracketScanner())
        elif first == b'"':
            self._take_until(self._index + 1, pieces)
            complete = self._take_open(pieces, BracketScanner(in_string=True))
        else:
            self._take_word(pieces)
        return pieces.joined(complete=complete)

    def take_rest(self, limit: int) -> _Value:
        """Read everything up to the end of the upload."""
        pieces = _Pieces(limit)
        self._take_until(len(self._text), pieces)
        while self._load():
            self._take_until(len(self._text), pieces)
        return pieces.joined(complete=True)

    def _end_of_valid(self) -> int:
        """Return where a valid value ends in this block; where it begins if it is not valid or not complete.

        A parser in C skips it several times as fast as the patterns of `BracketScanner`, and names the
        first byte after it that is not white space.
        """
        end = len(self._text)
        try:
            _decoder.decode(memoryview(self._text)[self._index :])
        except msgspec.DecodeError as error:
            trailing = _TRAILING.search(str(error))
            end = self._index + int(trailing[1]) - 1 if trailing else self._index
        except RecursionError:
            end = self._index
        return self._index + len(self._text[self._index : end].rstrip(b" \t\r\n"))

    def _take_open(self, pieces: _Pieces, scanner: BracketScanner) -> bool:
        """Read a value that is open, block by block. Return whether it is complete."""
        closed = False
        while not closed and (self._index < len(self._text) or self._load()):
            self._take_until(scanner.find_end(self._text, self._index), pieces)
            closed = not scanner.is_open
        return closed

    def _take_word(self, pieces: _Pieces) -> None:
        while (end := match_end(_WORD, self._text, self._index)) > self._index:
            self._take_until(end, pieces)
            if self._index == len(self._text):
                self._load()

    def _take_until(self, index: int, pieces: _Pieces) -> None:
        pieces.add(self._text[self._index : index])
        self._advance(index)

    def _advance(self, index: int) -> None:
        feed = self._text.rfind(b"\n", self._index, index)
        if feed >= 0:
            self.line += self._text.count(b"\n", self._index, index)
            self._line_start = self._base + feed + 1
        self._index = index

    def _load(self) -> bool:
        """Add a block to the text that is not read yet. Return False at the end of the upload."""
        block = next(self._blocks, b"")
        self._base += self._index
        self._text, self._index = self._text[self._index :] + block, 0
        return bool(block)


class _Reading:
    """One reading of an upload.

    Attributes:
        others: names of members other than "requests".
    """

    def __init__(
        self, read: Callable[[int], Iterator[bytes]], position: JsonPosition, row_bytes: int
    ) -> None:
        self._read, self._row_bytes = read, row_bytes
        self._element, self.others = position.element, position.others
        self._expected, self._wrapped = position.expected, position.wrapped
        self._start = position

    def records(self) -> Iterator[Record]:
        """Yield the rows from the position on."""
        if self._expected != "start" or not self.enter_requests():
            self._text = _Text(self._read(self._start.byte), self._start)
        if self._expected == "start":
            self._expected, self.others = "value", ()
        while self._expected != "end":
            record = self._next()
            if record is not None:
                yield record

    def enter_requests(self) -> bool:
        """Enter the array of ``{"requests": […]}``. Return False if the upload begins with anything else."""
        self._text = _Text(checked_text(self._read(0)), START)
        if self._text.peek() != b"{":
            return False
        self._text.skip()
        while (member := self._member()) == "other" and self._text.peek() == b",":
            self._text.skip()
        return member == "requests"

    def _next(self) -> Record | None:
        """Read what comes next. Return a row, or None if it was only punctuation."""
        byte = self._text.peek()
        if self._expected == "value":
            return self._next_value(byte)
        if self._expected == "member":
            return self._next_member(byte)
        return self._next_in_array(byte)

    def _next_value(self, byte: bytes) -> Record | None:
        if byte == b"{":
            return self._take_element("value")
        if byte == b"[":
            self._text.skip()
            self._expected, self._wrapped = "first", False
        elif byte == b",":
            self._text.skip()
        elif byte:
            return self._take_rest()
        else:
            self._expected = "end"
        return None

    def _next_in_array(self, byte: bytes) -> Record | None:
        if byte == b",":
            return self._pass_comma()
        if byte == b"]":
            return self._close_array()
        if byte in (b"}", b":"):
            return self._take_rest()
        return self._take_element("comma") if byte else self._report_cut_off("]")

    def _pass_comma(self) -> Record | None:
        offset, line, column = self._text.offset, self._text.line, self._text.column
        extra = self._expected != "comma"
        self._text.skip()
        self._expected = "element"
        sentence = f"the comma at column {column + 1} has no element before it; remove it"
        return self._report(offset, line, column, sentence) if extra else None

    def _close_array(self) -> Record | None:
        offset, line, column = self._text.offset, self._text.line, self._text.column
        extra = self._expected == "element"
        self._text.skip()
        self._expected = "member" if self._wrapped else "value"
        sentence = (
            f"the comma before the ] at column {column + 1} has no element after it; remove it"
        )
        return self._report(offset, line, column, sentence) if extra else None

    def _next_member(self, byte: bytes) -> Record | None:
        """Read what follows the array of "requests"."""
        if byte == b"}":
            self._text.skip()
            self._expected, self._wrapped = "value", False
            return None
        if byte == b",":
            self._text.skip()
            if self._member() != "broken":
                return None
        return self._take_rest() if self._text.peek() else self._report_cut_off("}")

    def _member(self) -> _Member:
        """Read a member of the object around "requests". Enter the array if it is "requests" itself."""
        name = self._member_name()
        if name is None or self._text.peek() != b":":
            return "broken"
        self._text.skip()
        first = self._text.peek()
        if name == "requests" and first == b"[":
            self._text.skip()
            self._expected, self._wrapped = "first", True
            return "requests"
        if first in (b"", b",", b":", b"]", b"}") or not self._text.take(0).complete:
            return "broken"
        if len(self.others) < MAX_OTHER_MEMBERS:
            self.others = (*self.others, name[:MAX_NAME_CHARS])
        return "other"

    def _member_name(self) -> str | None:
        """Read the name of a member. Return None if there is none, and "…" for one of a kilobyte or more."""
        if self._text.peek() != b'"':
            return None
        name = self._text.take(_MAX_NAME_BYTES)
        try:
            return "…" if name.data is None else _name_decoder.decode(name.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _take_element(self, then: Expected) -> Record:
        """Read an element. ``then`` is what comes after it."""
        offset, line, column = self._text.offset, self._text.line, self._text.column
        unseparated = self._expected == "comma"
        value = self._text.take(self._row_bytes)
        self._expected = then if value.complete else "end"
        self._element += 1
        end, sentence = self._position(), None
        if not value.complete:
            sentence = (
                f"the upload ends inside element {self._element:,}, which begins at column {column + 1}; "
                "check for a missing bracket or quotation mark there, or whether the file is cut off"
            )
        elif self._text.peek() in (b"}", b":"):
            sentence = (
                f"element {self._element:,}, which begins at column {column + 1}, is followed by "
                f"{self._text.peek().decode()} at line {self._text.line}, column {self._text.column + 1}; "
                "check its brackets"
            )
        elif unseparated:
            sentence = f"there is no comma before element {self._element:,} at column {column + 1}; add it"
        fault = None if sentence is None else (_CODE, sentence)
        return Record(line, column + 1, offset, value.size, value.data, end, fault)

    def _take_rest(self) -> Record:
        """Read the rest of the upload as one row, because its structure is unknown from here on."""
        offset, line, column = self._text.offset, self._text.line, self._text.column
        after = f"after element {self._element:,}" if self._element else "before the first element"
        value = self._text.take_rest(self._row_bytes)
        self._expected = "end"
        self._element += 1
        sentence = (
            f"the text at column {column + 1}, {after}, is not part of the JSON; nothing from there "
            "on was read; correct it there"
        )
        return Record(
            line, column + 1, offset, value.size, value.data, self._position(), (_CODE, sentence)
        )

    def _report_cut_off(self, bracket: str) -> Record:
        self._expected = "end"
        where = f"after element {self._element:,}" if self._element else "before the first element"
        sentence = f"the upload ends {where} without {bracket}; check whether the file is cut off"
        return self._report(self._text.offset, self._text.line, self._text.column, sentence)

    def _report(self, offset: int, line: int, column: int, sentence: str) -> Record:
        """Return a row without bytes, in the place of an element that is missing."""
        self._element += 1
        return Record(line, column + 1, offset, 0, b"", self._position(), (_CODE, sentence))

    def _position(self) -> JsonPosition:
        text = self._text
        return JsonPosition(
            text.offset, text.line, text.column, self._element, self._expected, self._wrapped, self.others
        )  # fmt: skip
