"""Which rows can be sent, and the message for each that cannot."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions.errors import UnreadableUploadError
from functions.model.rows import Position, Record, Rejection, Row
from functions.planning.validation import validate
from functions.readers.text import check_text

NEW_VERSION, OLD_VERSION = "2026-10-21", "2023-06-01"
SECRET = "Zq7"


def record(data: bytes | None, line: int = 4, column: int = 1) -> Record:
    return Record(line, column, 0, len(data or b"x" * 50), data, Position())


def validated(data: bytes | None, version: str = NEW_VERSION, column: int = 1) -> Row:
    return validate(record(data, column=column), row_bytes=40, api_version=version)


def rejection(data: bytes | None, version: str = NEW_VERSION, column: int = 1) -> Rejection:
    row = validated(data, version, column)
    assert row.params is None
    assert row.rejection is not None
    return row.rejection


def with_params(params: str) -> bytes:
    return b'{"params":%b}' % params.encode()


REQUIRED_PARAMS = '"model":"m","max_tokens":1,"messages":[]'


_fragments = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b"\\", b":", b",", b"1e999", b"NaN", b'"params"', b"null", b"\\ud83d", b"\n",
     b'"max_tokens"', b'"stream"', b"true", b"\xff", b"\x00", b"-", SECRET.encode(), b"9" * 400]
)  # fmt: skip
malformed = st.binary(max_size=60) | st.lists(_fragments, max_size=16).map(b"".join)


@given(malformed | malformed.map(lambda inner: b'{"params":{"x":%b}}' % inner), st.integers(1, 90))
@example(b'{"params":{"max_tokens":1e999}}', 1)
@example(b'{"params":{"temperature":%b}}' % (b"9" * 5000), 1)
@example(b"[" * 100_000, 1)
@example(b'{"params":{"stream":%b}}' % (b"[" * 100_000), 1)
@example(b'{"params":{"x":"\\ud83d', 1)
def test_validation_never_raises_and_its_message_quotes_nothing(data: bytes, column: int) -> None:
    row = validate(record(data, column=column), row_bytes=10**6, api_version=NEW_VERSION)

    assert (row.params is None) is (row.rejection is not None)
    if row.rejection is not None:
        message = row.rejection.message
        assert re.fullmatch(r"line 4: [^\n]{10,250}[^.\n]", message)
        assert SECRET not in message
        assert row.rejection.line == 4
        columns = [int(number) for number in re.findall(r"column (\d+)", message)]
        first = 1 if b"\n" in data else column
        assert all(first <= column_ <= column + len(data) for column_ in columns)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(_json, st.dictionaries(st.sampled_from(["model", "messages", "x"]), _json), st.booleans())
def test_params_and_custom_id_are_kept_byte_for_byte(
    custom_id: Any, params: Any, escaped: Any
) -> None:
    params = {"model": "m", "max_tokens": 1, "messages": [], **params}
    params = {name: "m" if value is None else value for name, value in params.items()}
    expected = [json.dumps(value, ensure_ascii=escaped).encode() for value in (custom_id, params)]

    row = validated(b' {"other": 1, "custom_id" : %b , "params":  %b }' % tuple(expected))

    assert [bytes(row.custom_id), row.params] == expected


@pytest.mark.parametrize(
    ("data", "code", "phrase"),
    [
        (b"{broken", "invalid_json", "object keys must be strings at column 2"),
        (b'{"params":{"a":NaN}}', "invalid_json", "not valid JSON: NaN at column 16 is not a JSON number; remove it or use null"),
        (b'{"params":{"a":-Infinity}}', "invalid_json", "Infinity at column 17 is not a JSON number"),
        (b'{"params":{"a":Nand}}', "invalid_json", "not valid JSON: invalid character at column 16"),
        ('{"params":{}}\u00a0'.encode(), "invalid_json", "U+00A0 (no-break space) at column 14; JSON allows only plain spaces"),
        ('\u200b{"params":{}}'.encode(), "invalid_json", "U+200B (zero width space) at column 1; JSON allows only plain spaces"),
        ("{}\ufeff{}".encode(), "invalid_json", "U+FEFF (zero width no-break space) at column 3"),
        ("{\u201cparams\u201d:{}}".encode(), "invalid_json", "U+201C (left double quotation mark) at column 2; JSON allows only straight"),
        (b'{"params"\x00:{}}', "invalid_json", "U+0000 (control character) at column 10"),
        (b'{"params":', "invalid_json", "the JSON is incomplete; check whether the row is cut off"),
        (b'{"a":1} x', "invalid_json", "extra characters after the JSON value at column 9"),
        (b'{"params":{"a":1,}}', "invalid_json", "trailing comma in object at column 18"),
        (b'{"params":{"a":"\\ud83d\\ude00"}}}', "invalid_json", "extra characters after the JSON value at column 32"),
        (b'{"params":{"a":"\\ud83d"}}', "invalid_unicode", "unpaired surrogate escape, such as \\ud83d alone, at column 17"),
        (b'{"params":{"a":"\\\\ud83d \\ude00"}}', "invalid_unicode", "column 25"),
        (b'{"params":{"a":"\xe9"}}', "invalid_utf8", "invalid UTF-8 at column 17; save the file as UTF-8"),
        (b'"text"', "not_an_object", "not a JSON object; each row must be"),
        (b"[1]", "not_an_object", "not a JSON object; each row must be"),
        (b"{}", "no_params", '"params" is missing or not an object'),
        (b'{"params":"x"}', "no_params", '"params" is missing or not an object'),
        (b'{"params":null}', "no_params", '"params" is missing or not an object'),
        (None, "too_long", "the row is 50 bytes long; the limit is 40"),
        (b"[" * 100_000, "not_an_object", "not a JSON object"),
        (b'{"a":' * 100_000, "too_deep", "the JSON is nested too deeply"),
    ],
)  # fmt: skip
def test_the_message_says_what_is_wrong_and_where(
    data: bytes | None, code: str, phrase: str
) -> None:
    assert rejection(data).code == code
    assert phrase in rejection(data).message


VALID_ROW = '{"custom_id": "r1", "params": {"a": 1}}'


@pytest.mark.parametrize(
    ("data", "custom_id"),
    [
        (VALID_ROW + "\u00a0", '"r1"'),
        ("\u200b" + VALID_ROW, '"r1"'),
        ("\u200b" + VALID_ROW + "\u00a0", '"r1"'),
        (VALID_ROW.replace("1}", "NaN}"), '"r1"'),
        (VALID_ROW[:-2], '"r1"'),
        ('{"x": [1, {"custom_id": 1}], "custom_id" :  -7.5 , "params": {"a": NaN}}', "-7.5"),
        ('{"custom_id": "a\\"b", "params": {"a": "\\ud83d"}}', '"a\\"b"'),
        ('{"params": {"custom_id": "no", "a": NaN}}', "null"),
        ('{"params": {"a": NaN}, "custom_id": "late"}', "null"),
        ('{"a": "he said "custom_id": "x", "b": 1}', "null"),
        ('{"custom_id": ["r1"], "params": NaN}', "null"),
        ('{"custom_id": "r1" "params": {}}', "null"),
        ('{"custom_id": "' + "x" * 5000 + '", "params": NaN}', "null"),
        ('{"custom_id": "r1', "null"),
        ('[{"custom_id": "r1", "a": NaN}]', "null"),
    ],
)
def test_a_broken_row_keeps_a_readable_custom_id(data: str, custom_id: str) -> None:
    row = validate(record(data.encode()), row_bytes=10**6, api_version=NEW_VERSION)

    assert row.rejection is not None
    assert bytes(row.custom_id) == custom_id.encode()


def test_a_row_with_invalid_utf8_keeps_its_custom_id() -> None:
    data = b'{"custom_id": "r1", "params": {"a": "\xe9"}}'

    assert (
        bytes(validate(record(data), row_bytes=99, api_version=NEW_VERSION).custom_id) == b'"r1"'
    )
    invalid = data.replace(b"r1", b"\xe9")
    assert (
        bytes(validate(record(invalid), row_bytes=99, api_version=NEW_VERSION).custom_id)
        == b"null"
    )


@pytest.mark.parametrize(
    ("members", "custom_id"),
    [
        ('"customId": "r1"', '"r1"'), ('"id": 2', "2"), ('"recordId": "r3"', '"r3"'), ('"key": "r4"', '"r4"'),
        ('"key": 1, "id": "i", "customId": "c"', '"c"'), ('"id": 1, "custom_id": "own"', '"own"'),
        ('"id": 1, "custom_id": null', "1"), ('"id": {"a": 1}, "key": "k"', '"k"'), ('"id": true', "null"),
        ('"ID": 1', "null"), ('"id": -1.5', "-1.5"),
    ],
)  # fmt: skip
def test_another_id_member_is_used_if_there_is_no_custom_id(members: str, custom_id: str) -> None:
    data = f'{{{members}, "params": {{}}}}'.encode()

    assert (
        bytes(validate(record(data), row_bytes=999, api_version=NEW_VERSION).custom_id)
        == custom_id.encode()
    )


@pytest.mark.parametrize("name", ["custom_id", "id"])
def test_an_overlong_custom_id_is_rejected_with_its_limit(name: str) -> None:
    params = json.loads(f"{{{REQUIRED_PARAMS}}}")
    fitting, too_long = (
        json.dumps({name: "x" * n, "params": params}).encode() for n in (4094, 4095)
    )

    accepted_row = validate(record(fitting), row_bytes=10**6, api_version=NEW_VERSION)
    row = validate(record(too_long), row_bytes=10**6, api_version=NEW_VERSION)

    assert [accepted_row.rejection, len(accepted_row.custom_id)] == [None, 4096]
    assert (bytes(row.custom_id), row.params) == (b"null", None)
    assert row.rejection is not None
    assert row.rejection.code == "custom_id_too_long"
    assert "4,097 bytes long; the limit is 4,096" in row.rejection.message
    assert "null in results.jsonl" in row.rejection.message


def test_the_column_counts_from_the_start_of_the_line() -> None:
    assert rejection(b"{broken", column=100).message.endswith("at column 101")


BEGIN = "(the row begins at line 4, column 9)"
OVER_LINES = [
    (b'{"a":nul\n}', "not valid JSON: invalid character at column 15"),
    (b'{\n"a":nul}', f"not valid JSON: invalid character at line 5, column 6 {BEGIN}"),
    (b'{\n\n  "a":1,\n}', f"not valid JSON: trailing comma in object at line 7, column 1 {BEGIN}"),
    (b'{\n"a":NaN}', f"not valid JSON: NaN at line 5, column 5 {BEGIN} is not a JSON number; remove it or use null"),
    (b'{"a":1,\n "b":"\\ud83d"}', f"unpaired surrogate escape, such as \\ud83d alone, at line 5, column 7 {BEGIN}"),
    (b'{"a":1,\n "b":"\xe9"}', f"invalid UTF-8 at line 5, column 7 {BEGIN}; save the file as UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "sentence"), OVER_LINES, ids=lambda value: str(value)[:30])
def test_a_fault_in_a_row_over_several_lines_names_where_it_is_and_where_the_row_begins(
    data: bytes, sentence: str
) -> None:
    found = rejection(data, column=9)

    assert (found.message, found.line) == (f"line 4: {sentence}", 4)


UNSUPPORTED = [
    '"stream":true', '"speed":"fast"', '"store":true', '"store":false', '"cache_hint":{}', '"fallbacks":[]',
    '"context_hint":"x"', '"previous_thread_event_id":"e"', '"max_tokens":0', '"max_tokens":0.0',
    '"max_tokens" : 0 ',
]  # fmt: skip


@pytest.mark.parametrize("version", [NEW_VERSION, OLD_VERSION])
@pytest.mark.parametrize("parameter", UNSUPPORTED)
def test_unsupported_parameters_are_rejected(parameter: str, version: str) -> None:
    rejected = rejection(with_params("{" + parameter + "}"), version)

    assert rejected.code == "unsupported_parameter"
    assert parameter.split('"')[1] in rejected.message


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_sampling_parameters_depend_on_the_api_version(name: str) -> None:
    params = with_params(f'{{{REQUIRED_PARAMS},"{name}":0}}')

    assert rejection(params, NEW_VERSION).code == "unsupported_parameter"
    assert validated(params, OLD_VERSION).rejection is None


@pytest.mark.parametrize(
    "further", ["", ',"stream":false', ',"stream":null', ',"speed":null', ',"max_tokens":1e999', ',"max_tokens":false',
             ',"model":5', ',"messages":"hi"', ',"response_format":{}', ',"metadata":{"betas":[]}']
)  # fmt: skip
def test_parameters_that_the_api_validates_are_sent(further: str) -> None:
    """The API's own validation gives a better message, and is free."""
    params = f"{{{REQUIRED_PARAMS}{further}}}"

    assert validated(with_params(params)).params == params.encode()


