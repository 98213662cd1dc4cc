"""Read one sheet of an Excel workbook. Its first row that is not blank names the columns.

Offsets and positions count the rows of the sheet from 0. A workbook cannot be read from the middle, so each reading
begins at its first row.
"""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

import msgspec

from functions.errors import ObjectUnreadableError, UnreadableUploadError
from functions.model.rows import Record
from functions.readers import delimited, tables, xlsx_rows
from functions.readers.child_process import printed_lines
from functions.readers.contract import Source
from functions.readers.tables import TablePosition

MAX_BYTES = 50_000_000
"""Maximum size of a workbook. It is copied to the function's disk, next to the files of a chunk."""
_cells = msgspec.json.Decoder(list[str])


@dataclass(frozen=True)
class Workbook:
    """The reader of one sheet; see `contract.Reader`.

    Attributes:
        sheet: its name; None for the first visible one.
    """

    sheet: str | None = None
    START = tables.START
    RETRY_NAME = tables.RETRY_NAME

    def read(self, source: Source, position: TablePosition, row_bytes: int) -> Iterator[Record]:
        """Read an upload from a position on; see `contract.Reader`.

        Raises:
            UnreadableUploadError: it is not a workbook, it is too large, it lacks the sheet, or its header does not
                name each column once.
        """
        columns = position.columns
        for index, cells in _rows(source, self.sheet, position.byte):
            if columns:
                yield _record(index, columns, cells, row_bytes)
            else:
                columns = tables.check_columns(cells)
        if not columns:
            tables.check_columns(())

    def columns(self, position: TablePosition) -> Sequence[str]:
        """Return the names in the header."""
        return delimited.columns(position)

    def retry_head(self, position: TablePosition) -> bytes:
        """Return the header for retry.csv."""
        return delimited.retry_head(position)

    def retry_rows(
        self, source: Source, offsets: Sequence[int], sizes: Sequence[int]
    ) -> Iterator[bytes]:
        """Stream rows for retry.csv, as CSV; see `contract.Reader`."""
        try:
            yield from _csv_rows(_rows(source, self.sheet), offsets, sizes)
        except UnreadableUploadError as error:
            why = "is not the workbook that was planned, or is shorter than it was; a new upload replaced it"
            raise ObjectUnreadableError(source.uri, why) from error


def _csv_rows(
    rows: Iterator[tuple[int, list[str]]], offsets: Sequence[int], sizes: Sequence[int]
) -> Iterator[bytes]:
    wanted = {
        row
        for offset, size in zip(offsets, sizes, strict=True)
        for row in range(offset, offset + size)
    }
    width = last = 0
    for index, cells in rows:
        width, last = width or len(cells), index
        if index in wanted:
            yield tables.csv_line([*cells, *[""] * (width - len(cells))])
    if wanted and last < max(wanted):
        message = "the sheet has fewer rows than before"
        raise UnreadableUploadError(message)


def _record(index: int, columns: tuple[str, ...], cells: Sequence[str], row_bytes: int) -> Record:
    """Return the record of a row. Empty cells at its end are not in `cells`."""
    missing = len(columns) - len(cells)
    data: bytes | None
    fault = None
    if missing >= 0:
        data = tables.encode_row(columns, [*cells, *[""] * missing])
    else:
        sentence = (
            f"the row has {len(cells):,} cells and the header {len(columns):,}; name each column"
        )
        data, fault = tables.first_cell(columns, cells[0]), ("ragged_row", sentence)
    if len(data) > row_bytes:
        fault = tables.too_long(len(data), row_bytes)
        data = None
    end = TablePosition(index + 1, index + 2, columns)
    return Record(index + 1, 1, index, 1, data, end, fault)


def _rows(source: Source, sheet: str | None, first: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank: their index, and their cells."""
    with NamedTemporaryFile(suffix=".xlsx") as file:
        _copy(source, file)
        for index, line in enumerate(_printed_rows(file.name, sheet)):
            if index >= first and (cells := _cells.decode(line)) and "".join(cells).strip():
                yield index, cells


def _copy(source: Source, file: IO[bytes]) -> None:
    size = 0
    for block in source.read():
        size += len(block)
        if size > MAX_BYTES:
            message = f"the workbook is larger than {MAX_BYTES // 10**6} MB; save it as CSV, which can have any size"
            raise UnreadableUploadError(message)
        file.write(block)
    file.flush()


def _printed_rows(path: str, sheet: str | None) -> Iterator[bytes]:
    """Yield the rows that `xlsx_rows` prints.

    Raises:
        UnreadableUploadError: the file is not a workbook, lacks the sheet, or needs too much memory.
    """
    program = Path(__file__).with_name("xlsx_rows.py")
    lines = printed_lines(program, path, msgspec.json.encode(sheet).decode())
    try:
        sheets = next(lines)
    except StopIteration as ended:
        sheets, code = b"[]", ended.value
    else:
        code = yield from lines
    if problem := _problem_of(code, sheet, _cells.decode(sheets)):
        raise UnreadableUploadError(problem)
    if code:
        raise subprocess.CalledProcessError(code, [str(program), path])


def _problem_of(code: int, sheet: str | None, sheets: Sequence[str]) -> str | None:
    """Return why a workbook cannot be read, from the exit code of `xlsx_rows`; None if it is not the workbook."""
    if code in {xlsx_rows.TOO_LARGE, -signal.SIGABRT}:
        return (
            f"the workbook needs more than {xlsx_rows.MEMORY_BYTES >> 20} MB of memory; save it as CSV, which "
            "can have any size"
        )
    if code in {xlsx_rows.CRASHED, -signal.SIGSEGV, -signal.SIGBUS}:
        return (
            "the workbook has content that makes its reader fail; open it in Excel or LibreOffice and save it "
            "again, or save it as CSV"
        )
    if code == xlsx_rows.UNREADABLE:
        return "the file is not an Excel workbook, or it has a password or no visible sheet; save it as XLSX or CSV"
    if code == xlsx_rows.UNKNOWN_SHEET:
        listed = tables.shorten(", ".join(sheets))
        return f'the workbook has no sheet "{sheet}"; name one of its sheets in the option sheet: {listed}'
    return None
