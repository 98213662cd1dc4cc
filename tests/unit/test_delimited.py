"""CSV and TSV as people have them, in blocks of any size."""

import csv
import io
import tracemalloc
from collections.abc import Sequence
from typing import Literal, cast

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions.errors import UnreadableUploadError
from functions.model.rows import Record
from functions.planning.validation import validate
from functions.readers import delimited
from functions.readers.tables import TablePosition
from tests.unit.uploads import Upload

ROW_BYTES = 24
BOM = b"\xef\xbb\xbf"
HEADER = b"a,b" + b" " * 400 + b"\n"
"""Long enough that any rows after it pass as text."""

_names = st.lists(st.text("ab \"';,\t|é", min_size=1, max_size=4), min_size=1, max_size=4)
_headers = _names.filter(lambda names: len({name.strip() for name in names} - {""}) == len(names))
_cells = st.text("a1 =\"',;|\t\r\né\N{GRINNING FACE}", max_size=6)
_tables = _headers.flatmap(
    lambda names: st.tuples(
        st.just(names), st.lists(st.lists(_cells, min_size=len(names), max_size=len(names)))
    )
)
_scraps = st.sampled_from(
    [b'"', b'""', b",", b"\n", b"\r", b"\r\n", b" ", b"x", b"\xff", b"\xc3\xa9", b'","', b'a,"b"\n', b'x","\n', b"\0"]
)  # fmt: skip
_uploads = st.lists(_scraps, max_size=24).map(lambda scraps: HEADER + b"".join(scraps))
"""Rows of every kind of rubbish."""


def records(body: bytes, block: int = 1 << 20, row_bytes: int = 1 << 20) -> list[Record]:
    return list(delimited.read(Upload(body, block), delimited.START, row_bytes))


def texts(body: bytes, row_bytes: int = 1 << 20) -> list[str | None]:
    """Return the cells of each row, joined by a bar; None for a row that cannot be sent."""
    return [
        None
        if record.data is None or record.fault
        else "|".join(msgspec.json.decode(record.data).values())
        for record in records(body, row_bytes=row_bytes)
    ]


def rejection(body: bytes, row_bytes: int) -> str:
    """Return the code and the sentence of the first row that cannot be sent."""
    record = next(
        one for one in records(body, row_bytes=row_bytes) if one.data is None or one.fault
    )
    rejected = validate(record, row_bytes=row_bytes, api_version="2026-10-21").rejection
    assert rejected is not None
    return f"{rejected.code}: {rejected.message}"


def table(
    rows: Sequence[Sequence[str]], delimiter: str, line_end: str, quoting: Literal[0, 1]
) -> bytes:
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=delimiter,
        lineterminator=line_end,
        quoting=quoting,
    )
    writer.writerows(rows)
    return text.getvalue().encode()


@given(
    _tables,
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.integers(1, 40),
)
def test_what_csv_writes_is_read(
    named: tuple[list[str], list[list[str]]],
    delimiter: str,
    line_end: str,
    quoting: Literal[0, 1],
    block: int,
) -> None:
    names, rows = named
    header = f"sep={delimiter}{line_end}".encode() + table([names], delimiter, line_end, quoting)
    body = table(rows, delimiter, line_end, csv.QUOTE_ALL if len(names) == 1 else quoting)

    found = records(BOM + header + body, block)

    assert [msgspec.json.decode(record.data or b"") for record in found] == [
        dict(zip((name.strip() for name in names), row, strict=True)) for row in rows
    ]


@given(_uploads, st.integers(1, 40), st.integers(2, 40))
@example(HEADER + b'x,"' + b"y" * 30 + b'"\n1,2', 1, 8)
@example(HEADER + b"x" * 30 + b"\r\n1,2", 1, 8)
@example(HEADER + b"1,2\r\n3,4\r5,6\r", 1, 3)
def test_the_size_of_the_blocks_changes_nothing(body: bytes, block: int, row_bytes: int) -> None:
    """The head of an upload is one block, so reading begins after it."""
    upload, position = Upload(body, block), TablePosition(len(HEADER), 2, ("a", "b"))

    assert list(delimited.read(upload, position, row_bytes)) == records(body, row_bytes=row_bytes)


