"""Uploads as found in practice, in blocks of any size."""

import json
import re
import tracemalloc
from collections.abc import Iterator
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions.model.rows import LinePosition, Record
from functions.readers import SUFFIXES, jsonl, suffix_of

MAX_ROW_BYTES = 24
BOM = b"\xef\xbb\xbf"
SPACE = b" \t\r\n\0\x1a"
IGNORED_BYTES = re.compile(rb"(?:(?:^|(?<=\n))(?:\xef\xbb\xbf)+|[ \t\r\n\0\x1a])*")
"""White space, padding at the end of a file, and marks at the start of a line."""

_values = st.recursive(
    st.none() | st.integers(0, 99) | st.text(alphabet='ab"\\{}[] \r\té', max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("kl"), inner),
    max_leaves=4,
)
_objects = st.dictionaries(st.sampled_from("abc{"), _values, max_size=3).map(
    lambda value: json.dumps(value, ensure_ascii=False).encode()
)
_fragments = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b"\\", b" ", b"\t", b"\r", b"\n", b"\r\n", b"x", b"1", b"{}", b"\xff", BOM, b"\0", b"\x1a"]
)  # fmt: skip
uploads = st.lists(_objects | _fragments, max_size=14).map(b"".join)
"""Objects alone and joined, strings full of braces and quotes, and malformed fragments."""


def in_blocks(body: bytes, size: int) -> Iterator[bytes]:
    return (body[offset : offset + size] for offset in range(0, len(body), size))


def records(body: bytes, size: int = 1 << 20, max_row_bytes: int = MAX_ROW_BYTES) -> list[Record]:
    return list(jsonl.records(in_blocks(body, size), LinePosition(), max_row_bytes))


def data_of(body: bytes) -> list[bytes | None]:
    return [record.data for record in records(body)]


@given(uploads, st.integers(1, 40), st.integers(4, 60))
@example(b'{"a":1} xxxxxxxxxxxxxxxxxxxxxxxxxxxx', 1, 8)
@example(b'{"aaaaaaaaaaaaaaaa":1}{"b":2}', 1, 8)
@example(b'{"a":"\\"}{"}' * 4, 1, 8)
@example(b"x" + b" " * 40 + b"\n{}", 3, 8)
@example(b" " * 40, 1, 8)
@example(BOM + b"{}" * 20, 1, 8)
@example(BOM + BOM + b"{}" * 20, 1, 2)
@example(b"{]{}" * 10, 1, 8)
@example(b"{]{}" * 10, 40, 4)
def test_the_block_size_does_not_change_the_records(
    body: bytes, size: int, max_row_bytes: int
) -> None:
    assert records(body, size, max_row_bytes) == records(body, len(body) or 1, max_row_bytes)


@given(uploads, st.integers(1, 40))
@example(b'{"a":1} {"b":2}\r\n\r\n{"c":3}', 2)
@example(b'{"a":1}{"b":2} trailing' + b"x" * 40, 2)
def test_reading_resumes_at_the_end_of_any_record(body: bytes, size: int) -> None:
    all_records = records(body)
    for number, record in enumerate(all_records, 1):
        rest = jsonl.records(
            in_blocks(body[record.end.byte :], size),
            cast("LinePosition", record.end),
            MAX_ROW_BYTES,
        )
        assert list(rest) == all_records[number:]


@given(uploads, st.integers(1, 40))
@example(BOM + b"{}", 1)
def test_every_byte_but_white_space_is_in_a_record(body: bytes, size: int) -> None:
    read_until = 0
    for record in records(body, size):
        assert IGNORED_BYTES.fullmatch(body[read_until : record.offset])
        read_until = record.offset + record.size
        raw = body[record.offset : read_until]
        assert raw == raw.strip(SPACE) != b""
        assert record.data == (raw if record.size <= MAX_ROW_BYTES else None)
        assert record.end.byte >= read_until
    assert IGNORED_BYTES.fullmatch(body[read_until:])


