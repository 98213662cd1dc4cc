"""What the readers of tables share: the position, the rules of a header, and the row as a line of CSV."""

import csv
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from functions.errors import UnreadableUploadError
from functions.model.rows import Position
from functions.readers.text import printable

RETRY_NAME = "retry.csv"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""The byte order mark. Excel reads a CSV file as UTF-8 only if it begins with one."""
BLANK = " \t\0\x1a\r\n"
"""Characters of a blank line. NULs and a DOS Ctrl-Z pad the end of a file."""
_MAX_HEADER_BYTES = 3_600
"""Maximum size of the column names as JSON. The position that holds them must stay below 4 KiB."""
_MAX_LISTED_CHARS = 300
"""Characters of the column names that a message lists."""
_encode = msgspec.json.Encoder().encode


class TablePosition(Position, frozen=True, gc=False):
    """The position of a reader of tables.

    Attributes:
        line: the line, or the row of the sheet, from 1.
        columns: the names of the columns; empty before the header.
        delimiter: the character between two cells.
        unclosed_to: the offset up to which an unclosed quote was searched for its end, in bytes. Any other quote that
            is open before it is not closed there, either.
    """

    line: int = 1
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    unclosed_to: int = 0


START = TablePosition()


def check_columns(cells: Sequence[str]) -> tuple[str, ...]:
    """Return the names in a header, without surrounding white space.

    Raises:
        UnreadableUploadError: a name is missing or occurs twice, or the header is too long.
    """
    names = tuple(cell.strip() for cell in cells)
    problem = _problem_of(names)
    if problem is not None:
        raise UnreadableUploadError(problem)
    return names


def _problem_of(names: Sequence[str]) -> str | None:
    if not any(names):
        return "the table has no header; name the columns in its first row"
    size = len(_encode(names))
    if size > _MAX_HEADER_BYTES:
        return (
            f"the header is {size:,} bytes long; the limit is {_MAX_HEADER_BYTES:,}; shorten the names of "
            "columns, or remove columns"
        )
    listed = shorten(", ".join(names))
    if "" in names:
        number = names.index("") + 1
        return f"column {number} has no name; name each column (the header: {listed})"
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        return f'{count} columns are named "{shorten(name)}"; use each name once (the header: {listed})'
    return None


def shorten(text: str) -> str:
    """Return names as a message lists them: on one line, and not more than `_MAX_LISTED_CHARS`."""
    text = printable(text)
    return text if len(text) <= _MAX_LISTED_CHARS else f"{text[:_MAX_LISTED_CHARS]}…"


def ragged(cells: int, columns: int) -> tuple[str, str]:
    """Return the fault of a row whose number of cells is not that of the header."""
    sentence = (
        f"the row has {cells:,} of {columns:,} cells; pad short rows, and quote cells that contain "
        "the delimiter"
    )
    return "ragged_row", sentence


def first_cell(columns: Sequence[str], cell: str) -> bytes:
    """Return the first cell of a rejected row as a JSON object. Later cells may be in the wrong column.

    Raises:
        UnicodeEncodeError: the cell contains a lone surrogate.
    """
    return _encode({columns[0]: cell})


def too_long(size: int, row_bytes: int) -> tuple[str, str]:
    """Return the fault of a row that is longer than a row may be, in bytes."""
    sentence = (
        f"the row is {size:,} bytes long; the limit is {row_bytes:,}; shorten it or raise the "
        "setting rowBytes"
    )
    return "too_long", sentence


def encode_row(columns: Sequence[str], cells: Sequence[str]) -> bytes:
    """Return a row as a JSON object: column → text.

    Raises:
        UnicodeEncodeError: a cell contains a lone surrogate.
    """
    return _encode(dict(zip(columns, cells, strict=True)))


class _Echo:
    """A file that returns what is written to it, for `csv.writer`."""

    def write(self, text: str) -> str:
        return text


@cache
def _writer(delimiter: str) -> Any:  # noqa: ANN401 - typeshed does not export the type of a writer
    return csv.writer(_Echo(), delimiter=delimiter)


def csv_line(cells: Sequence[str], delimiter: str = ",") -> bytes:
    """Return cells as a line of CSV with CRLF (RFC 4180). Only cells that need quotes have them.

    A single cell of white space does, because a blank line is no row.
    """
    if len(cells) == 1 and not cells[0].strip(BLANK):
        return f'"{cells[0]}"\r\n'.encode()
    line: str = _writer(delimiter).writerow(cells)
    return line.encode()


def without_formula(text: str) -> str:
    """Return text that a spreadsheet does not interpret as a formula, with an apostrophe in front if necessary."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
