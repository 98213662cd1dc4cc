"""Parquet: each value is the text that a CSV file would have, and only wanted row groups are fetched."""

import csv
import io
import subprocess
from collections.abc import Iterator

import msgspec
import pytest

from functions.errors import ObjectUnreadableError, UnreadableUploadError
from functions.model.rows import Record
from functions.readers import parquet
from functions.readers.tables import TablePosition
from tests.unit.parquet_files import parquet_file
from tests.unit.uploads import Upload

GROUP_ROWS = 2048
MANY_GROUPS = parquet_file(
    "SELECT i AS id, repeat(i::VARCHAR, 20) AS text FROM range(4 * 2048) t(i)",
    f", row_group_size {GROUP_ROWS}, compression uncompressed",
)


def records(body: bytes, row_bytes: int = 1 << 20) -> list[Record]:
    return list(parquet.read(Upload(body), parquet.START, row_bytes))


def cells(record: Record) -> list[str]:
    assert record.data is not None
    return list(msgspec.json.decode(record.data, type=dict[str, str]).values())


class Counting(Upload):
    """An upload that counts the bytes that are read."""

    read_bytes = 0

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        for block in super().read(start, stop):
            object.__setattr__(self, "read_bytes", self.read_bytes + len(block))
            yield block


VALUES = [
    ("'a text'", "a text"),
    ("' spaces '", " spaces "),
    ("'größe \U0001f600'", "größe \U0001f600"),
    ("'quo\"te, back\\slash' || chr(10) || chr(1)", 'quo"te, back\\slash\n\x01'),
    ("''", ""),
    ("NULL::VARCHAR", ""),
    ("NULL::STRUCT(a INT)", ""),
    ("true", "true"),
    ("-3", "-3"),
    ("18446744073709551615::UBIGINT", "18446744073709551615"),
    ("1.50::DECIMAL(4, 2)", "1.50"),
    ("12345678901234567890123456.1::DECIMAL(38, 1)", "12345678901234567890123456.1"),
    ("0.1::FLOAT", "0.1"),
    ("1.0::DOUBLE", "1.0"),
    ("'nan'::DOUBLE", "nan"),
    ("DATE '2026-01-02'", "2026-01-02"),
    ("TIME '03:04:05.5'", "03:04:05.5"),
    ("TIMESTAMP '2026-01-02 03:04:05'", "2026-01-02T03:04:05"),
    ("'2026-01-02 03:04:05.123456789'::TIMESTAMP_NS", "2026-01-02T03:04:05.123456789"),
    ("TIMESTAMPTZ '2026-01-02 03:04:05+05'", "2026-01-01T22:04:05Z"),
    ("'5f0b8a38-0000-4000-8000-000000000000'::UUID", "5f0b8a38-0000-4000-8000-000000000000"),
    ("'{\"a\":  1}'::JSON", '{"a":  1}'),
    ("[1, NULL, 3]", "[1,null,3]"),
    ("{'role': 'user', 'n': 1.50::DECIMAL(4, 2)}", '{"role":"user","n":1.5}'),
    ("MAP {'k': ['v']}", '{"k":["v"]}'),
]
"""SQL → the text of its value."""


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Return the values as they are read, all from one file, because each reading takes a second."""
    columns = ", ".join(f"{value} AS v{number}" for number, (value, _) in enumerate(VALUES))
    (record,) = records(parquet_file(f"SELECT {columns}"))
    return dict(zip([value for value, _ in VALUES], cells(record), strict=True))


@pytest.mark.parametrize(("value", "expected"), VALUES)
def test_a_value_is_text(value: str, expected: str, texts: dict[str, str]) -> None:
    assert texts[value] == expected


def test_names_of_columns_may_be_anything_that_a_header_may_be() -> None:
    body = parquet_file(
        """SELECT 1 AS "it's", 2 AS "a "" quote", 3 AS "größe.x", 4 AS " edge " """
    )
    (record,) = records(body)

    assert record.data == '{"it\'s":"1","a \\" quote":"2","größe.x":"3","edge":"4"}'.encode()
    assert isinstance(record.end, TablePosition)
    assert parquet.columns(record.end) == ("it's", 'a " quote', "größe.x", "edge")


def test_a_row_knows_its_place_in_the_file() -> None:
    first, second = records(parquet_file("SELECT unnest([NULL, 2]) AS a"))

    assert (first.line, first.offset, first.end) == (1, 0, TablePosition(1, 2, ("a",)))
    assert (second.line, second.offset, second.end) == (2, 1, TablePosition(2, 3, ("a",)))


def test_a_row_that_is_too_long_has_no_data() -> None:
    (record,) = records(parquet_file("SELECT repeat('x', 60) AS a"), row_bytes=50)

    assert record.data is None
    assert record.fault == (
        "too_long",
        "the row is 68 bytes long; the limit is 50; shorten it or raise the setting rowBytes",
    )


def test_an_empty_file_has_no_rows() -> None:
    assert records(parquet_file("SELECT 1 AS a WHERE false")) == []


@pytest.mark.parametrize("window_bytes", [1, 500_000, 1 << 30])
def test_reads_all_row_groups_in_order(window_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "WINDOW_BYTES", window_bytes)

    ids = [cells(record)[0] for record in records(MANY_GROUPS)]

    assert ids == [str(number) for number in range(4 * GROUP_ROWS)]


def test_fetches_only_the_row_groups_that_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "WINDOW_BYTES", 1)
    source = Counting(MANY_GROUPS)

    first = next(
        parquet.read(source, TablePosition(3 * GROUP_ROWS + 5, 1, ("id", "text")), 1 << 20)
    )

    assert cells(first)[0] == str(3 * GROUP_ROWS + 5)
    assert source.read_bytes < len(MANY_GROUPS) * 0.4


def test_retries_only_the_row_groups_that_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "WINDOW_BYTES", 1)
    source = Counting(MANY_GROUPS)

    rows = b"".join(parquet.retry_rows(source, [1, GROUP_ROWS - 1], [2, 2]))

    ids = [row[0] for row in csv.reader(io.StringIO(rows.decode()))]
    assert ids == ["1", "2", str(GROUP_ROWS - 1), str(GROUP_ROWS)]
    assert source.read_bytes < len(MANY_GROUPS) * 0.7


_DAMAGED = (
    "the file is no Parquet file, or damaged, cut off or encrypted; write and upload it again"
)
_ONE = parquet_file("SELECT repeat('x', 500) AS a", ", compression uncompressed")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", _DAMAGED),
        (b"PAR1", _DAMAGED),
        (b"a,b\n1,2\n1,2\n", _DAMAGED),
        (b"PAR1" + b"x" * 100 + b"PAR1", _DAMAGED),
        (b"PAR1" + (4).to_bytes(4, "little") * 2 + b"PAR1", _DAMAGED),
        (MANY_GROUPS[:-40], _DAMAGED),
        (MANY_GROUPS[:4000] + MANY_GROUPS[5000:], _DAMAGED),
        (MANY_GROUPS[:10] + b"\xff" * 4000 + MANY_GROUPS[4010:], _DAMAGED),
        (_ONE.replace(b"x" * 500, b"\xff" * 500), _DAMAGED),
        (_ONE[:4] + _ONE[-8:], _DAMAGED),
        (_ONE[:-4] + b"PARE", _DAMAGED),
        (parquet_file("SELECT 1 AS größe").replace("ö".encode(), b"\xff\xff"), _DAMAGED),
        (parquet_file("SELECT 'x'::BLOB AS a"), 'the column "a" has binary values; convert them to text, or leave the column out'),
        (parquet_file("SELECT 1 AS a, [{'x': 'x'::BLOB}] AS b"), 'the column "b" has binary values; convert them to text, or leave the column out'),
        (parquet_file('SELECT 1 AS "File_Row_Number"'), 'the column "file_row_number" cannot be read; give it another name'),
        (parquet_file('SELECT 1 AS " "'), "the table has no header; name the columns in its first row"),
        (parquet_file('SELECT 1 AS a, 2 AS "a "'), '2 columns are named "a"; use each name once (the header: a, a)'),
    ],
)  # fmt: skip
def test_refuses_what_it_cannot_read(body: bytes, expected: str) -> None:
    with pytest.raises(UnreadableUploadError) as refusal:
        records(body)

    assert str(refusal.value) == expected


def test_a_small_file_that_needs_much_memory_is_refused() -> None:
    body = parquet_file("SELECT repeat('x', 200_000_000) AS a", ", compression zstd")

    with pytest.raises(UnreadableUploadError, match=r"more than 300 MB .* smaller row groups"):
        records(body)


def test_reads_fewer_rows_at_once_where_these_need_much_memory() -> None:
    """One text that all rows share takes a little room in the file, and 200 MB for 2,048 rows."""
    body = parquet_file("SELECT i AS id, repeat('x', 100_000) AS a FROM range(3000) t(i)")

    assert len(body) < 1_000_000
    assert [cells(record)[0] for record in records(body)] == [*map(str, range(3000))]


def test_reads_nested_values_in_pages_of_100_mb() -> None:
    """Hexadecimal digits do not become smaller with Snappy: two pages and a packed one need 300 MB."""
    text = "array_to_string([md5((i * 64 + x)::VARCHAR) for x in range(64)], '')"
    body = parquet_file(f"SELECT i AS id, [{text}] AS a FROM range(60_000) t(i)")  # noqa: S608 - constants

    assert len(body) > 120_000_000
    brackets = len('[""]')
    assert sum(len(cells(record)[1]) - brackets for record in records(body)) == 60_000 * 64 * 32


def test_a_row_group_that_is_too_large_for_the_disk_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parquet, "MAX_GROUP_BYTES", 1000)

    with pytest.raises(UnreadableUploadError, match=r"the limit is 1,000; write it with smaller"):
        records(MANY_GROUPS)


def test_a_footer_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_MAX_FOOTER_BYTES", 100)

    with pytest.raises(UnreadableUploadError, match=r"the limit is 100; write fewer row groups"):
        records(MANY_GROUPS)


def test_the_process_ends_with_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        processes.append(popen(*arguments, **options))  # type: ignore[call-overload]
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    rows = parquet.read(Upload(MANY_GROUPS), parquet.START, 1 << 20)
    next(rows)

    del rows

    assert [process.returncode is not None for process in processes] == [True, True]


def test_a_file_that_lost_rows_is_an_error() -> None:
    rows = parquet.retry_rows(Upload(parquet_file("SELECT 1 AS a")), [0, 1], [1, 1])

    assert next(rows) == b"1\r\n"
    with pytest.raises(ObjectUnreadableError, match="shorter than it was"):
        next(rows)


def test_the_retry_file_is_csv() -> None:
    body = parquet_file(
        "SELECT unnest(['=1', 'no', NULL]) AS \"a;x\", 'two' || chr(10) || 'lines' AS b"
    )
    first, _, last = records(body)
    rows = parquet.retry_rows(Upload(body), [first.offset, last.offset], [1, 1])

    assert isinstance(last.end, TablePosition)
    file = parquet.retry_head(last.end) + b"".join(rows)

    assert [*csv.reader(io.StringIO(file.decode("utf-8-sig"), newline=""))] == [
        ["a;x", "b"], ["=1", "two\nlines"], ["", "two\nlines"],
    ]  # fmt: skip
