"""What must hold for every reader and any upload: no record is lost, and reading resumes at any record."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec

from functions.errors import UnreadableUploadError
from functions.model.rows import Position, Record
from functions.model.upload_format import UploadFormat
from functions.planning.conversion import parse_row
from functions.planning.validation import validate
from functions.readers import READERS, decoded, records_of
from functions.readers.contract import Reader, Source
from functions.readers.detect import detect
from functions.readers.json_values import wraps_requests
from tests.unit.uploads import Upload

API_VERSION = "2026-10-21"
MAX_RESUMES = 8
"""Positions of one upload at which reading is resumed."""
_BETWEEN: dict[str, bytes] = {
    "jsonl": b" \t\r\n\0\x1a\xef\xbb\xbf",
    "json": b" \t\r\n\0\x1a\xef\xbb\xbf,[]",
    "csv": b" \t\r\n\0\x1a",
}
"""Bytes that may lie between two records: they hold nothing that a user would miss."""


@dataclass(frozen=True)
class Reading:
    """An upload as planning reads it.

    Attributes:
        upload_format: what was detected.
        source: the text or the workbook that its reader gets.
        records: its records; those before the fault if it turns out to be unreadable.
        refusal: why the whole upload is refused; None if it is not.
    """

    upload_format: UploadFormat
    source: Source
    records: Sequence[Record]
    refusal: str | None

    @property
    def reader(self) -> Reader[Any]:
        return READERS[self.upload_format.reader]


def read_upload(upload: Source, key: str, row_bytes: int) -> Reading:
    """Detect the format of an upload and read it. It is read in full, or refused with a sentence."""
    try:
        upload_format = detect(upload, key)
    except UnreadableUploadError as error:
        return Reading(UploadFormat(), upload, [], check_sentence(str(error)))
    source = decoded(upload, upload_format)
    reader = READERS[upload_format.reader]
    records, refusal = read_from(reader, source, reader.START, row_bytes)
    return Reading(upload_format, source, records, refusal)


def read_from(
    reader: Reader[Any], source: Source, position: Position, row_bytes: int
) -> tuple[list[Record], str | None]:
    """Return the records from a position on, and why the upload is refused after them."""
    records: list[Record] = []
    try:
        records.extend(records_of(reader.read(source, position, row_bytes), row_bytes))
    except UnreadableUploadError as error:
        return records, check_sentence(str(error))
    return records, None


def check_sentence(sentence: str) -> str:
    """Check that a sentence for users is one line of text."""
    assert sentence, "a sentence is empty"
    assert sentence.isprintable(), f"not one printable line: {sentence!r}"
    return sentence


def check_reading(reading: Reading, row_bytes: int) -> None:
    """Check what the contract of readers promises."""
    _check_records(reading, row_bytes)
    _check_resuming(reading, row_bytes)
    _check_retry(reading)
    if reading.refusal is None:
        _check_nothing_between(reading)


def _check_records(reading: Reading, row_bytes: int) -> None:
    """Check that offsets rise, and that each record is a request or has a code and a sentence."""
    offset = reading.reader.START.byte
    for record in reading.records:
        assert offset <= record.offset <= record.offset + record.size <= record.end.byte
        offset = record.end.byte
        row = validate(record, row_bytes=row_bytes, api_version=API_VERSION)
        assert (row.params is None) == (row.rejection is not None)
        if row.rejection is not None:
            assert row.rejection.code.isidentifier()
            assert check_sentence(row.rejection.message).startswith(f"line {record.line}: ")


def _check_resuming(reading: Reading, row_bytes: int) -> None:
    """Check that reading resumes after any record, from the position as the table stores it."""
    records, reader = reading.records, reading.reader
    step = 1 + len(records) // MAX_RESUMES
    for number in range(1, len(records) + 1, step):
        end = records[number - 1].end
        stored = msgspec.json.encode(msgspec.to_builtins(end))
        assert len(stored) < 4096, "a position is too large for the table"
        position = msgspec.json.decode(stored, type=type(reader.START))
        rest, refusal = read_from(reader, reading.source, position, row_bytes)
        assert rest == records[number:], f"resumed after record {number}"
        assert refusal == reading.refusal


def _check_nothing_between(reading: Reading) -> None:
    """Check that the text between two records, and after the last, holds nothing of value."""
    allowed = _BETWEEN.get(reading.upload_format.reader)
    if allowed is None or not reading.records:
        return
    text = b"".join(reading.source.read())
    if reading.upload_format.reader == "json" and wraps_requests(iter([text])):
        return  # members other than "requests" are named, not rows
    ends = [(record.offset, record.offset + record.size) for record in reading.records]
    for (_, end), (start, _) in pairwise([*ends, (len(text), 0)]):
        assert not text[end:start].strip(allowed), f"lost: {text[end:start]!r}"


def retry_file(reading: Reading, chosen: Sequence[Record]) -> tuple[str, bytes]:
    """Return the name and the content of a retry file with these records."""
    reader = reading.reader
    end = reading.records[-1].end if reading.records else reader.START
    offsets, sizes = [record.offset for record in chosen], [record.size for record in chosen]
    rows = b"".join(reader.retry_rows(reading.source, offsets, sizes))
    return reader.RETRY_NAME, reader.retry_head(end) + rows


def _check_retry(reading: Reading) -> None:
    """Check that a retry file, uploaded again, has the same rows."""
    rows = [(record, row) for record in reading.records if (row := parse_row(record)) is not None]
    for first in (0, 1):
        chosen = rows[first::2]
        if not chosen:
            continue
        name, body = retry_file(reading, [record for record, _ in chosen])
        again = read_upload(Upload(body), name, 1 << 30)
        if "not UTF-8 text" in (again.refusal or ""):
            continue  # the other rows of the upload had made control characters rare
        assert again.refusal is None, f"the retry file is refused: {again.refusal}"
        assert [parse_row(record) for record in again.records] == [row for _, row in chosen]