@pytest.mark.parametrize("value", ["null", "[]", '"x"', "{}"])
@pytest.mark.parametrize("name", ["betas", "extra_body", "extra_headers"])
def test_sdk_arguments_are_rejected(name: str, value: str) -> None:
    rejected = rejection(with_params(f'{{{REQUIRED_PARAMS},"{name}":{value}}}'))

    assert rejected.code == "unsupported_parameter"
    assert rejected.message.startswith(f'line 4: "{name}" is an SDK argument that the API refuses')


@pytest.mark.parametrize("name", ["model", "max_tokens", "messages"])
@pytest.mark.parametrize("null", [True, False])
def test_missing_required_parameters_are_rejected(name: str, *, null: bool) -> None:
    params: dict[str, Any] = json.loads(f"{{{REQUIRED_PARAMS}}}")
    del params[name]
    rejected = rejection(with_params(json.dumps({**params, **({name: None} if null else {})})))

    assert rejected.code == "missing_parameter"
    assert rejected.message.startswith(f'line 4: "{name}" is missing; "params" requires "model"')


@pytest.mark.parametrize(
    ("upload_head", "offset"),
    [(b"\x1f\x8b\x08" + bytes(range(256)), "0"), (b"PK\x03\x04" + b"\x00" * 20, "2"),
     ("{}".encode("utf-16"), "0"), ("{}".encode("utf-16-le"), "1"), (b"\xff", "0")],
)  # fmt: skip
def test_an_upload_that_is_not_text_is_rejected_with_the_offset(
    upload_head: bytes, offset: str
) -> None:
    with pytest.raises(
        UnreadableUploadError, match=rf"not UTF-8 text \(first invalid byte at offset {offset}\)"
    ):
        check_text(upload_head)


@pytest.mark.parametrize(
    "upload_head",
    [b"", b"{}", b"{}" + bytes(4096), b"{}\r\n\x1a" + b"\x1a" * 99, "日本語".encode() * 100, b" " * 40 + "語".encode()[:-1], b"{}\r\n" * 9, b"x" * 99 + b"\xe9",
     "é".encode() * 32768],
)  # fmt: skip
def test_text_with_a_few_invalid_bytes_is_accepted(upload_head: bytes) -> None:
    check_text(upload_head)
