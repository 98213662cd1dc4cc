"""A row that cannot be converted is rejected by itself: it stops no other row, and is not sent as it is."""

import tracemalloc
from functools import partial
from typing import Any

import msgspec
import pytest

from functions.model.options import Options, RequestTemplate
from functions.model.rows import LinePosition, Record, Row, ValidRows
from functions.planning.conversion import convert_all, converter_of
from functions.planning.fast_path import validate_all
from functions.planning.json_faults import MAX_ID_BYTES, NULL
from functions.planning.preflight import Preflight
from functions.planning.validation import MAX_VALUES, validate
from functions.readers import READERS
from tests.unit.uploads import Upload

ROW_BYTES = 10_000_000
FEWER_VALUES = 250_000
"""A limit that the reader of JSON exceeds in a second while memory is traced."""
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
    preflight = Preflight("2026-11-27")
    rules = partial(validate, row_bytes=ROW_BYTES, api_version=VERSION, preflight=preflight)
    ((_, result),) = convert_all(iter([record]), convert, rules, ROW_BYTES)
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
        ("native", b'{"params":{%b,"x":[0%b]}}' % (FULL, b",0" * MAX_VALUES), "too_many_values"),
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


def test_a_row_that_its_reader_rejects_may_be_nested_deeply() -> None:
    """There is no comma before it."""
    body = b'[{"modelInput":{}}%b]' % deep_tool_results(2_000)
    json_values = READERS["json"]
    pieces = json_values.read(Upload(body), json_values.START, ROW_BYTES)
    convert = converter_of("bedrock", OPTIONS, VERSION)
    assert convert is not None
    rules = partial(validate, row_bytes=ROW_BYTES, api_version=VERSION)
    _, (_, row) = convert_all(pieces, convert, rules, ROW_BYTES)

    assert row.rejection is not None
    assert row.rejection.code == "invalid_json"


def test_a_rejected_row_keeps_its_custom_id_unless_it_is_too_long() -> None:
    short, long = (
        converted("openai", b'{"custom_id":"%b","body":1,"method":"POST","url":"/"}' % custom_id)
        for custom_id in (b"a", b"a" * MAX_ID_BYTES)
    )

    assert bytes(short.custom_id) == b'"a"'
    assert long.custom_id == NULL


def test_a_row_is_checked_under_the_betas_that_it_brings() -> None:
    """Under this one, the model accepts more `max_tokens`."""
    beta = b'"anthropic_beta":["output-300k-2026-03-24"],'
    row = b'{"modelInput":{%b"anthropic_version":"x","max_tokens":200000,%b}}'

    with_beta, without = (converted("bedrock", row % (own, MESSAGES)) for own in (beta, b""))

    assert (with_beta.rejection, with_beta.betas) == (None, ("output-300k-2026-03-24",))
    assert without.rejection is not None
    assert without.rejection.code == "max_tokens_too_large"


def test_defaults_complete_the_params_of_a_row() -> None:
    result = converted("native", b'{"custom_id":"a","params":{"max_tokens":9,%b}}' % MESSAGES)

    params = msgspec.json.decode(result.params or b"{}")
    assert (params["max_tokens"], params["system"]) == (9, "Be brief.")


@pytest.mark.parametrize(
    ("reader", "kind", "body"),
    [
        ("csv", "template", b"a,b\n" + b"ab," * MAX_VALUES + b"\n"),
        ("jsonl", None, b'{"params":{%b,"x":[%b{}]}}' % (FULL, b"{}," * MAX_VALUES)),
        ("jsonl", None, b'{"params":{"messages":[%b{}]}}' % (b"{}," * MAX_VALUES)),
        ("jsonl", "native", b'{"params":{%b,"x":[%b{}]}}' % (FULL, b"{}," * MAX_VALUES)),
        ("jsonl", "template", b'{"a":[%b{}]}' % (b"{}," * MAX_VALUES)),
        ("json", "template", b'[{"a":[%b{}]}]' % (b"{}," * FEWER_VALUES)),
    ],
)
def test_a_row_of_many_values_is_never_parsed_whole(
    monkeypatch: pytest.MonkeyPatch, reader: str, kind: str | None, body: bytes
) -> None:
    """As Python's objects its values would take 30 times as much memory as its bytes."""
    monkeypatch.setattr("functions.planning.validation.MAX_VALUES", FEWER_VALUES)
    rules: Any = {
        "row_bytes": ROW_BYTES,
        "api_version": VERSION,
        "preflight": Preflight("2026-11-27"),
    }
    tracemalloc.start()
    pieces = READERS[reader].read(Upload(body), READERS[reader].START, ROW_BYTES)
    if kind is None:
        (validated,) = validate_all(pieces, **rules)
        assert not isinstance(validated, ValidRows)
        assert (validated[1].params is None) == (b'"messages":[{}' in body)  # else the API decides
    else:
        convert = converter_of(kind, OPTIONS, VERSION)
        assert convert is not None
        ((_, row),) = convert_all(pieces, convert, partial(validate, **rules), ROW_BYTES)
        assert row.params is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 15 * len(body)


def test_a_row_whose_template_repeats_it_too_often_is_rejected_alone() -> None:
    row = b'{"id":"a","text":"%b"}' % (b"x" * 60)
    params = {**DEFAULTS, "messages": [{"role": "user", "content": "{{text}}{{text}}"}]}
    options = Options(request=RequestTemplate(params=params))
    convert = converter_of("template", options, VERSION, row_bytes=100)
    assert convert is not None
    records = [
        Record(1, 1, 0, len(data), data, LinePosition(len(data)))
        for data in (row, b'{"text":"x"}')
    ]
    rules = partial(validate, row_bytes=100, api_version=VERSION)

    long, short = (result for _, result in convert_all(iter(records), convert, rules, 100))

    assert long.rejection is not None
    assert long.rejection.code == "too_long"
    assert "name a large column once" in long.rejection.message
    assert bytes(long.custom_id) == b'"a"'
    assert short.rejection is None