@given(_uploads, st.integers(2, 40))
@example(HEADER + b'x","\nx","\nx","\n1,2\n3,"\n', 12)
def test_reading_resumes_after_any_record(body: bytes, row_bytes: int) -> None:
    whole = records(body, row_bytes=row_bytes)
    for number, record in enumerate(whole, 1):
        end = cast("TablePosition", record.end)
        assert list(delimited.read(Upload(body), end, row_bytes)) == whole[number:]


@given(_uploads, st.integers(2, 40))
def test_each_byte_belongs_to_a_row_or_to_a_blank_line(body: bytes, row_bytes: int) -> None:
    seen = len(HEADER)
    for record in records(body, row_bytes=row_bytes):
        assert not body[seen : record.offset].strip(b" \r\n\0")
        assert body[seen : record.offset].count(b"\xff") == 0
        assert record.line == len((body[: record.offset] + b"x").splitlines())
        assert not body[record.offset + record.size : record.end.byte].strip(b"\r\n")
        assert record.data is not None or record.fault is not None or record.size > row_bytes
        seen = record.end.byte
    assert not body[seen:].strip(b" \r\n\0")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"a,b\n1,2\n", ["1|2"]),
        (b"a,b", []),
        (b"a,b\n1,2", ["1|2"]),
        (BOM + b"a,b\n1,2", ["1|2"]),
        (b"a,b\r\n1,2\r\n3,4", ["1|2", "3|4"]),
        (b"a,b\r1,2\r3,4\r", ["1|2", "3|4"]),
        (b"\r\n \na,b\n\n1,2\n   \n\n3,4\n\n", ["1|2", "3|4"]),
        (b"a,b\n1,2\n\x1a", ["1|2"]),
        (b"a,b\n1,2\n" + bytes(40), ["1|2"]),
        (b" a , b \n 1 , 2 \n", [" 1 | 2 "]),
        (b'a,b\n"1,5","x ""y"" z"\n', ['1,5|x "y" z']),
        (b'a,b\n1,"x\ny\r\nz"\n2,w\n', ["1|x\ny\r\nz", "2|w"]),
        (b'a,b\n1,5" pipe\n', ['1|5" pipe']),
        (b"a,b\n,\n", ["|"]),
        (b'a\n""\n\n1\n', ["", "1"]),
        (b"a;b\n1,5;2\n", ["1,5|2"]),
        (b"a\tb\n1;5\t\n", ["1;5|"]),
        (b"a|b\n1|2\n", ["1|2"]),
        (b'"a,x,y";b\n1;2\n', ["1|2"]),
        (b'"a\nx";b\n1;2\n', ["1|2"]),
        (b"sep=;\r\na,x;b\r\n1;2\r\n", ["1|2"]),
        (BOM + b"SEP=\t\na,x\tb\n1\t2\n", ["1|2"]),
        (b"sep=^\na^b\n1^2\n", ["1|2"]),
        (b"a,b\n1\n1,2\n1,2,3\n,,\n4,5", [None, "1|2", None, None, "4|5"]),
        (b'a,b\n1,"x\n2,"y"\n3,"z"\n', [None, "2|y", "3|z"]),
        (b'a,b\n1,"x\n2,y\n3,z\n', [None, "2|y", "3|z"]),
        (b'a,b\n1,"he said "no""\n2,y\n', [None, "2|y"]),
        (b'a,b\n1,"x" \n2,y\n', [None, "2|y"]),
        (b"a,b\n1,\xff\n2,y\n", [None, "2|y"]),
        (b"a,b\n1," + b"x" * 60 + b"\n2,y\n", [None, "2|y"]),
        (b'a,b\n1,"' + b"x\n" * 30 + b'"\n', [None] * 31),
    ],
)  # fmt: skip
def test_finds_the_rows(body: bytes, expected: list[str | None]) -> None:
    assert texts(body, row_bytes=50) == expected


