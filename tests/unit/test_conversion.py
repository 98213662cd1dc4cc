"""A row that cannot be converted is rejected by itself: it stops no other row, and is not sent as it is."""

from functools import partial

import msgspec
import pytest

from functions.model.options import Options, RequestTemplate
from functions.model.rows import LinePosition, Record, Row
from functions.planning.broken import MAX_ID_BYTES, NULL
from functions.planning.conversion import convert_all, converter_of
from functions.planning.validation import validate

VERSION = "2023-06-01"
MESSAGES = b'"messages":[{"role":"user","content":"hi"}]'
FULL = b'"model":"claude-haiku-5-5","max_tokens":9,' + MESSAGES
DEFAULTS = {"model": "claude-haiku-5-5", "max_tokens": 7, "messages": [], "system": "Be brief."}
OPTIONS = Options(models={"*": "claude-haiku-5-5"}, request=RequestTemplate(params=DEFAULTS))


def converted(kind: str, row: bytes) -> Row:
    """Convert one row."""
    record = Record(4, 1, 0, len(row), row, LinePosition(len(row)))
    convert = converter_of(kind, OPTIONS, VERSION)
    assert convert is not None
    rules = partial(validate, row_bytes=1_000_000, api_version=VERSION)
    ((_, result),) = convert_all(iter([record]), convert, rules, 1_000_000)
    return result


def deep_tool_results(levels: int) -> bytes:
    opening = b'[{"toolResult":{"toolUseId":"a","content":' * levels
    content = opening + b'[{"text":"x"}]' + b"}}]" * levels
    return (
        b'{"modelInput":{"max_tokens":9,"messages":[{"role":"user","content":' + content + b"}]}}"
    )


@pytest.mark.parametrize(
    ("kind", "row", "code"),
    [
        ("bedrock", deep_tool_results(2_000), "too_deep"),
        ("native", b'{"params":{%b,"x":1e999}}' % FULL, "number_too_large"),
        ("native", b'{"params":{%b,"x":%b}}' % (FULL, b"1" * 5_000), "number_too_large"),
        ("openai", b'{"body":{%b,"x":1e999}}' % FULL, "number_too_large"),
        ("native", b'{"custom_id":"a"}', "no_params"),
        ("native", b'{"custom_id":"a","params":"{}"}', "no_params"),
        ("native", b'{"custom_id":"a","params":null}', "no_params"),
        ("native", b'{"custom_id":"a","params":{', "invalid_json"),
        ("native", b'{"custom_id":"a\xff","params":{%b}}' % FULL, "invalid_utf8"),
    ],
)
def test_a_row_that_cannot_be_converted_is_rejected(kind: str, row: bytes, code: str) -> None:
    result = converted(kind, row)

    assert result.params is None
    assert result.rejection is not None
    assert result.rejection.code == code
    assert result.rejection.message.startswith("line 4: ")


def test_a_rejected_row_keeps_its_custom_id_unless_it_is_too_long() -> None:
    short, long = (
        converted("openai", b'{"custom_id":"%b","body":1,"method":"POST","url":"/"}' % custom_id)
        for custom_id in (b"a", b"a" * MAX_ID_BYTES)
    )

    assert bytes(short.custom_id) == b'"a"'
    assert long.custom_id == NULL


def test_defaults_complete_the_params_of_a_row() -> None:
    result = converted("native", b'{"custom_id":"a","params":{"max_tokens":9,%b}}' % MESSAGES)

    params = msgspec.json.decode(result.params or b"{}")
    assert (params["max_tokens"], params["system"]) == (9, "Be brief.")
