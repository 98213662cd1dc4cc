"""Read the text columns of a Parquet file that have large pages. A part of `parquet_rows`.

DuckDB writes pages of 100 MB. Where one ends, DuckDB holds it, the next one, and the next one packed. So each page of
such a column becomes a file of its own, which is given back before the next one is read.
"""

import tempfile
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import msgspec

from functions.readers.parquet_rows import FETCHED_ROWS, LARGE_PAGE_BYTES, ROW_NUMBER, connect

if TYPE_CHECKING:
    import duckdb

_COPIED_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 16
_MAGIC = b"PAR1"
_CODECS = {"UNCOMPRESSED": 0, "SNAPPY": 1, "GZIP": 2, "BROTLI": 4, "ZSTD": 6, "LZ4_RAW": 7}
_DATA_PAGES = {0: 5, 3: 8}
"""The types of pages that have values, and the fields of their own headers."""
_DICTIONARY_ENCODINGS = {2, 8}
"""Encodings of values whose texts are in another page."""
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12
"""Types of Thrift's compact protocol."""
_LOW_BITS, _MAX_SHIFT = 127, 63
_BOOLEANS = {1: True, 2: False}
_PATHS = """
    SELECT DISTINCT path_in_schema FROM parquet_metadata(?) WHERE NOT contains(path_in_schema, ', ')
"""
_COLUMNS = """
    SELECT name, (any_value(repetition_type) = 'OPTIONAL')::INT FROM parquet_schema(?) GROUP BY name
    HAVING count(*) = 1 AND any_value(type) = 'BYTE_ARRAY' AND any_value(duckdb_type) = 'VARCHAR'
        AND any_value(repetition_type) IN ('OPTIONAL', 'REQUIRED')
"""
_CHUNKS = """
    SELECT row_group_num_rows, compression, data_page_offset, total_compressed_size, total_uncompressed_size
    FROM parquet_metadata(?) WHERE path_in_schema = ? ORDER BY row_group_id
"""
_VALUES = f"""
    SELECT coalesce(v, '') FROM read_parquet(?) WHERE {ROW_NUMBER} >= ? AND {ROW_NUMBER} < ?
"""  # noqa: S608 - a constant


class _Page(NamedTuple):
    """A page with values: its first row in the file, the number of its rows, and where it is."""

    row: int
    rows: int
    offset: int
    size: int
    unpacked_bytes: int
    codec: int


def large_columns(
    connection: "duckdb.DuckDBPyConnection",
    path: str,
    columns: Collection[str],
    rows: tuple[int, int],
    memory_mb: int,
) -> dict[str, Iterator[bytes]]:
    """Return the values of text columns that have large pages, as JSON, by name.

    Columns whose pages cannot be read one by one are left out.

    Args:
        connection: reads what the footer says.
        path: the file; see `parquet_rows.main`.
        columns: the names of the columns, as DuckDB has them.
        rows: the first row, and the one after the last.
        memory_mb: memory for the buffers of a page.
    """
    paths = {name for (name,) in connection.execute(_PATHS, [path]).fetchall()}
    if not paths <= {*columns}:  # DuckDB has renamed a column
        return {}
    large = dict[str, Iterator[Iterator[bytes]]]()
    for name, repetition in connection.execute(_COLUMNS, [path]).fetchall():
        pages = _pages(connection, path, name, rows)
        if any(page.unpacked_bytes >= LARGE_PAGE_BYTES for page in pages):
            large[name] = map(partial(_values, path, repetition, rows, memory_mb), pages)
    if len(large) == 1:
        return {name: chain.from_iterable(pages) for name, pages in large.items()}
    return {name: chain.from_iterable(map(_spooled, pages)) for name, pages in large.items()}


def _pages(
    connection: "duckdb.DuckDBPyConnection", path: str, name: str, rows: tuple[int, int]
) -> list[_Page]:
    """Return the pages of a column that have these rows; none if they cannot be read one by one."""
    pages, first, (row, stop) = list[_Page](), 0, rows
    chunks = connection.execute(_CHUNKS, [path, name]).fetchall()
    if all(unpacked < LARGE_PAGE_BYTES for *_, unpacked in chunks):
        return []
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib would use more memory
            for count, compression, offset, size, _ in chunks:
                if row < first + count and first < stop:
                    codec = _CODECS[compression]
                    pages += _pages_of_chunk(file, first, count, offset, offset + size, codec)
                first += count
    except (LookupError, TypeError, ValueError):
        return []
    return [page for page in pages if row < page.row + page.rows and page.row < stop]


def _pages_of_chunk(
    file: IO[bytes], row: int, rows: int, offset: int, end: int, codec: int
) -> Iterator[_Page]:
    """Yield the pages of a column in one row group.

    Raises:
        LookupError, TypeError, ValueError: it has other pages, too, or is damaged.
    """
    stop = row + rows
    while offset < end:
        file.seek(offset)
        header = _Header(file.read(_MAX_HEADER_BYTES))
        fields = header.struct()
        values = fields[_DATA_PAGES[fields[1]]]
        count, unpacked, packed = int(values[1]), int(fields[2]), int(fields[3])
        if values[2] in _DICTIONARY_ENCODINGS or min(count, unpacked, packed) < 0:
            raise ValueError
        size = header.length + packed
        yield _Page(row, count, offset, size, unpacked, codec)
        row, offset = row + count, offset + size
    if (row, offset) != (stop, end):
        raise ValueError


