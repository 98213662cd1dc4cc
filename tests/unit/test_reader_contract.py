"""Every reader obeys `functions.readers.contract`: positions, records and the retry file."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import compress, product
from typing import Any

import msgspec
import pytest

from functions.errors import ObjectUnreadableError
from functions.model.items.job import Checkpoint
from functions.model.rows import LineBlock, Position, Record
from functions.model.upload_format import UploadFormat
from functions.readers import READERS, jsonl, position_of, stored
from functions.readers.contract import Reader
from functions.readers.cutting import read_rows
from functions.readers.tables import TablePosition
from tests.unit.factories import job
from tests.unit.parquet_files import parquet_file
from tests.unit.uploads import Upload
from tests.unit.workbooks import workbook

ROW_BYTES = 64

_JSONL = [
    b"",
    b'{"a":1}\n{"b":2}\n{"c":3}\n',
    b'\xef\xbb\xbf{"a":1}\r\n\r\n {"b":2} {"c":3}\t{"d":4}\n\n"e"',
    b'{"a":1}\nno json\n{"long":"' + b"x" * ROW_BYTES + b'"}\n{"d":"\xc3\xa9"}\n\x1a',
]
_JSON = [
    b"[]",
    b'\xef\xbb\xbf [\r\n {"a":1},\n {"b":\r\n  [2, "]}"]}, 3,"e"\n]\r\n\x1a',
    b'{"model":"m","more":{"requests":[0]},"requests":[{"a":1},{"long":"'
    + b"x" * ROW_BYTES
    + b'"},{"b":2}],"z":1}',
    b'{\n  "a": 1\n}\n{\n  "b": "\xc3\xa9"\n},\n[{"c":3}]{"requests":[{"d":4}]}',
    b'[,{"a":1},,{"b":2}{"c":3},{"d":NaN},\n]\ngarbage {\n}',
    b'[{"a":1},{"b":[2}, {"c":"\n',
    b'{"requests":[{"a":1},],"z" 1}',
    b'[{"a":1}',
]
_CSV = [
    b"a,b\n1,2\n3,4\n5,6\n",
    b'\xef\xbb\xbfsep=;\r\n "a;x" ; b\r\n1;"x ""y""\r\nz"\r\n\r\n;\xc3\xa9\r\n',
    b'a\tb\n1\t2\r3\n\t"4\n"\t5\t6\n7\t"8 9\n10\t"11"\n' + b"x" * ROW_BYTES + b"\t12",
    b'a\n""\n\n1\na text that ends in \xff\n"2" \n' + b'"' + b"3\n" * ROW_BYTES + b'"\n4',
]
_XLSX = [
    workbook([["a", "b"], ["x", 1], [], ["y", True], ["z"]]),
    workbook([[], [None, "a;x", "b"], [None, 'quo"te', "\r\n,"], [], [None, 1, 2, 3], [None, None, "x" * ROW_BYTES]]),
    workbook([["a"], ["one"], [" "], [2]]),
]  # fmt: skip
_PARQUET = [
    parquet_file("SELECT unnest([1, 2, 3]) AS a, unnest(['x', NULL, 'y']) AS b"),
    parquet_file("SELECT unnest(['', ' ', chr(10)]) AS a"),
    parquet_file("""SELECT unnest(['"', '#', repeat('x', 64)]) AS "a;x", NULL AS "sep=," """),
]
SAMPLES: dict[str, list[bytes]] = {
    "jsonl": _JSONL,
    "json": _JSON,
    "csv": _CSV,
    "xlsx": _XLSX,
    "parquet": _PARQUET,
}
"""Uploads of each format, with deliberate flaws."""


class _Headed(Position, frozen=True):
    header: str = ""


class _Columns:
    """A reader of another kind: its first line is a header that every position keeps."""

    START = _Headed()
    RETRY_NAME = "retry.columns"

    def read(self, source: Upload, position: _Headed, row_bytes: int) -> Iterator[Record]:
        offset, header = position.byte, position.header
        for number, line in enumerate(b"".join(source.read(offset)).splitlines(keepends=True)):
            if not header:
                header, offset = line.decode(), offset + len(line)
                continue
            row_size, row_start, offset = len(line.rstrip(b"\n")), offset, offset + len(line)
            line_data = header.encode().rstrip() + b"=" + line.rstrip(b"\n")
            data = line_data if row_size <= row_bytes else None
            yield Record(number + 1, 1, row_start, row_size, data, _Headed(offset, header))

    def retry_head(self, position: _Headed) -> bytes:
        return position.header.encode()

    def retry_rows(
        self, source: Upload, offsets: Sequence[int], sizes: Sequence[int]
    ) -> Iterator[bytes]:
        return read_rows(source, offsets, sizes, b"\n")


_COLUMNS = [b"prompt\none\ntwo\n" + b"x" * (ROW_BYTES + 1) + b"\nfour", b"prompt\n"]
_CASES = [(name, body) for name in READERS for body in SAMPLES.get(name, [])]
_CASES += [("columns", body) for body in _COLUMNS]
each_upload = pytest.mark.parametrize(("name", "body"), _CASES)
_PROCESSES = {"xlsx", "parquet"}
"""Readers that start a process for each reading, which takes 0.1 s. They cut no text, so they are tried less often."""


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READERS, "columns", _Columns())


def records(
    reader: Reader[Any], source: Upload, position: Position, row_bytes: int = ROW_BYTES
) -> list[Record]:
    records_: list[Record] = []
    for piece in reader.read(source, position, row_bytes):
        records_ += (
            jsonl.split_records(piece, row_bytes) if isinstance(piece, LineBlock) else [piece]
        )
    return records_


@cache
def records_of_sample(
    name: str, body: bytes, row_bytes: int = ROW_BYTES, block: int = 1 << 20
) -> list[Record]:
    """Return all records of an upload, read once for all tests."""
    return records(READERS[name], Upload(body, block), READERS[name].START, row_bytes)


def positions_and_data(records: Sequence[Record]) -> list[tuple[int, int, bytes | None]]:
    return [(record.offset, record.size, record.data) for record in records]


def texts(records: Sequence[Record]) -> list[bytes]:
    """Return what a retry file keeps of rows: an element that is missing has no bytes, a line no line breaks.

    The data of a rejected row of a table is not the row.
    """
    whole = [row.data for row in records if not (row.fault and isinstance(row.end, TablePosition))]
    return [re.sub(rb"[\r\n][ \t\r\n]*", b"\t", data) for data in whole if data]


def test_each_reader_has_samples() -> None:
    assert {*SAMPLES} | {"columns"} == {*READERS}
    assert all(any(records_of_sample(name, body) for body in samples)
               for name, samples in SAMPLES.items())  # fmt: skip


@pytest.mark.parametrize(
    ("name", "body", "block"),
    [
        (name, body, block)
        for name, body in _CASES
        for block in (1, 7, 1 << 20)
        if name not in _PROCESSES or block == 1 << 20
    ],
)
def test_reading_resumes_after_any_record(name: str, body: bytes, block: int) -> None:
    reader, source = READERS[name], Upload(body, block)
    all_records = records_of_sample(name, body, block=block)
    numbered = [*enumerate(all_records, 1)]

    for number, record in numbered[:1] if name in _PROCESSES else numbered:
        assert positions_and_data(records(reader, source, record.end)) == positions_and_data(
            all_records[number:]
        )


@each_upload
def test_a_position_survives_the_table(name: str, body: bytes) -> None:
    reader = READERS[name]
    position_type: type[Position] = type(reader.START)

    for record in records_of_sample(name, body):
        assert (
            msgspec.json.decode(msgspec.json.encode(record.end), type=position_type) == record.end
        )
        assert len(msgspec.json.encode(record.end)) < 4096


@pytest.mark.parametrize("name", READERS)
def test_a_job_keeps_the_position_of_its_reader(name: str) -> None:
    assert position_of(job(format=UploadFormat(reader=name))) == READERS[name].START
    for body in SAMPLES[name]:
        for record in records_of_sample(name, body):
            checkpoint = Checkpoint(position=stored(record.end))
            assert (
                position_of(job(format=UploadFormat(reader=name), checkpoint=checkpoint))
                == record.end
            )


@each_upload
def test_offsets_increase_and_match_positions(name: str, body: bytes) -> None:
    reader = READERS[name]
    offset = reader.START.byte
    for record in records_of_sample(name, body):
        assert offset <= record.offset <= record.offset + record.size <= record.end.byte
        offset = record.end.byte


@pytest.mark.parametrize(
    ("name", "body", "chunk_rows"),
    [
        (name, body, chunk_rows)
        for name, body in _CASES
        for chunk_rows in (1, 2, 100)
        if name not in _PROCESSES or chunk_rows == 2
    ],
)
def test_the_retry_file_contains_exactly_its_rows(name: str, body: bytes, chunk_rows: int) -> None:
    reader, source = READERS[name], Upload(body, 5)
    retry_reader = READERS[reader.RETRY_NAME.rpartition(".")[2]]
    all_records = records_of_sample(name, body, 1 << 20)
    end = all_records[-1].end if all_records else reader.START

    every_mask = product([False, True], repeat=len(all_records))
    for failed_mask in [[True] * len(all_records)] if name in _PROCESSES else every_mask:
        chosen_records = [*compress(all_records, failed_mask)]
        retry_file = reader.retry_head(end) + b"".join(
            piece
            for first in range(0, len(chosen_records), chunk_rows)
            for piece in _retry_rows(reader, source, chosen_records[first : first + chunk_rows])
        )
        read = records(retry_reader, Upload(retry_file), retry_reader.START, 1 << 20)
        assert texts(read) == texts(chosen_records)


def _retry_rows(reader: Reader[Any], source: Upload, rows: Sequence[Record]) -> Iterator[bytes]:
    offsets, sizes = [row.offset for row in rows], [row.size for row in rows]
    return reader.retry_rows(source, offsets, sizes)


@each_upload
def test_a_range_of_rows_can_be_retried(name: str, body: bytes) -> None:
    """If a chunk's ledger is unreadable, only the range of its bytes is known."""
    reader, source = READERS[name], Upload(body)
    retry_reader = READERS[reader.RETRY_NAME.rpartition(".")[2]]
    all_records = records_of_sample(name, body, 1 << 20)
    firsts = [*enumerate(all_records)]
    for number, first in firsts[1:2] if name in _PROCESSES else firsts:
        start, end = first.offset, all_records[-1].end
        rows = b"".join(reader.retry_rows(source, [start], [end.byte - start]))
        read = records(
            retry_reader, Upload(reader.retry_head(end) + rows), retry_reader.START, 1 << 20
        )
        assert texts(read) == texts(all_records[number:])


@pytest.mark.parametrize("name", READERS)
def test_an_upload_that_became_shorter_is_an_error(name: str) -> None:
    rows = READERS[name].retry_rows(Upload(b"{}"), [0], [3])

    with pytest.raises(ObjectUnreadableError, match="shorter than it was"):
        b"".join(rows)
