"""Uploads as they really are, in blocks of any size."""

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

MOST = 24
BOM = b"\xef\xbb\xbf"
SPACE = b" \t\r\n\0\x1a"
NOTHING = re.compile(rb"(?:(?:^|(?<=\n))(?:\xef\xbb\xbf)+|[ \t\r\n\0\x1a])*")
"""White space, what fills up a file's end, and marks at the front of a line."""

_values = st.recursive(
    st.none() | st.integers(0, 99) | st.text(alphabet='ab"\\{}[] \r\té', max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("kl"), inner),
    max_leaves=4,
)
_objects = st.dictionaries(st.sampled_from("abc{"), _values, max_size=3).map(
    lambda value: json.dumps(value, ensure_ascii=False).encode()
)
_scraps = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b"\\", b" ", b"\t", b"\r", b"\n", b"\r\n", b"x", b"1", b"{}", b"\xff", BOM, b"\0", b"\x1a"]
)  # fmt: skip
uploads = st.lists(_objects | _scraps, max_size=14).map(b"".join)
"""Objects alone and run together, strings full of braces and quotes, and every kind of rubbish."""


def in_blocks(body: bytes, size: int) -> Iterator[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


def records(body: bytes, size: int = 1 << 20, most: int = MOST) -> list[Record]:
    return list(jsonl.records(in_blocks(body, size), LinePosition(), most))


def texts(body: bytes) -> list[bytes | None]:
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
def test_gives_the_same_records_whatever_the_block_size(body: bytes, size: int, most: int) -> None:
    assert records(body, size, most) == records(body, len(body) or 1, most)


@given(uploads, st.integers(1, 40))
@example(b'{"a":1} {"b":2}\r\n\r\n{"c":3}', 2)
@example(b'{"a":1}{"b":2} trailing' + b"x" * 40, 2)
def test_resumes_at_the_end_of_any_record(body: bytes, size: int) -> None:
    whole = records(body)
    for number, record in enumerate(whole, 1):
        rest = jsonl.records(
            in_blocks(body[record.end.byte :], size), cast("LinePosition", record.end), MOST
        )
        assert list(rest) == whole[number:]


@given(uploads, st.integers(1, 40))
@example(BOM + b"{}", 1)
def test_loses_no_byte_that_is_not_white_space(body: bytes, size: int) -> None:
    seen = 0
    for record in records(body, size):
        assert NOTHING.fullmatch(body[seen : record.offset])
        seen = record.offset + record.size
        told = body[record.offset : seen]
        assert told == told.strip(SPACE) != b""
        assert record.data == (told if record.size <= MOST else None)
        assert record.end.byte >= seen
    assert NOTHING.fullmatch(body[seen:])


@given(uploads)
def test_tells_the_line_and_the_column_of_each_record(body: bytes) -> None:
    for record in records(body):
        before = body[: record.offset]
        assert record.line == before.count(b"\n") + 1
        begin = before.rfind(b"\n") + 1
        line = body[begin:]
        bom = (
            len(BOM) * ((len(line) - len(line.lstrip(BOM))) // len(BOM))
            if line.startswith(BOM)
            else 0
        )
        assert record.column == record.offset - begin - bom + 1


@given(st.lists(_objects, min_size=1, max_size=8), st.data())
def test_every_object_is_a_record_however_they_are_put_together(
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
        (b"{" + b"x" * MOST + b'}\n{"a":1}', [None, b'{"a":1}']),
        (b'{"a":1}{"' + b"x" * MOST + b'":1}{"b":2}', [b'{"a":1}', None, b'{"b":2}']),
        (b"x" * (MOST + 1), [None]),
        (b"x" * MOST, [b"x" * MOST]),
    ],
)
def test_finds_the_records(body: bytes, expected: list[bytes | None]) -> None:
    assert texts(body) == expected


def test_a_byte_order_mark_is_one_only_at_the_front_of_a_line() -> None:
    assert texts(b"{}\n" + BOM + b"{}\n" + BOM + b"\r\n" + BOM + BOM + b"{}") == [b"{}"] * 3
    assert texts(b"{}" + BOM + b"\n {}\n " + BOM) == [b"{}" + BOM, b"{}", BOM]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    "end", [b"\x1a", b"\n\x1a", b"\r\n\x1a\x1a", bytes(200), b"\n" + bytes(200), b"\0\n\0"]
)
def test_what_fills_up_the_end_of_a_file_is_no_row(end: bytes, size: int) -> None:
    assert [record.data for record in records(b'{"a":1}\n{}' + end, size)] == [b'{"a":1}', b"{}"]


def test_a_row_that_is_too_long_tells_its_place_and_size() -> None:
    (_, long, _) = records(b'{}\n "' + b"x" * 100 + b'" \r\n{}', size=7)

    assert (long.line, long.column, long.offset, long.size, long.data) == (2, 2, 4, 102, None)


def test_the_memory_for_a_row_without_end_is_bounded() -> None:
    block, most = b"x" * (64 << 10), 256 << 10
    tracemalloc.start()
    (long,) = jsonl.records((block for _ in range(512)), LinePosition(), most)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert long.size == 512 * len(block)
    assert peak < 4 * most


def test_the_memory_for_a_file_that_is_one_line_is_bounded() -> None:
    block, most = b'{"a":"' + b"x" * 8000 + b'"} ', 64 << 10
    tracemalloc.start()
    count = sum(1 for _ in jsonl.records((block for _ in range(1000)), LinePosition(), most))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 1000
    assert peak < 8 * most


@pytest.mark.parametrize(
    ("key", "suffix"),
    [
        ("a.jsonl", ".jsonl"),
        ("a/b.JSONL", ".jsonl"),
        ("a.ndjson", ".ndjson"),
        ("a.csv", None),
        ("a.jsonl.gz", None),
        ("jsonl", None),
        ("a.jsonl.cancel", None),
    ],
)
def test_the_suffix_says_who_reads(key: str, suffix: str | None) -> None:
    assert suffix_of(key) == suffix
    assert suffix is None or suffix in SUFFIXES