def _values(
    path: str, repetition: int, rows: tuple[int, int], memory_mb: int, page: _Page
) -> Iterator[bytes]:
    """Yield the values of a page that are in these rows of the file. Until the last one, it is in memory."""
    bounds = [max(0, row - page.row) for row in rows]
    with tempfile.TemporaryFile() as file, connect(memory_mb) as connection:
        _write_file(file, path, page, repetition)
        result = connection.execute(_VALUES, [f"/dev/fd/{file.fileno()}", *bounds])
        while values := result.fetchmany(FETCHED_ROWS):
            for (value,) in values:
                yield msgspec.json.encode(value)


def _spooled(values: Iterable[bytes]) -> Iterator[bytes]:
    """Copy values to the disk, and yield them from there. So the page of one column gives way to that of another."""
    with tempfile.TemporaryFile() as file:
        file.writelines(value + b"\n" for value in values)
        file.seek(0)
        for line in file:
            yield line[:-1]


def _write_file(target: IO[bytes], path: str, page: _Page, repetition: int) -> None:
    """Write a Parquet file with one page of one column."""
    target.write(_MAGIC)
    with open(path, "rb") as source:  # noqa: PTH123 - as above
        source.seek(page.offset)
        remaining = page.size
        while block := source.read(min(remaining, _COPIED_BYTES)):
            target.write(block)
            remaining -= len(block)
    footer = _footer(page, repetition)
    target.write(footer + len(footer).to_bytes(4, "little") + _MAGIC)
    target.flush()


class _Header:
    """The header of a page, in Thrift's compact protocol."""

    def __init__(self, data: bytes) -> None:
        self._data, self.length = data, 0

    def struct(self) -> dict[int, Any]:
        """Read a struct, as values by the numbers of their fields."""
        fields, number = dict[int, Any](), 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 15)
        return fields

    def _value(self, kind: int) -> Any:  # noqa: ANN401 - of any type
        if kind in _BOOLEANS:
            return _BOOLEANS[kind]
        if kind in {_I32, _I64}:
            return self._integer()
        if kind == _BINARY:
            self.length += self._varint()
            return None
        if kind == _STRUCT:
            return self.struct()
        raise ValueError

    def _byte(self) -> int:
        self.length += 1
        return self._data[self.length - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) > _LOW_BITS:
            value |= (byte & _LOW_BITS) << shift
            shift += 7
            if shift > _MAX_SHIFT:
                raise ValueError
        return value | byte << shift

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)


def _footer(page: _Page, repetition: int) -> bytes:
    """Return the footer of a file that has a page after `_MAGIC`, with the column "v".

    https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
    """
    byte_array, utf8, offset = _integer(6), _integer(0), _integer(len(_MAGIC))
    rows, unpacked, size = map(_integer, (page.rows, page.unpacked_bytes, page.size))
    name = b"\1v"
    root = _struct((4, _BINARY, name), (5, _I32, _integer(1)))
    column = _struct(
        (1, _I32, byte_array), (3, _I32, _integer(repetition)), (4, _BINARY, name), (6, _I32, utf8)
    )
    chunk = _struct(
        (1, _I32, byte_array), (2, _LIST, _list(_I32, _integer(0))), (3, _LIST, _list(_BINARY, name)),
        (4, _I32, _integer(page.codec)), (5, _I64, rows), (6, _I64, unpacked), (7, _I64, size), (9, _I64, offset),
    )  # fmt: skip
    columns = _list(_STRUCT, _struct((2, _I64, offset), (3, _STRUCT, chunk)))
    group = _struct((1, _LIST, columns), (2, _I64, unpacked), (3, _I64, rows))
    schema, groups = _list(_STRUCT, root, column), _list(_STRUCT, group)
    return _struct((1, _I32, _integer(1)), (2, _LIST, schema), (3, _I64, rows), (4, _LIST, groups))


def _struct(*fields: tuple[int, int, bytes]) -> bytes:
    """Write a struct of Thrift's compact protocol: numbers, types and values of its fields."""
    written, last = b"", 0
    for number, kind, value in fields:
        written += bytes([number - last << 4 | kind]) + value
        last = number
    return written + b"\0"


def _list(kind: int, *values: bytes) -> bytes:
    return bytes([len(values) << 4 | kind]) + b"".join(values)


def _integer(value: int) -> bytes:
    """Write a number that is not negative."""
    value <<= 1
    written = bytearray()
    while value > _LOW_BITS:
        written.append(value & _LOW_BITS | _LOW_BITS + 1)
        value >>= 7
    return bytes([*written, value])
