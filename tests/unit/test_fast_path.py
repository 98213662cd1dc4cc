"""Rows validated together are the same as rows validated one by one."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions.model.chunk_files import ChunkWriter
from functions.model.rows import LinePosition, Position, ValidRows
from functions.planning import fast_path, json_faults, validation
from functions.planning.fast_path import ValidatedRow, validate_all
from functions.planning.preflight import Preflight
from functions.planning.validation import validate
from functions.readers.jsonl import pieces, records
from tests.unit.factories import JOB_ID

ROW_BYTES = 200
MAX_ID_BYTES = 16
VERSIONS = ("2026-10-21", "2023-06-01")

REQUIRED_PARAMS = b'"model":"m","max_tokens":5,"messages":[{}]'


def with_required_params(row: bytes) -> bytes:
    """Add what every request needs to a row's params; invalid rows stay invalid."""
    row = row.replace(b'"params":{"', b'"params":{%b,"' % REQUIRED_PARAMS)
    return row.replace(b'"params":{}', b'"params":{%b}' % REQUIRED_PARAMS)


_valid_rows = st.builds(
    lambda custom_id, text: with_required_params(
        json.dumps({"custom_id": custom_id, "params": {"a": text}}, separators=(",", ":")).encode()
    ),
    st.none() | st.text(max_size=4),
    st.text(max_size=9),
)
_rows = [
    b"", b" ", b"\r", b"{}", b"[]", b"{broken", b'{"params":{}}', b'{"params":{}}{"params":{}}', b' {"params":{}}',
    b'{"params":{"a":', b'{"b":1}', b'"}', b'{"params":{"a":"\xff"}}', b'{"params":{"stream":true}}', b"1}", b"{1",
    b'{"params":{"stream":false}}', b'{"params":{"max_tokens":0}}', b'{"params":{"top_p":1}}', b'{"params":{"a":[{}',
    b"{}]}}", b'{"params":{"a":"' + b"x" * ROW_BYTES + b'"}}', b'{"params":{},"params":{"b":2},"custom_id":7}',
    b'{"params":{"store":null}}', b'{"params":"x"}', b'{"params":{"a":NaN}}', b"\xef\xbb\xbf{}", b'{"params":{}}\r',
    b'{"p\\u0061rams":{"a":1}}', b'{"params":{"str\\u0065am":true}}',
    b'{"params":{"model":null}}', b'{"params":{"model":5}}', b'{"params":{"messages":null}}',
    b'{"params":{"messages":{}}}', b'{"params":{"messages":[1]}}', b'{"params":{"max_tokens":null}}',
    b'{"params":{"max_tokens":1e3}}', b'{"params":{"betas":null}}', b'{"params":{"betas":["x"]}}',
    b'{"params":{"extra_body":{}}}', b'{"params":{"extr\\u0061_headers":{}}}',
    b'\xef\xbb\xbf{"params":{}}',
    b'{"params":{}}\x1a', bytes(3), b'{"id":7,"params":{}}', b'{"custom_id":null,"key":"k","params":{}}', b'{"id":[],"params":{}}',
    b'{"custom_id":"' + b"y" * 20 + b'","params":{}}', b'{"params":{}}\xc2\xa0', b'{"custom_id":3,"params":NaN}',
]  # fmt: skip
UNUSUAL_ROWS = [*_rows, *map(with_required_params, _rows)]
uploads = st.tuples(
    st.lists(_valid_rows | _valid_rows | st.sampled_from(UNUSUAL_ROWS), max_size=12),
    st.sampled_from([b"\n", b"\r\n"]),
).map(lambda drawn: drawn[1].join(drawn[0]))


def write_files(validated: list[ValidRows | ValidatedRow]) -> tuple[bytes, bytes, list[Position]]:
    """Write validated rows; return both files, and where each piece ends."""
    body, ledger, ends = io.BytesIO(), io.BytesIO(), list[Position]()
    files = ChunkWriter(JOB_ID, "00001", 1, body, ledger)
    for item in validated:
        if isinstance(item, ValidRows):
            files.add_valid(files.rows + 1, item)
            ends.append(item.end)
        else:
            files.add(files.rows + 1, *item)
            ends.append(item[0].end)
    size = files.size_bytes
    files.finish()
    assert size == len(body.getvalue())
    return body.getvalue(), ledger.getvalue(), ends


@pytest.fixture(autouse=True, scope="module")
def short_ids() -> Iterator[None]:
    """Lower the limit of a custom_id's length."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (fast_path, validation, json_faults):
            patch.setattr(module, "MAX_ID_BYTES", MAX_ID_BYTES)
        yield


@given(uploads, st.integers(1, 300), st.sampled_from(VERSIONS))
@example(with_required_params(b'{"params":{"a":{"b":1}\n{"c":{}}}}'), 300, VERSIONS[0])
@example(
    with_required_params(b'{"params":{}}{"params":{}}\n{"params":{"a":[{}\n{}]}}'),
    300,
    VERSIONS[0],
)
@example(
    with_required_params(b'{"params":{"a":"x"}}\r\n{"params":{"a":"y"}}\r\n{"params":{}}'),
    300,
    VERSIONS[0],
)
def test_validating_together_equals_validating_one_by_one(
    body: bytes, size: int, version: str
) -> None:
    compare_both_ways(body, size, version)


def compare_both_ways(body: bytes, size: int, version: str) -> None:
    """Validate an upload's rows together and one by one, and compare."""
    blocks = [body[offset : offset + size] for offset in range(0, len(body), size)]
    expected_records = list(records(blocks, LinePosition(), ROW_BYTES))
    one_by_one = [
        (record, validate(record, row_bytes=ROW_BYTES, api_version=version))
        for record in expected_records
    ]

    validated_together = list(
        validate_all(
            pieces(blocks, LinePosition(), ROW_BYTES), row_bytes=ROW_BYTES, api_version=version
        )
    )

    assert write_files(validated_together)[:2] == write_files([*one_by_one])[:2]
    assert {*write_files(validated_together)[2]} <= {record.end for record in expected_records}


