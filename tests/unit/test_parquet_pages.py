"""Text columns that have large pages are read page by page, and their values are the same."""

from pathlib import Path

import duckdb
import msgspec
import pytest

from functions.readers import parquet_pages, parquet_rows
from tests.unit.parquet_files import parquet_file

ROWS = 3000
PAGES = ", data_page_size_limit 40_000, row_group_size 2048"
"""Three pages: the rows up to 1,390, to 2,048 and to 3,000."""
_TEXT = "'größe ' || i || repeat('x', i % 50)"
TEXT = f"SELECT i AS id, {_TEXT} AS text FROM range({ROWS}) t(i)"  # noqa: S608 - constants
GAPS = f"SELECT i AS id, CASE i % 7 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE {_TEXT} END AS text FROM range({ROWS}) t(i)"  # noqa: S608 - as above

NEVER_NULL = f"SELECT 'a constant' AS text FROM range({ROWS})"  # noqa: S608 - as above
BOTH = f"SELECT 'a constant' AS before, text FROM ({GAPS})"  # noqa: S608 - as above
_LAST_PAGE = "SELECT max(data_page_offset) FROM parquet_metadata(?)"


@pytest.fixture(autouse=True)
def all_pages_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (parquet_rows, parquet_pages):
        monkeypatch.setattr(module, "LARGE_PAGE_BYTES", 1)


def stored(folder: Path, query: str, options: str = PAGES) -> Path:
    path = folder / "rows.parquet"
    path.write_bytes(parquet_file(query, options))
    return path


def rows(path: Path, row: int = 0, stop: int = ROWS) -> list[dict[str, str]]:
    lines = [*parquet_rows.texts(str(path), row, stop, parquet_rows.MEMORY_MB)]
    assert not any(b"\n" in line for line in lines)
    return [msgspec.json.decode(line) for line in lines]


def page_by_page(path: Path) -> list[str]:
    """Return the columns that are read page by page."""
    with parquet_rows.connect() as connection:
        columns = connection.read_parquet(str(path)).columns
        return sorted(parquet_pages.large_columns(connection, str(path), columns, (0, ROWS), 300))


@pytest.mark.parametrize(
    ("query", "options", "large"),
    [
        (NEVER_NULL, f"{PAGES}, dictionary_size_limit 0", ["text"]),
        (BOTH, f"{PAGES}, dictionary_size_limit 0", ["before", "text"]),
        (TEXT, f"{PAGES}, compression uncompressed", ["text"]),
        (GAPS, f"{PAGES}, compression snappy", ["text"]),
        (GAPS, f"{PAGES}, compression gzip", ["text"]),
        (GAPS, f"{PAGES}, compression zstd", ["text"]),
        (GAPS, f"{PAGES}, compression brotli", ["text"]),
        (GAPS, f"{PAGES}, compression lz4_raw", ["text"]),
        (GAPS, f"{PAGES}, parquet_version v2", ["text"]),
        (TEXT.replace("AS text", 'AS "it\'s "'), PAGES, ["it's "]),
    ],
)
def test_the_values_are_those_that_duckdb_reads(
    query: str, options: str, large: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(tmp_path, query, options)
    assert page_by_page(path) == large

    ours = rows(path)
    monkeypatch.setattr(parquet_rows, "LARGE_PAGE_BYTES", 1 << 40)

    assert ours == rows(path)
    assert [list(row) for row in ours] == [list(ours[0])] * ROWS


@pytest.mark.parametrize(("row", "stop"), [(0, 1), (1389, 1391), (1390, 2048), (2047, 2049), (2999, ROWS)])  # fmt: skip
def test_reading_begins_and_ends_anywhere(row: int, stop: int, tmp_path: Path) -> None:
    ids = [cells["id"] for cells in rows(stored(tmp_path, TEXT), row, stop)]
    texts = [cells["text"] for cells in rows(stored(tmp_path, TEXT), row, stop)]

    assert ids == [str(number) for number in range(row, stop)]
    assert texts == [f"größe {number}" + "x" * (number % 50) for number in range(row, stop)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 'one text' AS a FROM range(3000)",  # a dictionary
        f"SELECT [text] AS a FROM ({TEXT})",  # noqa: S608 - as above
        f"SELECT {{'text': text}} AS a FROM ({TEXT})",  # noqa: S608 - as above
        f"SELECT to_json(text) AS a FROM ({TEXT})",  # noqa: S608 - as above
        f"SELECT id AS a FROM ({TEXT})",  # noqa: S608 - as above
    ],
)
def test_other_columns_are_read_by_duckdb_itself(query: str, tmp_path: Path) -> None:
    assert page_by_page(stored(tmp_path, query)) == []


def test_columns_that_duckdb_renames_are_read_by_duckdb_itself(tmp_path: Path) -> None:
    path = stored(tmp_path, f"SELECT text AS aa, text AS bb FROM ({TEXT})")  # noqa: S608 - as above
    assert page_by_page(path) == ["aa", "bb"]

    path.write_bytes(path.read_bytes().replace(b"\2bb", b"\2AA"))

    assert page_by_page(path) == []


def test_damage_ends_with_an_error_of_duckdb_or_is_not_noticed(tmp_path: Path) -> None:
    path = stored(tmp_path, TEXT, f"{PAGES}, compression uncompressed")
    [(offset,)] = duckdb.execute(_LAST_PAGE, [str(path)]).fetchall()
    whole = path.read_bytes()

    for damaged in range(offset, offset + 16):
        path.write_bytes(whole[:damaged] + b"\xff" + whole[damaged + 1 :])
        try:
            assert len(rows(path, 2500)) == 500
        except (duckdb.Error, RuntimeError):
            continue
