"""Describe a Parquet file, or print its rows as JSON. `parquet` runs this file as a process of its own.

DuckDB keeps to a limit of memory of its own making. A file that breaks it, or DuckDB itself, ends only this process.
Of all other modules only `functions.exports.parquet_writer` imports DuckDB, which is in a Lambda layer of its own.
"""

import resource
import sys
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import duckdb

MEMORY_MB = 300
"""Memory for DuckDB's buffers; submit has 512 MB in total, and needs about 100 MB itself."""
PAGES_MEMORY_MB = 480
"""Memory for the buffers of large pages. DuckDB writes pages of 100 MB, and holds two of them and one that is packed.

It counts three buffers of 134 MB, of which up to 300 MB are used. Only a row group of `_LARGE_GROUP_BYTES` has such
pages: in a smaller one, rows themselves would use it all.
"""
_LARGE_GROUP_BYTES = 100_000_000
"""Unpacked bytes of a row group that may have large pages."""
DATA_BYTES = 700 << 20
"""Address space for data of this process, for what DuckDB does not count."""
LARGE_PAGE_BYTES = 16_000_000
"""Unpacked bytes of a large page."""
UNREADABLE = 3
TOO_LARGE = 4
"""Exit codes."""
ROW_NUMBER = "file_row_number"
"""DuckDB's own column: the number of the row in the file, from 0."""
_VECTOR_ROWS = 2048
"""Rows that DuckDB handles at once."""
FETCHED_ROWS = 16
"""Rows that are copied from DuckDB at once."""
_FEWER = 8
"""By how much fewer rows are read at once, if these need too much memory."""
_SETTINGS = [
    "TimeZone = 'UTC'",
    "disable_parquet_prefetching = true",  # it reads a row group at once, whatever its size
    "enable_external_file_cache = false",
    "read_ahead_depth = 0",
    "parquet_use_page_index = false",  # it is outside the row groups
]
_BINARY = {"blob", "bit", "geometry", "variant"}
_NESTED = {"list", "array", "struct", "map", "union"}
_TIMES = {"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"}
_TIME_WITH_ZONE = "timestamp with time zone"
_CHUNK_START = (
    "least(data_page_offset, coalesce(nullif(dictionary_page_offset, 0), data_page_offset))"
)
_GROUPS = f"""
    SELECT any_value(row_group_num_rows), min({_CHUNK_START}), max({_CHUNK_START} + total_compressed_size)
    FROM parquet_metadata(?) GROUP BY row_group_id ORDER BY row_group_id
"""  # noqa: S608 - a constant
_LARGEST_GROUP = """
    SELECT coalesce(max(size), 0) FROM
    (SELECT sum(total_uncompressed_size) AS size FROM parquet_metadata(?) GROUP BY row_group_id)
"""
_LARGEST_CHUNK = "SELECT coalesce(max(total_uncompressed_size), 0) FROM parquet_metadata(?)"


