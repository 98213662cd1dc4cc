"""Fuzz targets for uploads: any bytes become rows that are sent unchanged or rejected."""

import io
from collections.abc import Iterator
from typing import cast

import msgspec

from functions.errors import UnreadableUploadError
from functions.model.chunk_files import ChunkWriter, read_ledger
from functions.model.ids import RequestId
from functions.model.rows import LineBlock, LinePosition, Record, Row, ValidRows
from functions.planning import fast_path
from functions.planning.validation import validate
from functions.readers import jsonl
from functions.readers.text import check_text
from tests.verification.fuzz import oracle
from tests.verification.fuzz.leading_bytes import take_bytes

API_VERSION = "2026-10-21"
CONTROLS = {chr(code) for code in range(32)} - set("\t\n\r\f\b\x1b")
LARGE_ROW_BYTES = 1 << 20
JOB = "3f9ac21b04d7c1e89a02"
read_records = jsonl.records


def in_blocks(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


def reader(data: bytes) -> None:
    """Check the reader; leading bytes set the block size and the longest row."""
    (block, max_bytes), body = take_bytes(data, 2)
    records = list(read_records(in_blocks(body, block + 1), LinePosition(), max_bytes + 2))

    rows_ = oracle.expected_rows(body)
    assert [(item.offset, item.size, item.line) for item in records] == [
        (expected.offset, len(expected.data), expected.line) for expected in rows_
    ]
    for record, expected in zip(records, rows_, strict=True):
        assert record.data == (expected.data if record.size <= max_bytes + 2 else None)
    _check_resume(body, records, block + 1, max_bytes + 2)


def _check_resume(body: bytes, records: list[Record], block: int, max_bytes: int) -> None:
    """Check that reading resumes after any record with the same rows."""
    for number in {1, len(records) // 2, len(records) - 1} & set(range(1, len(records))):
        end = cast("LinePosition", records[number - 1].end)
        rest = list(read_records(in_blocks(body[end.byte :], block), end, max_bytes))
        assert rest == records[number:], f"resumed after record {number}"


def validation(data: bytes) -> None:
    """Check that one row is sent byte for byte, or rejected with a message of one line."""
    (max_bytes,), body = take_bytes(data, 1)
    row_bytes = LARGE_ROW_BYTES if max_bytes < 200 else max_bytes - 199
    for record in read_records(iter([body]), LinePosition(), row_bytes):
        _check_row(record, row_bytes)


def _check_row(record: Record, row_bytes: int) -> Row:
    row = validate(record, row_bytes=row_bytes, api_version=API_VERSION)
    assert (row.params is None) == (row.rejection is not None)
    if row.rejection is not None:
        assert row.rejection.message.startswith(f"line {record.line}: ")
        assert row.rejection.message.isprintable()
        assert row.rejection.code.isidentifier()
    try:
        custom_id, params = oracle.request_of(record.data or b"", row_bytes)
    except RecursionError:
        return row
    if record.data is not None and (row.rejection is None or row.rejection.code != "too_deep"):
        assert row.params == params
        assert (
            custom_id == bytes(row.custom_id)
            if custom_id is not None
            else (oracle.can_be_the_id(bytes(row.custom_id), record.data))
        )
    return row


def text(data: bytes) -> None:
    """Check the limit for text: at most a tenth of an upload may be invalid."""
    stripped = data.rstrip(b"\0\x1a") or data
    readable = stripped.decode(errors="ignore")
    violations = len(stripped) - len(readable.encode())
    controls = sum(char in CONTROLS for char in readable)
    try:
        check_text(data)
    except UnreadableUploadError as error:
        assert (violations + controls) * 10 > violations + len(readable)
        offset = int(str(error).partition("at offset ")[2].partition(")")[0].replace(",", ""))
        assert not CONTROLS & set(data[:offset].decode())
        assert chr(data[offset]) in CONTROLS or data[offset] >= 0x80
    else:
        assert (violations + controls) * 10 <= violations + len(readable)


def write(
    files: ChunkWriter, pieces: Iterator[LineBlock | Record], rows_before: int, row_bytes: int
) -> None:
    """Write rows as plan does, in blocks where all are valid; `rows_before` rows precede them."""
    for piece in fast_path.validate_all(pieces, row_bytes=row_bytes, api_version=API_VERSION):
        number = rows_before + files.rows + 1
        if isinstance(piece, ValidRows):
            files.add_valid(number, piece)
        else:
            files.add(number, *piece)


def ledger(data: bytes) -> None:
    """Check that a chunk's body and ledger agree, and give back each row's bytes."""
    (rows_before_,), body = take_bytes(data, 1)
    body_file, ledger_file = io.BytesIO(), io.BytesIO()
    files = ChunkWriter(JOB, "00001", 1, body_file, ledger_file)
    records = list(read_records(iter([body]), LinePosition(), LARGE_ROW_BYTES))
    rows_expected = [
        validate(record, row_bytes=LARGE_ROW_BYTES, api_version=API_VERSION) for record in records
    ]
    write(
        files,
        jsonl.pieces(iter([body]), LinePosition(), LARGE_ROW_BYTES),
        rows_before_,
        LARGE_ROW_BYTES,
    )
    files.finish()

    sent = body_file.getvalue()
    assert files.size_bytes == len(sent)
    entries = list(read_ledger(iter(ledger_file.getvalue().split(b"\n")[:-1])))
    assert [entry.row for entry in entries] == list(
        range(rows_before_ + 1, rows_before_ + 1 + len(records))
    )
    for entry, record, row in zip(entries, records, rows_expected, strict=True):
        assert entry.sent == (row.params is not None)
        assert bytes(entry.custom_id) == bytes(row.custom_id)
        assert entry.rejection == row.rejection
        assert body[entry.offset : entry.offset + entry.size] == record.data
        params = sent[entry.params_offset : entry.params_offset + entry.params_size]
        assert params == (row.params or b"")
    _check_body(sent, [entry.row for entry in entries if entry.sent])


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    requests: list["_Sent"]


class _Sent(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str
    params: msgspec.Raw


def _check_body(sent: bytes, row_numbers: list[int]) -> None:
    try:
        requests = msgspec.json.decode(sent, type=_Body).requests
    except RecursionError:
        return  # nested two levels deeper than the row, which was just readable
    assert [request.custom_id for request in requests] == [
        str(RequestId(JOB, "00001", 1, number)) for number in row_numbers
    ]
