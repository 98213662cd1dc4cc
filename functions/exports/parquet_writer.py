"""Write results.parquet. `functions.assembling.results_parquet` runs this file as a process of its own.

Takes one argument, a `Task` as JSON.
"""

import resource
import sys
from pathlib import Path

import msgspec

from functions.readers.parquet_rows import (
    DATA_BYTES,
    TOO_LARGE,
    UNREADABLE,
    connect,
    identifier,
    literal,
)

MISMATCH = 5
"""Exit code: the upload has another number of rows than the job."""
MEMORY_MB = 380
"""Memory for DuckDB's buffers. For an upload that DuckDB wrote, they hold two pages of 100 MB. Results has 512 MB, of
which it needs about 70 MB itself."""
_GROUP_BYTES = 32_000_000
_VECTOR_ROWS = 2048
_MAX_GROUP_ROWS = 122_880
_MIN_LINE_BYTES = 1 << 20


class Task(msgspec.Struct, frozen=True):
    """What to write.

    Attributes:
        target: the file to write.
        lines: the joined parts of the export.
        size_bytes: their size.
        rows: the rows of the job.
        names: the names of all columns.
        counts: the numbers of the columns that hold whole numbers.
        upload: the upload, if it is Parquet: its columns keep their types.
        own: how many of the columns are those of the upload.
    """

    target: str
    lines: str
    size_bytes: int
    rows: int
    names: list[str]
    counts: list[int]
    upload: str | None
    own: int


def main(task: Task) -> int:
    """Write the file. Return the exit code."""
    import duckdb  # noqa: PLC0415 - only this process loads it

    resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, DATA_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        return _write(task)
    except (duckdb.OutOfMemoryException, MemoryError):
        return TOO_LARGE
    except duckdb.Error:
        return UNREADABLE


def _write(task: Task) -> int:
    with Path(task.lines).open("rb") as file:
        line_bytes = max(map(len, file), default=0)
    with connect(MEMORY_MB) as connection:
        columns = [f'a."{number}" AS {identifier(name)}' for number, name in enumerate(task.names)]
        source = f"{_lines(task, line_bytes)} a"
        if task.upload is not None:
            upload = f"read_parquet({literal(task.upload)}, hive_partitioning = false)"
            [(rows,)] = connection.execute(f"SELECT count(*) FROM {upload}").fetchall()  # noqa: S608 - our own path
            if rows != task.rows:
                return MISMATCH
            columns = ["u.*", *columns[task.own :]]
            source = f"{upload} u POSITIONAL JOIN {source}"
        connection.execute(
            f"COPY (SELECT {', '.join(columns)} FROM {source}) TO {literal(task.target)} "  # noqa: S608 - names are quoted
            f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_group_rows(task)})"
        )
    return 0


def _lines(task: Task, line_bytes: int) -> str:
    """Return the source of the lines. DuckDB reserves twice the length that a line may have."""
    types = ", ".join(
        f"'{number}': '{'BIGINT' if number in task.counts else 'VARCHAR'}'"
        for number in range(len(task.names))
    )
    return (
        f"read_json({literal(task.lines)}, format = 'newline_delimited', columns = {{{types}}}, "
        f"maximum_object_size = {max(line_bytes, _MIN_LINE_BYTES)})"
    )


def _group_rows(task: Task) -> int:
    """Return the rows of a row group that has about `_GROUP_BYTES`."""
    vectors = _GROUP_BYTES * task.rows // max(1, task.size_bytes) // _VECTOR_ROWS
    return min(max(1, vectors) * _VECTOR_ROWS, _MAX_GROUP_ROWS)


if __name__ == "__main__":
    sys.exit(main(msgspec.json.decode(sys.argv[1], type=Task)))