@given(uploads)
def test_each_record_has_its_line_and_column(body: bytes) -> None:
    for record in records(body):
        preceding = body[: record.offset]
        assert record.line == preceding.count(b"\n") + 1
        line_start = preceding.rfind(b"\n") + 1
        line = body[line_start:]
        bom = (
            len(BOM) * ((len(line) - len(line.lstrip(BOM))) // len(BOM))
            if line.startswith(BOM)
            else 0
        )
        assert record.column == record.offset - line_start - bom + 1


@given(st.lists(_objects, min_size=1, max_size=8), st.data())
def test_every_object_is_a_record_with_any_separator(
    rows: list[bytes], data: st.DataObject
) -> None:
    gaps = st.sampled_from([b"\n", b"\r\n", b"\n\n \n", b"", b" ", b"\t"])
    body = b"".join(row + data.draw(gaps) for row in rows)

    assert [record.data for record in records(body, 5, 1000)] == rows


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", []),
        (b"\n \r\n\t\n", []),
        (BOM, []),
        (BOM + b'{"a":1}\n', [b'{"a":1}']),
        (b'{"a":1}\r\n{"b":2}\r\n', [b'{"a":1}', b'{"b":2}']),
        (b'\n\n{"a":1}\n\n{"b":2}', [b'{"a":1}', b'{"b":2}']),
        (b'{"a":1}{"b":2} {"c":3}', [b'{"a":1}', b'{"b":2}', b'{"c":3}']),
        (b'{"a":"} {"}', [b'{"a":"} {"}']),
        (b'[{"a":1} {"b":2}]', [b'[{"a":1} {"b":2}]']),
        (b'{"a":1} oh {"b":2}', [b'{"a":1} oh {"b":2}']),
        (b'{"a":1}{"b":', [b'{"a":1}', b'{"b":']),
        (b"no json\n17\n", [b"no json", b"17"]),
        (b"{" + b"x" * MAX_ROW_BYTES + b'}\n{"a":1}', [None, b'{"a":1}']),
        (b'{"a":1}{"' + b"x" * MAX_ROW_BYTES + b'":1}{"b":2}', [b'{"a":1}', None, b'{"b":2}']),
        (b"x" * (MAX_ROW_BYTES + 1), [None]),
        (b"x" * MAX_ROW_BYTES, [b"x" * MAX_ROW_BYTES]),
    ],
)
def test_the_records_of_an_upload(body: bytes, expected: list[bytes | None]) -> None:
    assert data_of(body) == expected


def test_a_byte_order_mark_is_ignored_only_at_the_start_of_a_line() -> None:
    assert data_of(b"{}\n" + BOM + b"{}\n" + BOM + b"\r\n" + BOM + BOM + b"{}") == [b"{}"] * 3
    assert data_of(b"{}" + BOM + b"\n {}\n " + BOM) == [b"{}" + BOM, b"{}", BOM]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    "end", [b"\x1a", b"\n\x1a", b"\r\n\x1a\x1a", bytes(200), b"\n" + bytes(200), b"\0\n\0"]
)
def test_padding_at_the_end_of_a_file_is_not_a_row(end: bytes, size: int) -> None:
    assert [record.data for record in records(b'{"a":1}\n{}' + end, size)] == [b'{"a":1}', b"{}"]


def test_a_row_that_is_too_long_has_its_position_and_size() -> None:
    (_, long_row, _) = records(b'{}\n "' + b"x" * 100 + b'" \r\n{}', size=7)

    assert (long_row.line, long_row.column, long_row.offset, long_row.size, long_row.data) == (
        2,
        2,
        4,
        102,
        None,
    )


def test_the_memory_for_an_endless_row_is_limited() -> None:
    block, max_row_bytes = b"x" * (64 << 10), 256 << 10
    tracemalloc.start()
    (long_row,) = jsonl.records((block for _ in range(512)), LinePosition(), max_row_bytes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert long_row.size == 512 * len(block)
    assert peak < 4 * max_row_bytes


def test_the_memory_for_a_file_of_one_line_is_limited() -> None:
    block, max_row_bytes = b'{"a":"' + b"x" * 8000 + b'"} ', 64 << 10
    tracemalloc.start()
    count = sum(
        1 for _ in jsonl.records((block for _ in range(1000)), LinePosition(), max_row_bytes)
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 1000
    assert peak < 8 * max_row_bytes


@pytest.mark.parametrize(
    ("key", "suffix"),
    [
        ("a.jsonl", ".jsonl"),
        ("a/b.JSONL", ".jsonl"),
        ("a.ndjson", ".ndjson"),
        ("a.csv", ".csv"),
        ("a.jsonl.GZ", ".jsonl.gz"),
        ("a.xlsx", ".xlsx"),
        ("a.xlsx.gz", None),
        ("a.gz", None),
        ("_relay.json", None),
        ("a.csv.relay.json", None),
        ("jsonl", None),
        ("a.jsonl.cancel", None),
    ],
)
def test_the_suffix_selects_the_reader(key: str, suffix: str | None) -> None:
    assert suffix_of(key) == suffix
    assert suffix is None or suffix in SUFFIXES
