"""Parquet files, written by DuckDB."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import duckdb
import msgspec

from functions.readers.parquet_rows import identifier, literal


def parquet_file(query: str, options: str = "") -> bytes:
    """Return a Parquet file with the rows of a query.

    Args:
        query: the query, in DuckDB's SQL.
        options: more options of COPY: ``, row_group_size 2048``.
    """
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        path = Path(folder, "rows.parquet")
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet{options})")
        return path.read_bytes()


def parquet_of(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    """Return a Parquet file with these columns of text, and these rows."""
    listed = literal(msgspec.json.encode(rows).decode())
    cells = ", ".join(
        f"row[{number}] AS {identifier(name)}" for number, name in enumerate(names, 1)
    )
    values = f"""unnest(from_json({listed}::JSON, '[["VARCHAR"]]')) AS row"""
    return parquet_file(f"SELECT {cells} FROM (SELECT {values})")  # noqa: S608 - names and values are quoted
