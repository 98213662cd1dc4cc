"""Read Parquet. Each value becomes text, as in a CSV file; each row of the file is a row.

Offsets and positions count the rows of the file from 0. The footer names the row groups, so only those are fetched
that contain wanted rows, a few at a time: the disk need not hold the upload.
"""

import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, NoReturn

import msgspec

from functions.errors import ObjectUnreadableError, UnreadableUploadError
from functions.model.rows import Record
from functions.readers import delimited, parquet_rows, tables
from functions.readers.child_process import printed_lines
from functions.readers.contract import Source
from functions.readers.parquet_rows import ROW_NUMBER, ParquetTable, RowGroup
from functions.readers.tables import TablePosition

START = tables.START
RETRY_NAME = tables.RETRY_NAME
columns = delimited.columns
retry_head = delimited.retry_head
MAX_GROUP_BYTES = 1_000_000_000
"""Maximum size of a row group. It is copied to the function's disk, next to the files of a chunk."""
WINDOW_BYTES = 64_000_000
"""Bytes of row groups that are copied and read at once. A larger row group is read alone."""
_MAX_FOOTER_BYTES = 32_000_000
_MAGIC = b"PAR1"
_TAIL_BYTES = 8
"""Bytes at the end: the length of the footer, and `_MAGIC`."""
_SLACK_BYTES = 1024
"""Bytes that are copied after a row group. Old writers did not count the head of a dictionary."""
_SMALLER = "write it with smaller row groups, such as row_group_size=1000 of pandas, or as CSV"
_DAMAGED = "is no Parquet file, or damaged, cut off or encrypted; write and upload it again"
_PROGRAM = Path(__file__).with_name("parquet_rows.py")
_table = msgspec.json.Decoder(ParquetTable)
_cells = msgspec.json.Decoder(dict[str, str])


def read(source: Source, position: TablePosition, row_bytes: int) -> Iterator[Record]:
    """Read an upload from a position on; see `contract.Reader`.

    Raises:
        UnreadableUploadError: it is no Parquet file, has a binary column, or needs too much memory or disk.
    """
    file = _File(source)
    columns = file.columns()
    wanted = (
        RowGroup(max(position.byte, window.row), window.stop, window.start_byte, window.stop_byte)
        for window in file.windows()
        if position.byte < window.stop
    )
    for index, data in file.rows(wanted):
        yield _record(index, columns, data, row_bytes)