FIRST_CELLS: list[tuple[bytes, list[str | None]]] = [
    (b"1\n2,x,y\n,,\n", ["1", "2", ""]),
    (b'1,"x\n', ["1"]),
    (b'"1 ""a""",he said "no","x\n', ['1 "a"']),
    (b'"1\n2","x\n', [None, None]),
    (b'"1,x\n', [None]),
    (b'1,"x\nmore, text, here\n', ["1", None]),
    (b"1,\xff\n", ["1"]),
    (b"\xff,x\n\xff\n", [None, None]),
    (b"1," + b"x" * 60, [None]),
]


@pytest.mark.parametrize(("body", "expected"), FIRST_CELLS)
def test_a_rejected_row_has_its_first_cell_unless_that_may_be_text_of_another(
    body: bytes, expected: list[str | None]
) -> None:
    rows = [record.data for record in records(HEADER + body, row_bytes=50)]

    assert rows == [
        None if cell is None else msgspec.json.encode({"a": cell}) for cell in expected
    ]


RAGGED = "cells; pad short rows, and quote cells that contain the delimiter"
UNCLOSED = "is not closed; write quotes inside the cell twice, and one more at its end"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (b"1,2\n1\n", f"ragged_row: line 3: the row has 1 of 2 {RAGGED}"),
        (b"1,2,3\n", f"ragged_row: line 2: the row has 3 of 2 {RAGGED}"),
        (b'1,"x\ny"\n\n2,"x\n3,y\n', f"unclosed_quote: line 5: the quote that begins cell 2 {UNCLOSED}"),
        (b'1,"x\ny\n"z"\n', f"unclosed_quote: line 2: the quote that begins cell 2 {UNCLOSED}"),
        (b'"1\n","2"3\n', f"unclosed_quote: line 2: the quote that begins cell 2 {UNCLOSED}"),
        (b"1,2\r\n3,\xff", "invalid_utf8: line 3: cell 2 is not UTF-8 text; save the file as UTF-8"),
        (b"1," + b"x" * 50, "too_long: line 2: the row is 52 bytes long; the limit is 50"),
    ],
)  # fmt: skip
def test_the_sentence_says_what_is_wrong_and_where(rows: bytes, expected: str) -> None:
    assert rejection(b"a,b\n" + rows, row_bytes=50).startswith(expected)


NO_HEADER = "the table has no header; name the columns in its first row"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", NO_HEADER),
        (BOM + b"\n \n", NO_HEADER),
        (b"sep=,\n", NO_HEADER),
        (b"sep=\xcd\nabcdefghijk\n", "the header is not UTF-8 text; save the file as UTF-8"),
        (b",,\n1,2,3\n", NO_HEADER),
        (b"a,,b\n", "column 2 has no name; name each column (the header: a, , b)"),
        (b"a,b,\n", "column 3 has no name; name each column (the header: a, b, )"),
        (
            b'"a\nb\x1b",\n',
            "column 2 has no name; name each column (the header: a b , )",
        ),
        (b"a,b, a\n", '2 columns are named "a"; use each name once (the header: a, b, a)'),
        (b'a,"b\n1,2\n', "a quote in the header is not closed; write quotes inside a quoted name twice"),
        (b"abc,defghijk,\xff\n", "the header is not UTF-8 text; save the file as UTF-8"),
        (b",".join(b"column %d" % number for number in range(400)), "the header is 5,091 bytes long; the limit is 3,600; "),
    ],
)  # fmt: skip
def test_a_wrong_header_refuses_the_upload(body: bytes, expected: str) -> None:
    with pytest.raises(UnreadableUploadError) as refusal:
        records(body)

    assert str(refusal.value).startswith(expected)