@pytest.mark.parametrize("row", UNUSUAL_ROWS)
def test_an_unusual_row_between_valid_ones_is_validated_as_alone(row: bytes) -> None:
    """Test each of them: hypothesis does not draw all."""
    valid_row = with_required_params(b'{"params":{}}')
    compare_both_ways(b"\n".join([valid_row, row, valid_row]), 300, VERSIONS[0])


@pytest.mark.parametrize("row", [b'{"id":7,"params":{}}', b'{"params":{}}'])
def test_rows_without_a_custom_id_are_validated_together(row: bytes) -> None:
    body = b"\n".join([with_required_params(row)] * 9) + b"\n"

    (valid_rows,) = validate_all(
        pieces([body], LinePosition(), ROW_BYTES), row_bytes=ROW_BYTES, api_version=VERSIONS[0]
    )

    assert isinstance(valid_rows, ValidRows)
    assert {bytes(custom_id) for custom_id in valid_rows.custom_ids} == {
        b"7" if b"7" in row else b"null"
    }


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_plain_lines_are_validated_together(ending: bytes) -> None:
    body = (
        ending.join([with_required_params(b'{"custom_id":"a","params":{"max_tokens":5}}')] * 9)
        + ending
    )

    (valid_rows,) = validate_all(
        pieces([body], LinePosition(), ROW_BYTES), row_bytes=ROW_BYTES, api_version=VERSIONS[0]
    )

    assert isinstance(valid_rows, ValidRows)
    assert len(valid_rows.offsets) == 9


@given(st.integers(1, 8))
def test_cutting_valid_rows_keeps_all_rows(count: int) -> None:
    body = (
        b"\n".join(with_required_params(b'{"custom_id":%d,"params":{}}' % n) for n in range(9))
        + b"\n"
    )
    (valid_rows,) = validate_all(
        pieces([body], LinePosition(), ROW_BYTES), row_bytes=ROW_BYTES, api_version=VERSIONS[0]
    )
    assert isinstance(valid_rows, ValidRows)

    first_part, rest = valid_rows.cut(count)

    assert write_files([first_part, rest])[:2] == write_files([valid_rows])[:2]
    assert first_part.end.byte + 1 == rest.offsets[0]


_USER = '{"role":"user","content":"hi"}'
_PREFLIGHT_ROWS = [
    ("claude-haiku-5-5", 9, f"[{_USER}]", ""),
    ("gpt-4o", 9, f"[{_USER}]", ""),
    ("claude-haiku-5-5", 999_999, f"[{_USER}]", ""),
    ("claude-haiku-5-5", 9, "[]", ""),
    ("claude-haiku-5-5", 9, "[{}]", ""),
    ("claude-haiku-5-5", 9, '[{"role":"user","content":""}]', ""),
    ("claude-haiku-5-5", 9, '[{"role":"user","content":[ ]}]', ""),
    ("claude-haiku-5-5", 9, '[{"role":"user","content":null}]', ""),
    ("claude-haiku-5-5", 9, '[{"role":"user","content":[{"type":"text","text":""}]}]', ""),
    ("claude-haiku-5-5", 9, f'[{_USER},{{"role":"assistant","content":"{{"}}]', ""),
    ("claude-haiku-4-5", 9, f'[{_USER},{{"role":"assistant","content":"{{"}}]', ""),
    ("claude-opus-5-5", 9, f"[{_USER}]", ',"tool_choice":{"type":"any"}'),
    ("claude-opus-5-5", 9, f"[{_USER}]", ',"tool_choice":{"type":"auto"}'),
]


@pytest.mark.parametrize(("model", "max_tokens", "messages", "more"), _PREFLIGHT_ROWS)
def test_what_is_certain_to_fail_is_found_among_many(
    model: str, max_tokens: int, messages: str, more: str
) -> None:
    plain = f'{{"params":{{"model":"claude-haiku-5-5","max_tokens":9,"messages":[{_USER}]}}}}'
    odd = (
        f'{{"params":{{"model":"{model}","max_tokens":{max_tokens},"messages":{messages}{more}}}}}'
    )
    rules: Any = {
        "row_bytes": 1000,
        "api_version": VERSIONS[0],
        "preflight": Preflight("2026-11-27"),
    }
    blocks = [f"{plain}\n{odd}\n{plain}".encode()]

    singly = [
        (record, validate(record, **rules)) for record in records(blocks, LinePosition(), 1000)
    ]
    together = list(validate_all(pieces(blocks, LinePosition(), 1000), **rules))

    assert singly[0][1].rejection is None
    assert write_files(together)[:2] == write_files([*singly])[:2]
