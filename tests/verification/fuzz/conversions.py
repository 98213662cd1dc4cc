"""Fuzz targets for templates, translations and exports: any row is one request or one rejection, and one line."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from functions.exports import EXPORTS
from functions.exports.contract import ExportContext, ExportRow
from functions.model.options import Options, RequestTemplate
from functions.model.rows import Record, Row
from functions.planning.conversion import NATIVE, TEMPLATE, convert_all, converter_of, parse_row
from functions.planning.preflight import Preflight
from functions.planning.validation import validate
from functions.readers import jsonl
from functions.translations import TRANSLATIONS
from tests.unit.uploads import Upload
from tests.verification.fuzz.leading_bytes import take_bytes
from tests.verification.fuzz.reading import API_VERSION, check_sentence

ROW_BYTES = 1 << 20
PROMPT = "the prompt of a user"
"""A text that no sentence may quote, wherever it occurs in a row but as the name of a field."""
RESULTS = (
    (
        b'{"type":"succeeded","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":'
        b'[{"type":"text","text":"\\u2028=1"},{"type":"tool_use","id":"t","name":"f","input":{"a":1}}],'
        b'"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":2}}}'
    ),
    b'{"type":"succeeded","message":{"id":"msg_2","content":[],"stop_reason":"refusal","usage":{}}}',
    b'{"type":"succeeded","message":7}',
    b'{"type":"errored","error":{"type":"error","error":{"type":"overloaded_error","message":"x"}}}',
    b'{"type":"errored"}',
    b'{"type":"expired"}',
    b'{"type":"canceled"}',
    b'{"type":"rejected","error":{"code":"no_body","message":"line 1: no","line":1}}',
    b'{"type":"never_heard_of","message":[[]],"error":"text"}',
)
_TEMPLATE = RequestTemplate(
    custom_id="{{id}} {{a}}",
    params={
        "model": "claude-haiku-4-5",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": '{{a}}{{b.c}} {{"{{"}}{{body}}'}],
    },
)


def template(data: bytes) -> None:
    """Check that records fill a template."""
    _check_kind(TEMPLATE, data)


def defaults(data: bytes) -> None:
    """Check that options complete native requests."""
    _check_kind(NATIVE, data)


def openai(data: bytes) -> None:
    """Check rows of OpenAI's Batch API."""
    _check_kind("openai", data)


def bedrock(data: bytes) -> None:
    """Check records of Bedrock's batch inference."""
    _check_kind("bedrock", data)


def vertex(data: bytes) -> None:
    """Check rows of Vertex AI."""
    _check_kind("vertex", data)


def _check_kind(kind: str, data: bytes) -> None:
    """Check all rows of an upload; the leading byte sets the options."""
    (options_code,), body = take_bytes(data, 1)
    options = _options(kind, options_code)
    records = list(jsonl.records(iter([body]), jsonl.START, ROW_BYTES))
    rows = list(_convert(kind, options, records))
    assert [record for record, _ in rows] == records, "rows out = rows in"
    assert list(_convert(kind, options, records)) == rows, "converting again differs"
    for record, row in rows:
        _check_row(kind, record, row)
        _check_exports(kind, record, row)
    _check_retry(kind, options, Upload(body), rows)


def _options(kind: str, code: int) -> Options:
    models: tuple[dict[str, str], ...] = (
        {},
        {"*": "claude-haiku-4-5"},
        {"gpt-4o": "claude-opus-4-5"},
        {"*": "claude-fable-9"},
    )
    return Options(
        models=models[code % 4],
        on_unsupported="reject" if code & 4 else "drop",
        request=_TEMPLATE
        if kind == TEMPLATE
        else RequestTemplate(params={"max_tokens": 50} if code & 8 or kind == NATIVE else {}),
    )


def _convert(
    kind: str, options: Options, records: Sequence[Record]
) -> Iterator[tuple[Record, Row]]:
    convert = converter_of(kind, options, API_VERSION)
    assert convert is not None
    preflight = Preflight("2026-11-23", skip_checks=frozenset({"unknown_model"}))
    rules: Any = {"row_bytes": ROW_BYTES, "api_version": API_VERSION, "preflight": preflight}
    return convert_all(iter(records), convert, partial(validate, **rules), ROW_BYTES)


def _check_row(kind: str, record: Record, row: Row) -> None:
    """Check that a row is a request with the user's id, or has a code and a sentence."""
    json.loads(bytes(row.custom_id))
    assert (row.params is None) == (row.rejection is not None)
    if row.rejection is not None:
        assert row.rejection.code.isidentifier()
        assert check_sentence(row.rejection.message).startswith(f"line {record.line}: ")
        assert PROMPT not in row.rejection.message, "a sentence quotes a prompt"
    else:
        params = msgspec.json.decode(row.params or b"", type=dict[str, Any])
        assert {"model", "max_tokens", "messages"} <= params.keys()
        assert PROMPT not in "".join(row.changes), "a change quotes a prompt"
        assert sorted({*row.betas}) == [*row.betas]
    parsed = parse_row(record)
    if kind in TRANSLATIONS and parsed is not None and _own_id(kind, parsed) is not None:
        assert json.loads(bytes(row.custom_id)) == _own_id(kind, parsed)


def _own_id(kind: str, row: dict[str, Any]) -> str | int | None:
    """Return the id of a row, if it has one that no rule changes."""
    value = row.get("recordId" if kind == "bedrock" else "custom_id")
    is_usable = isinstance(value, str | int) and not isinstance(value, bool)
    return value if is_usable and len(str(value)) < 100 else None


def _check_exports(kind: str, record: Record, row: Row) -> None:
    """Check that each export has one line for the row, whatever its result is."""
    for number, result in enumerate(RESULTS, 1):
        exported = ExportRow("j", number, bytes(row.custom_id), result, record.data, 1)
        for name in {"csv", kind} & EXPORTS.keys():
            context = ExportContext(name="a.jsonl")
            ((_, line),) = EXPORTS[name].lines(exported, context)
            assert line.endswith(b"\n")
            if name != "csv":
                assert line.count(b"\n") == 1
                identity = json.loads(line)["recordId" if name == "bedrock" else "custom_id"]
                assert (
                    identity == json.loads(bytes(row.custom_id)) or bytes(row.custom_id) == b"null"
                )


def _check_retry(
    kind: str, options: Options, source: Upload, rows: Sequence[tuple[Record, Row]]
) -> None:
    """Check that a retry file has the same requests as the rows that it was made from."""
    # What nobody sees is a row within a file, but not at its end; a byte order mark is part of a row that NULs precede,
    # but not at the front of a line.
    chosen = [
        (record, row)
        for record, row in rows[::2]
        if (record.data or b"x").strip(b"\x00\x1a \xef\xbb\xbf")
        and not (record.data or b"").startswith(b"\xef\xbb\xbf")
    ]
    offsets, sizes = (
        [record.offset for record, _ in chosen],
        [record.size for record, _ in chosen],
    )
    retry = b"".join(jsonl.retry_rows(source, offsets, sizes))
    again = list(_convert(kind, options, list(jsonl.records([retry], jsonl.START, ROW_BYTES))))
    assert [(row.custom_id, row.params) for _, row in again] == [
        (row.custom_id, row.params) for _, row in chosen
    ]