class RowGroup(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive rows of a file, and the bytes that contain them.

    Attributes:
        row: the first row, from 0.
        stop: the row after the last one.
        start_byte: the first byte.
        stop_byte: the byte after the last one.
    """

    row: int
    stop: int
    start_byte: int
    stop_byte: int


class ParquetTable(msgspec.Struct, frozen=True):
    """What the footer of a file says.

    Attributes:
        columns: the names of the columns.
        binary: those of them whose values are no text.
        groups: the row groups, in order.
    """

    columns: list[str]
    binary: list[str]
    groups: list[RowGroup]


def main(path: str, rows: str = "") -> int:
    """Print the `ParquetTable` of a file, or each of its rows as a JSON object of texts.

    Args:
        path: the file. It may lack all bytes but the footer and the rows to print.
        rows: the first row and the one after the last: ``0-100``; empty for the table.

    Returns:
        The exit code.
    """
    import duckdb  # noqa: PLC0415 - only this process loads it

    resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, DATA_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        if rows:
            _print_rows(path, *map(int, rows.split("-")))
        else:
            sys.stdout.buffer.write(msgspec.json.encode(_table(path)))
    except (duckdb.OutOfMemoryException, MemoryError):
        return TOO_LARGE
    except (duckdb.Error, RuntimeError):  # the latter is a name that is not UTF-8
        return UNREADABLE
    return 0


def connect(memory_mb: int = MEMORY_MB) -> "duckdb.DuckDBPyConnection":
    """Return a connection that fetches no extension and writes nothing to the disk."""
    import duckdb  # noqa: PLC0415 - only this process loads it

    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": f"{memory_mb}MB",
        "temp_directory": "",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    connection = duckdb.connect(config=config)
    for setting in _SETTINGS:
        connection.execute(f"SET {setting}")
    return connection


def _relation(connection: "duckdb.DuckDBPyConnection", path: str) -> "duckdb.DuckDBPyRelation":
    return connection.sql("FROM read_parquet(?, hive_partitioning = false)", params=[path])


def _table(path: str) -> ParquetTable:
    with connect() as connection:
        relation = _relation(connection, path)
        columns, types = relation.columns, relation.types
        counts = connection.execute(_GROUPS, [path]).fetchall()
    groups, row = list[RowGroup](), 0
    for rows, start, stop in counts:
        if rows:
            groups.append(RowGroup(row, row + rows, start, stop))
            row += rows
    binary = [name for name, type_ in zip(columns, types, strict=True) if _is_binary(type_)]
    return ParquetTable(columns, binary, groups)


def _is_binary(type_: Any) -> bool:  # noqa: ANN401 - its class is in a module that only DuckDB itself imports
    """Return whether a value of this type is or contains bytes."""
    if type_.id in _NESTED:
        return any(_is_binary(child) for _, child in type_.children if hasattr(child, "id"))
    return type_.id in _BINARY


def _print_rows(path: str, row: int, stop: int) -> None:
    """Print rows. If these need too much memory at once, allow for large pages, or read fewer at once."""
    import duckdb  # noqa: PLC0415 - only this process loads it

    at_once, memory_mb = stop - row, MEMORY_MB
    while row < stop:
        try:
            for text in texts(path, row, min(row + at_once, stop), memory_mb):
                sys.stdout.buffer.write(text + b"\n")
                row += 1
        except (duckdb.OutOfMemoryException, MemoryError):
            if memory_mb == MEMORY_MB and _has_large_pages(path):
                memory_mb = PAGES_MEMORY_MB
            elif at_once == 1:
                raise
            else:
                at_once = max(1, min(at_once, _VECTOR_ROWS) // _FEWER)


def _has_large_pages(path: str) -> bool:
    with connect() as connection:
        [(size,)] = connection.execute(_LARGEST_GROUP, [path]).fetchall()
    return bool(size >= _LARGE_GROUP_BYTES)


def texts(path: str, row: int, stop: int, memory_mb: int) -> Iterator[bytes]:
    """Yield rows as JSON."""
    import duckdb  # noqa: PLC0415 - only this process loads it

    with connect(memory_mb) as connection:
        relation = _relation(connection, path)
        large = _large_columns(connection, path, relation.columns, (row, stop), memory_mb)
        query = _query(relation.columns, relation.types, large)
        result = connection.execute(query, [path, row, stop])
        while rows := result.fetchmany(FETCHED_ROWS):
            row += len(rows)
            for (text,) in rows:
                yield _filled(text, large) if large else text.encode()
    if row < stop:
        message = "the file has fewer rows than its footer says"
        raise duckdb.InvalidInputException(message)


def _large_columns(
    connection: "duckdb.DuckDBPyConnection",
    path: str,
    columns: list[str],
    rows: tuple[int, int],
    memory_mb: int,
) -> dict[str, Iterator[bytes]]:
    """Return the values of columns that are read page by page; see `parquet_pages`."""
    [(size,)] = connection.execute(_LARGEST_CHUNK, [path]).fetchall()
    if size < LARGE_PAGE_BYTES:
        return {}
    from functions.readers.parquet_pages import large_columns  # noqa: PLC0415 - it imports much

    return large_columns(connection, path, columns, rows, memory_mb)


def _filled(text: str, large: dict[str, Iterator[bytes]]) -> bytes:
    """Return a row as JSON, with the values of columns that are read page by page."""
    cells = msgspec.json.decode(text)
    for name, values in large.items():
        cells[name.strip()] = msgspec.Raw(next(values))
    return msgspec.json.encode(cells)


def _query(columns: list[str], types: list[Any], large: Collection[str]) -> str:
    members = ", ".join(
        f"{literal(name.strip())}, "
        + ("''" if name in large else f"coalesce({_text(identifier(name), type_.id)}, '')")
        for name, type_ in zip(columns, types, strict=True)
    )
    return (
        f"SELECT json_object({members}) FROM read_parquet(?, hive_partitioning = false) "  # noqa: S608 - names are quoted
        f"WHERE {ROW_NUMBER} >= ? AND {ROW_NUMBER} < ?"
    )


def _text(value: str, kind: str) -> str:
    """Return the expression of a value as text: times in ISO 8601, nested values as JSON."""
    text = f"CAST({value} AS VARCHAR)"
    if kind in _NESTED:
        return f"CAST(to_json({value}) AS VARCHAR)"
    if kind in _TIMES:
        return f"replace({text}, ' ', 'T')"
    if kind == _TIME_WITH_ZONE:
        return f"replace(replace({text}, ' ', 'T'), '+00', 'Z')"
    return text


def literal(text: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return the name of a column as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
