"""JSON that is not one value per line: which rows it holds, and what is said of what is broken."""

import json
import re
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions.errors import UnreadableUploadError
from functions.model.rows import Record
from functions.planning.validation import validate
from functions.readers import json_values
from functions.readers.json_values import START, JsonPosition, other_members
from tests.unit.uploads import Upload

MOST = 24


def records(body: bytes, block: int = 1 << 20, most: int = MOST) -> list[Record]:
    return list(json_values.read(Upload(body, block), START, most))


def texts(body: bytes) -> list[bytes | None]:
    return [record.data for record in records(body)]


@pytest.mark.parametrize(
    "body",
    [
        b'[{"a":1},{"b":2}]',
        b'[\n{"a":1},\n{"b":2}\n]\n',
        b'\xef\xbb\xbf\r\n[{"a":1}\r\n,\r\n{"b":2}]\x1a\0\0',
        b'{"requests":[{"a":1},{"b":2}]}',
        b'{"model":"m","requests":[{"a":1},{"b":2}],"metadata":{"requests":[{"c":3}]}}',
        b'{"r\\u0065quests" : [{"a":1},{"b":2}]}',
        b'{"a":1}{"b":2}',
        b'{"a":1},\n{"b":2},\n',
        b'[{"a":1}]\n[{"b":2}]',
        b'{"requests":[{"a":1}]}[{"b":2}]',
        b'{"requests":[{"a":1}],"requests":[{"b":2}]}',
    ],
)
def test_the_rows_are_the_elements_wherever_they_are(body: bytes) -> None:
    assert texts(body) == [b'{"a":1}', b'{"b":2}']
    assert all(record.fault is None for record in records(body))


def test_a_byte_order_mark_is_no_column() -> None:
    assert [(row.line, row.column) for row in records(b"\xef\xbb\xbf[1,\xef\xbb\xbf2]")] == [
        (1, 2),
        (1, 7),
    ]


def test_an_element_keeps_its_bytes_and_knows_its_place() -> None:
    first, second = records(b'[\n  {\n    "a": 1\n  }, "\xc3\xa9"]')

    assert (first.line, first.column, first.offset, first.size) == (2, 3, 4, 16)
    assert first.data == b'{\n    "a": 1\n  }'
    assert (second.line, second.column, second.offset, second.size) == (4, 6, 22, 4)
    assert first.end == JsonPosition(20, 4, 3, 1, "comma")
    assert second.end == JsonPosition(26, 4, 9, 2, "comma")


def test_a_longer_element_than_a_row_may_be_has_no_data() -> None:
    body = b'[{"a":"' + b"x" * MOST + b'"},{"b":2}]'

    assert texts(body) == [None, b'{"b":2}']
    assert [record.size for record in records(body)] == [MOST + 8, 7]


@pytest.mark.parametrize(
    "body", [b'{"requests":{"a":[1]}}', b'{"requests":1}', b'{"x":1}', b'{"requests" [1]}']
)
def test_an_object_without_an_array_of_requests_is_a_row(body: bytes) -> None:
    assert texts(body) == [body]


def test_only_the_first_object_can_wrap_requests() -> None:
    """Rows of other programs may have a member of that name."""
    body = b'{"a":1}\n{"requests":[2]}'
    assert texts(body) == [b'{"a":1}', b'{"requests":[2]}']


@pytest.mark.parametrize(
    "body", [b"", b" \n", b"[]", b"[ ]", b'{"requests": []}', b"[][]", b"[\n]\n\x1a"]
)
def test_an_upload_without_elements_has_no_rows(body: bytes) -> None:
    assert records(body) == []


def sentences(body: bytes) -> list[str]:
    """Return the sentence of each row that cannot be sent, as results.jsonl has it."""
    rows = [
        validate(record, row_bytes=1000, api_version="2026-10-21")
        for record in records(body, most=1000)
    ]
    return [row.rejection.message for row in rows if row.rejection is not None]


