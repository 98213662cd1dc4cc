"""Parquet files, written by DuckDB."""

import tempfile
from pathlib import Path

import duckdb


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