def test_an_upload_that_is_not_text_is_refused() -> None:
    with pytest.raises(UnreadableUploadError, match="not UTF-8 text"):
        records(b"PK\x03\x04" + bytes(range(256)))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"a, b\n1,2", b"a,b\r\n"),
        (b"a;b\n1;2", b"a;b\r\n"),
        (b'"a;x";b\n1;2', b'"a;x";b\r\n'),
        (b"sep=;\na\n1", b"sep=;\r\na\r\n"),
        (b"[\n{", b"sep=,\r\n[\r\n"),
        (b"sep=;\na,x;b\n1;2", b"sep=;\r\na,x;b\r\n"),
    ],
)
def test_the_retry_file_has_the_header_and_the_delimiter(body: bytes, expected: bytes) -> None:
    (record,) = records(body)

    assert delimited.retry_head(cast("TablePosition", record.end)) == BOM + expected


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b'a,b\n1,"x\n2,y\n3,z\n4,"w\n', [b'1,"""x",', b"2,y", b"3,z", b'4,"""w",']),
        (b'a,b\n"1,x\n"2,y\n', [b'"""1,x"', b'"""2,y"']),
        (b'a;b\n1;"x"y;z\n2;"y\n', [b'1;"""x""y;z";', b'2;"""y";']),
        (b'a,b\n"1 ""a""","x\n', [b'"1 ""a""","""x",']),
        (b'a\n"x\n"y\n', [b'"""x",', b'"""y",']),
        (b'a,b\n1,"long enough\xff\n2,"y\xff\n', [b'1,"""long enough\xff",', b'2,"""y\xff",']),
        (b'a,b\n1,"x\ny\n2,"z"\n3,5" pipe\n4,"" x\n', [b'1,"""x",', b"y", b'2,"z"', b'3,5" pipe', b'4,""""" x",']),
    ],
)  # fmt: skip
def test_a_quote_in_the_retry_file_does_not_reach_into_the_next_row(
    body: bytes, rows: list[bytes]
) -> None:
    rejected = records(body)
    source, end = Upload(body), cast("TablePosition", rejected[-1].end)
    offsets, sizes = [row.offset for row in rejected], [row.size for row in rejected]

    written = b"".join(delimited.retry_rows(source, offsets, sizes))

    assert written.split(b"\r\n")[:-1] == rows
    again = records(delimited.retry_head(end) + written)
    assert [row.data for row in again if not row.fault] == [
        row.data for row in rejected if not row.fault
    ]
    assert [row.fault is None for row in again] == [row.fault is None for row in rejected]


def test_the_retry_file_of_an_upload_without_rows_is_empty() -> None:
    assert delimited.retry_head(delimited.START) == b""


def test_quotes_that_no_row_closes_are_searched_once() -> None:
    """Each line opens a quote, and each search for its end would read all lines that follow."""
    found = records(b"a,b\n" + b'x","\n' * 50_000)

    assert len(found) == 50_000
    assert {(record.size, (record.fault or ("",))[0]) for record in found} == {
        (4, "unclosed_quote")
    }


def test_the_memory_for_an_unclosed_quote_is_bounded() -> None:
    row_bytes = 32 << 10
    body = b'a,b\n1,"x\n' + b"2,some text\n" * 50_000
    tracemalloc.start()
    count = sum(1 for _ in delimited.read(Upload(body, 64 << 10), delimited.START, row_bytes))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 50_001
    assert peak < 40 * row_bytes


def test_the_memory_for_a_line_without_end_is_bounded() -> None:
    row_bytes = 256 << 10
    body = b"a\n" + b"x" * (32 << 20)
    tracemalloc.start()
    (record,) = delimited.read(Upload(body, 64 << 10), delimited.START, row_bytes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (record.size, record.data) == (32 << 20, None)
    assert peak < (32 << 20) + 8 * row_bytes


def test_a_position_with_the_longest_header_stays_below_4_kib() -> None:
    (record,) = records(b"x" * 3_596 + b"\n1\n")
    far = msgspec.structs.replace(record.end, byte=10**15, line=10**12, unclosed_to=10**15)

    assert len(msgspec.json.encode(far)) < 4096
    with pytest.raises(UnreadableUploadError, match=r"3,601 bytes long; the limit is 3,600"):
        records(b"x" * 3_597 + b"\n1\n")