GOOD = b'{"custom_id":"a","params":{"model":"m","max_tokens":1,"messages":[{}]}}'


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"[\n%b,\n]", "line 3: the comma before the ] at column 1 has no element after it; remove it"),
        (b"[%b,,%b]", "line 1: the comma at column 74 has no element before it; remove it"),
        (b"[,%b]", "line 1: the comma at column 2 has no element before it; remove it"),
        (b"[%b\n %b]", "line 2: there is no comma before element 2 at column 2; add it"),
        (b"[%b", "line 1: the upload ends after element 1 without ]; check whether the file is cut off"),
        (b"[%b,", "line 1: the upload ends after element 1 without ]; check whether the file is cut off"),
        (b"[", "line 1: the upload ends before the first element without ]; check whether the file is cut off"),
        (b'{"requests":[%b]', "line 1: the upload ends after element 1 without }; check whether the file is cut off"),
        (b'[%b,\n {"a":[\n', "line 2: the upload ends inside element 2, which begins at column 2; check for a missing bracket or quotation mark there, or whether the file is cut off"),
        (b"[%b]\n%%PDF", "line 2: the text at column 1, after element 1, is not part of the JSON; nothing from there on was read; correct it there"),
        (b"text", "line 1: the text at column 1, before the first element, is not part of the JSON; nothing from there on was read; correct it there"),
        (b"[%b,NaN]", "line 1: not valid JSON: NaN at column 74 is not a JSON number; remove it or use null"),
        (b'[%b,{"a":01}]', "line 1: not valid JSON: invalid number at column 80"),
        (b"[%b,[%b]]", 'line 1: not a JSON object; each row must be {"custom_id": "…", "params": {…}}'),
    ],
)  # fmt: skip
def test_each_fault_is_one_row_with_one_sentence(body: bytes, sentence: str) -> None:
    body = body % ((GOOD,) * body.count(b"%b"))

    assert sentences(body) == [sentence]


def test_a_bracket_too_many_stops_the_reading_before_the_row_that_it_cut_short() -> None:
    assert sentences(b"[%b},%b]" % (GOOD, GOOD)) == [
        "line 1: element 1, which begins at column 2, is followed by } at line 1, column 73; check its brackets",
        "line 1: the text at column 73, after element 1, is not part of the JSON; nothing from there on was read; correct it there",
    ]  # fmt: skip


def test_names_of_other_members_are_reported_from_both_sides() -> None:
    body = b'{"betas":["x"],"requests":[{"a":1},{"b":2}],"model":"m","\\u00e9":{"requests":[]}}'
    source = Upload(body)

    for record in records(body):
        assert record.end.others == ("betas",)  # type: ignore[attr-defined]
        assert other_members(source, record.end) == ("betas", "model", "é")  # type: ignore[arg-type]
    assert other_members(source, START) == ("betas", "model", "é")
    assert other_members(Upload(b'[{"betas":1}]'), START) == ()


def test_many_long_names_leave_the_position_small() -> None:
    members = ",".join(f'"{number:02}{"\\u0001" * 60}":1' for number in range(30))
    position = records(b'{%b,"requests":[1]}' % members.encode())[0].end

    assert len(json.dumps(position.others)) < 3500  # type: ignore[attr-defined]


def test_a_retried_row_is_one_line_and_means_the_same() -> None:
    body = b'[\n  {\r\n    "a": "x  y",\n\n    "b": 2\n  },\n  {"c":  3}\n]'
    rows = records(body, most=1000)
    source = Upload(body, 3)
    offsets, sizes = [row.offset for row in rows], [row.size for row in rows]

    retried = b"".join(json_values.retry_rows(source, offsets, sizes))

    assert retried == b'{\t"a": "x  y",\t"b": 2\t}\n{"c":  3}\n'


def test_a_missing_element_has_nothing_to_retry() -> None:
    (row,) = records(b"[,]")[:1]

    assert (row.offset, row.size) == (1, 0)
    assert [*json_values.retry_rows(Upload(b"[,]"), [1], [0])] == []
    assert [*json_values.retry_rows(Upload(b"[,]"), [0], [2])] == []
    assert b"".join(json_values.retry_rows(Upload(b"[1,,2]"), [1, 3, 4], [1, 0, 1])) == b"1\n2\n"


def test_a_line_break_inside_of_a_string_does_not_make_a_retried_row_valid() -> None:
    body = b'[{"a":"x\ny"}]'
    (row,) = records(body)
    retried = b"".join(json_values.retry_rows(Upload(body), [row.offset], [row.size]))

    with pytest.raises(json.JSONDecodeError):
        json.loads(retried)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(UnreadableUploadError, match="not UTF-8 text"):
        records(b"\x1f\x8b\x08" + bytes(range(256)))