def retry_rows(source: Source, offsets: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
    """Stream rows for retry.csv, as CSV; see `contract.Reader`."""
    try:
        yield from _csv_rows(_File(source), offsets, sizes)
    except UnreadableUploadError as error:
        why = "is not the file, or shorter than it was, when it was planned; a new upload replaced it"
        raise ObjectUnreadableError(source.uri, why) from error


def _csv_rows(file: "_File", offsets: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
    missing = {
        row
        for offset, size in zip(offsets, sizes, strict=True)
        for row in range(offset, offset + size)
    }
    for window in file.windows():
        wanted = {row for row in missing if window.row <= row < window.stop}
        missing -= wanted
        if wanted:
            first, stop = min(wanted), max(wanted) + 1
            narrowed = RowGroup(first, stop, window.start_byte, window.stop_byte)
            for index, data in file.rows([narrowed]):
                if index in wanted:
                    yield tables.csv_line([*_cells.decode(data).values()])
    if missing:
        message = "the file has fewer rows than before"
        raise UnreadableUploadError(message)


def _record(index: int, columns: tuple[str, ...], data: bytes, row_bytes: int) -> Record:
    end = TablePosition(index + 1, index + 2, columns)
    if len(data) <= row_bytes:
        return Record(index + 1, 1, index, 1, data, end)
    fault = tables.too_long(len(data), row_bytes)
    return Record(index + 1, 1, index, 1, None, end, fault)


class _File:
    """An upload, whose row groups are copied to the disk in turn."""

    def __init__(self, source: Source) -> None:
        self._source, self._size = source, source.size_bytes
        self._footer = _read_footer(source)
        with NamedTemporaryFile(suffix=".parquet") as file:
            self._write(file, self._size - len(self._footer), [self._footer])
            self._table = _table.decode(b"".join(_printed(file.name)))

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns.

        Raises:
            UnreadableUploadError: a name is missing or occurs twice, or a column is binary.
        """
        names = tables.check_columns(self._table.columns)
        if ROW_NUMBER in map(str.lower, names):
            message = f'the column "{ROW_NUMBER}" cannot be read; give it another name'
            raise UnreadableUploadError(message)
        for name in self._table.binary:
            message = f'the column "{name}" has binary values; convert them to text, or leave the column out'
            raise UnreadableUploadError(message)
        return names

    def windows(self) -> Iterator[RowGroup]:
        """Yield the row groups, small ones together."""
        window: RowGroup | None = None
        for group in self._table.groups:
            joined = group if window is None else _join(window, group)
            if window is not None and joined.stop_byte - joined.start_byte > WINDOW_BYTES:
                yield window
                joined = group
            window = joined
        if window is not None:
            yield window

    def rows(self, windows: Iterable[RowGroup]) -> Iterator[tuple[int, bytes]]:
        """Yield the rows of windows: their index, and a JSON object of texts."""
        for window in windows:
            with NamedTemporaryFile(suffix=".parquet") as file:
                self._copy(window, file)
                lines = _printed(file.name, f"{window.row}-{window.stop}")
                for index, line in enumerate(lines, window.row):
                    yield index, line[:-1]

    def _copy(self, window: RowGroup, file: IO[bytes]) -> None:
        """Copy the bytes of a window to where they are in the upload. The file has holes elsewhere."""
        footer_at = self._size - len(self._footer)
        stop = min(window.stop_byte + _SLACK_BYTES, footer_at)
        size = stop - window.start_byte
        if size > MAX_GROUP_BYTES:
            message = (
                f"a row group has {size:,} bytes; the limit is {MAX_GROUP_BYTES:,}; {_SMALLER}"
            )
            raise UnreadableUploadError(message)
        if not 0 <= window.start_byte < stop:
            _refuse()
        self._write(file, window.start_byte, self._source.read(window.start_byte, stop))
        self._write(file, footer_at, [self._footer])

    @staticmethod
    def _write(file: IO[bytes], offset: int, blocks: Iterable[bytes]) -> None:
        file.seek(offset)
        file.writelines(blocks)
        file.flush()


def _join(window: RowGroup, group: RowGroup) -> RowGroup:
    start = min(window.start_byte, group.start_byte)
    return RowGroup(window.row, group.stop, start, max(window.stop_byte, group.stop_byte))


def _refuse() -> NoReturn:
    message = f"the file {_DAMAGED}"
    raise UnreadableUploadError(message)


def _read_footer(source: Source) -> bytes:
    """Return the footer with its length and the magic bytes at the end.

    Raises:
        UnreadableUploadError: there is none.
    """
    size = source.size_bytes
    tail = b"".join(source.read(size - _TAIL_BYTES)) if size > _TAIL_BYTES else b""
    length = int.from_bytes(tail[: -len(_MAGIC)], "little") + _TAIL_BYTES
    if not tail.endswith(_MAGIC) or length > size - len(_MAGIC):
        _refuse()
    if length > _MAX_FOOTER_BYTES:
        message = f"the footer has {length:,} bytes; the limit is {_MAX_FOOTER_BYTES:,}; write fewer row groups"
        raise UnreadableUploadError(message)
    return b"".join(source.read(size - length))


def _printed(path: str, rows: str = "") -> Iterator[bytes]:
    """Yield what `parquet_rows` prints.

    Raises:
        UnreadableUploadError: the file cannot be read, or needs too much memory.
    """
    code = yield from printed_lines(_PROGRAM, path, rows)
    if code in {parquet_rows.TOO_LARGE, -signal.SIGKILL}:
        message = (
            f"reading the file needs more than {parquet_rows.MEMORY_MB} MB of memory; {_SMALLER}"
        )
        raise UnreadableUploadError(message)
    if code in {parquet_rows.UNREADABLE, -signal.SIGABRT, -signal.SIGSEGV}:
        _refuse()
    if code:
        raise subprocess.CalledProcessError(code, [str(_PROGRAM)])
