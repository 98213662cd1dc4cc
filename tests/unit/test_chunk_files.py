"""The two files of a chunk: the request body, and the ledger that locates each row."""

import io
import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from functions.model.chunk_files import ChunkWriter, LedgerEntry, max_request_bytes, read_ledger
from functions.model.ids import RequestId
from functions.model.rows import Position, Record, Rejection, Row
from tests.unit.factories import JOB_ID

_params = st.dictionaries(st.text(max_size=4), st.text(max_size=8), max_size=3)
_custom_ids = st.none() | st.text(max_size=6) | st.integers()
rows = st.lists(st.tuples(_custom_ids, st.none() | _params), max_size=12)


def row_of(custom_id: object, params: dict[str, str] | None) -> Row:
    raw_id = msgspec.Raw(json.dumps(custom_id, ensure_ascii=False).encode())
    if params is None:
        return Row(raw_id, None, Rejection("no_params", "line 1: no", 1))
    return Row(raw_id, json.dumps(params, ensure_ascii=False).encode(), None)


def write_chunk(rows_: list[Row], first: int = 1) -> tuple[ChunkWriter, bytes, list[LedgerEntry]]:
    body, ledger = io.BytesIO(), io.BytesIO()
    files = ChunkWriter(JOB_ID, "00007a", 2, body, ledger)
    for number, row in enumerate(rows_, first):
        files.add(number, Record(number, 1, 10 * number, 9, b"", Position()), row)
    size = files.size_bytes
    files.finish()
    assert size == len(body.getvalue())
    return files, body.getvalue(), list(read_ledger(iter(ledger.getvalue().splitlines())))


@given(rows)
def test_the_body_has_the_apis_format_and_the_ledger_locates_each_row(
    drawn_rows: list[tuple[object, dict[str, str] | None]],
) -> None:
    rows_written = [row_of(*drawn_row) for drawn_row in drawn_rows]

    files, body, entries = write_chunk(rows_written, first=41)

    sent = [(n, row) for n, row in enumerate(rows_written, 41) if row.params is not None]
    assert [request["custom_id"] for request in json.loads(body)["requests"]] == [
        str(RequestId(JOB_ID, "00007a", 2, number)) for number, _ in sent
    ]
    assert (files.rows, files.requests) == (len(rows_written), len(sent))
    for number, (entry, row) in enumerate(zip(entries, rows_written, strict=True), 41):
        assert (entry.row, entry.line, entry.offset, entry.size) == (
            number,
            number,
            10 * number,
            9,
        )
        assert bytes(entry.custom_id) == bytes(row.custom_id)
        assert entry.sent is (row.params is not None)
        params = body[entry.params_offset : entry.params_offset + entry.params_size]
        assert params == (row.params or b"")
        assert entry.rejection == row.rejection


@given(_params)
def test_a_request_adds_at_most_its_maximum_size(params: dict[str, str]) -> None:
    row = row_of("x", params)
    one_row, two_rows = write_chunk([row])[0], write_chunk([row, row])[0]

    assert two_rows.size_bytes - one_row.size_bytes <= max_request_bytes(len(row.params or b""))


def test_a_chunk_of_rejected_rows_has_an_empty_body() -> None:
    files, body, (entry,) = write_chunk([row_of(None, None)])

    assert (body, files.requests, files.rows) == (b'{"requests":[]}', 0, 1)
    assert entry.rejection == Rejection("no_params", "line 1: no", 1)


def test_a_row_written_again_without_params_is_not_sent() -> None:
    body, ledger = io.BytesIO(), io.BytesIO()
    files = ChunkWriter(JOB_ID, "00001", 2, body, ledger)
    files.put(LedgerEntry(5, 5, 0, 1, msgspec.Raw(b'"a"')), None)
    files.finish()

    (entry,) = read_ledger(iter([ledger.getvalue()]))
    assert (entry.sent, entry.row, files.requests) == (False, 5, 0)