_json = st.recursive(
    st.none() | st.integers(0, 99) | st.text(alphabet='ab"\\{}[],: é', max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("kl"), inner),
    max_leaves=4,
)
_encoded = st.builds(
    lambda value, indent: json.dumps(value, ensure_ascii=False, indent=indent).encode(),
    _json,
    st.sampled_from([None, 1]),
)


@given(st.lists(_encoded, max_size=5), st.sampled_from([b"[%b]", b'{"z":[1],"requests":[%b],"y":2}']),
       st.sampled_from([b",", b" , ", b"\n,\r\n"]), st.integers(1, 40))  # fmt: skip
def test_valid_json_gives_its_elements_byte_for_byte(
    values: list[bytes], around: bytes, comma: bytes, block: int
) -> None:
    body = around % comma.join(values)

    assert [row.data for row in records(body, block, 1000)] == values
    assert all(row.fault is None for row in records(body, block, 1000))


_scraps = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b" ", b"\r", b"\n", b"x", b"1", b"{}", b"\xff", b"\xef\xbb\xbf", b"\0",
     b'"requests"', b'{"requests":[', b'{"a":1}', b'{"a":{}}']
)  # fmt: skip
_broken = st.lists(_encoded | _scraps, max_size=14).map(b"".join)


@given(_broken, st.integers(1, 40), st.integers(0, 60))
@example(b'{"a":"\\"}{"}' * 4, 1, 8)
@example(b"[\xef\xbb\xbf{},\xef\xbbx]", 1, 8)
@example(b'{"requests":[1],"z":[1,{"requests":[2]}]}', 1, 8)
def test_any_bytes_give_the_same_rows_for_every_block_size_and_from_every_position(
    body: bytes, block: int, most: int
) -> None:
    try:
        whole = records(body, len(body) or 1, most)
    except UnreadableUploadError:
        return

    assert records(body, block, most) == whole
    for number, row in enumerate(whole, 1):
        assert [*json_values.read(Upload(body, block), row.end, most)] == whole[number:]  # type: ignore[arg-type]


@given(_broken)
def test_only_punctuation_is_outside_of_rows(body: bytes) -> None:
    """Only white space, brackets and commas around elements, and the other members of a wrapper, are passed over."""
    try:
        rows = records(body, most=10_000)
    except UnreadableUploadError:
        return
    if b"requests" in body:
        return

    outside, at = b"", 0
    for row in rows:
        outside, at = outside + body[at : row.offset], row.offset + row.size
        assert row.data == body[row.offset : at]
    assert re.fullmatch(rb"(?:[ \t\r\n\0\x1a,\[\]]|\xef\xbb\xbf)*", outside + body[at:])


@given(_broken)
@example(b'{"requests":[')
def test_retried_rows_and_spans_read_back_one_per_line(body: bytes) -> None:
    try:
        rows = records(body, most=10_000)
    except UnreadableUploadError:
        return
    end = rows[-1].end.byte if rows else 0
    rows, source = [row for row in rows if row.size], Upload(body, 3)
    lines = [re.sub(rb"[\r\n][ \t\r\n]*", b"\t", row.data or b"") + b"\n" for row in rows]

    singly = [b"".join(json_values.retry_rows(source, [row.offset], [row.size])) for row in rows]
    assert singly == lines
    assert b"".join(json_values.retry_rows(source, [0], [end])) == b"".join(lines)


@pytest.mark.parametrize(
    ("head", "middle", "tail"),
    [
        (b'[{"a":"', b"x", b'"}]'),
        (b"[1", b" ", b"]"),
        (b"[1", b", 1" + b" " * 97, b"]"),
        (b"[", b"[" + b" " * 49, b""),
        (b'{"long":"', b"\\\\", b'","requests":[1]}'),
        (b'{"requests":[1],"long":[', b"1,", b"1]}"),
        (b"[1]", b"x ", b""),
        (b"[", b"9", b"]"),
    ],
)
def test_memory_does_not_grow_with_the_upload(head: bytes, middle: bytes, tail: bytes) -> None:
    class Long(Upload):
        def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
            del stop
            if not start:
                yield head
            for _ in range(30):
                yield middle * (100_000 // len(middle))
            yield tail

    tracemalloc.start()
    count = sum(1 for _ in json_values.read(Long(b""), START, 1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert count
    assert peak < 1_500_000
