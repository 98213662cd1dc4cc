"""What a reader of Bedrock's batch output finds: the same lines, whatever became of the row."""

import json
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.exports import bedrock
from functions.exports.contract import Export, ExportContext, ExportRow, JobSummary
from functions.translations import bedrock as translation
from functions.translations.contract import Policy

SAMPLE = Path(__file__).parents[3] / "shared" / "samples" / "bedrock-records.jsonl"
CONTEXT = ExportContext(name="calls.jsonl")
OUTPUT = "bedrock/calls.jsonl.out"
INVOKE = (
    b'{"recordId": "A1", "modelInput":{"anthropic_version":"x", "max_tokens":9, "messages":[]}}'
)
CONVERSE = (
    b'{"recordId":"A1","modelInput":{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}}'
)
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-5-5",
    "content": [{"type": "text", "text": "Hé"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 2},
}


def succeeded(**members: Any) -> bytes:
    return json.dumps({"type": "succeeded", "message": MESSAGE | members}).encode()


def errored(kind: str, message: str = "no") -> bytes:
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}
    return json.dumps({"type": "errored", "error": error}).encode()


def exported(
    result: bytes, record: bytes | None = INVOKE, custom_id: bytes = b'"A1"', row: int = 1
) -> bytes:
    """Return the one line of a row."""
    source = ExportRow("job", row, custom_id, result, record, 1_764_201_600)
    ((path, line),) = bedrock.lines(source, CONTEXT)
    assert path == OUTPUT
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    return line


def test_bedrock_exports_one_file_without_header() -> None:
    contract: Export = bedrock
    assert contract.paths(CONTEXT) == (OUTPUT,)
    assert contract.head(OUTPUT, CONTEXT) == b""


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample is not here")
def test_each_row_of_the_sample_goes_there_and_comes_back() -> None:
    policy = Policy(models={"*": "claude-haiku-5-5"})
    for number, record in enumerate(SAMPLE.read_bytes().splitlines(), 1):
        row = json.loads(record)
        custom_id = json.dumps(translation.translate(row, policy).custom_id).encode()

        line = exported(succeeded(), record, custom_id, number)

        assert json.loads(line) == row | {"modelOutput": MESSAGE}
        assert record.partition(b'"modelInput":')[2].rstrip(b"}") in line


def test_an_answer_and_its_input_are_echoed_byte_for_byte() -> None:
    result = b'{"type":"succeeded","message":{"content": [ ],"n":1.50,"t":"\\u00e9"}}'
    record = b'{"modelInput":{"messages": [ ],"n":1.50,"t":"\\u00e9","big":123456789012345678901},"recordId":"A1"}'

    assert exported(result, record) == (
        b'{"recordId":"A1",'
        b'"modelInput":{"messages": [ ],"n":1.50,"t":"\\u00e9","big":123456789012345678901},'
        b'"modelOutput":{"content": [ ],"n":1.50,"t":"\\u00e9"}}\n'
    )


def test_a_record_of_several_lines_becomes_one_line() -> None:
    record = json.dumps(json.loads(INVOKE), indent=2).replace("\n", "\r\n").encode()

    assert (
        json.loads(exported(succeeded(), record))["modelInput"] == json.loads(INVOKE)["modelInput"]
    )


@pytest.mark.parametrize(
    ("record", "custom_id", "record_id"),
    [
        (b'{"recordId":"A1","modelInput":{}}', b'"A1"', "A1"),
        (b'{"recordId":7,"modelInput":{}}', b"7", 7),
        (b'{"modelInput":{}}', b"null", "ROW00000012"),
        (b'{"recordId":null,"modelInput":{}}', b"null", "ROW00000012"),
        (b'{"modelInput":{}}', b'"from elsewhere"', "from elsewhere"),
        (None, b'"A1"', "A1"),
        (None, b"null", "ROW00000012"),
    ],
)
def test_each_line_has_a_record_id(record: bytes | None, custom_id: bytes, record_id: Any) -> None:
    assert json.loads(exported(succeeded(), record, custom_id, 12))["recordId"] == record_id


REJECTED = b'{"type":"rejected","error":{"code":"not_claude","message":"line 3: no","line":3}}'
CANCELED = "the batch was canceled before this record was processed"
EXPIRED = "the batch expired before this record was processed"
UNREADABLE = "the result of this record cannot be read"


@pytest.mark.parametrize(
    ("result", "code", "message"),
    [
        (errored("invalid_request_error"), 400, "no"),
        (errored("authentication_error"), 401, "no"),
        (errored("billing_error"), 402, "no"),
        (errored("permission_error"), 403, "no"),
        (errored("not_found_error"), 404, "no"),
        (errored("timeout_error"), 408, "no"),
        (errored("request_too_large"), 413, "no"),
        (errored("rate_limit_error"), 429, "no"),
        (errored("api_error"), 500, "no"),
        (errored("overloaded_error"), 503, "no"),
        (errored("of a later time"), 500, "no"),
        (REJECTED, 400, "line 3: no"),
        (b'{"type":"canceled"}', 409, CANCELED),
        (b'{"type":"expired"}', 408, EXPIRED),
        (b'{"type":"of a later time"}', 500, UNREADABLE),
        (b'{"type":"succeeded"}', 500, UNREADABLE),
        (b'{"type":"succeeded","message":[]}', 500, UNREADABLE),
        (b"not JSON", 500, UNREADABLE),
        (b"[" * 100_000, 500, UNREADABLE),
    ],
)
def test_an_error_takes_the_place_of_the_output(result: bytes, code: int, message: str) -> None:
    line = json.loads(exported(result))

    assert line.keys() == {"recordId", "modelInput", "error"}
    assert line["error"] == {"errorCode": code, "errorMessage": message}


@pytest.mark.parametrize(
    "record", [None, b"", b"not JSON", b"[]", b'{"modelInput":{"a":"\xff"}}', b'{"recordId":', b"{" * 10**5]
)  # fmt: skip
def test_a_record_that_cannot_be_read_leaves_the_answer_readable(record: bytes | None) -> None:
    line = json.loads(exported(succeeded(), record))

    assert line == {"recordId": "A1", "modelInput": None, "modelOutput": MESSAGE}


DEEP = b"[" * 100_000 + b"]" * 100_000


def test_json_of_any_depth_is_echoed_or_null() -> None:
    record = b'{"recordId":"A1","modelInput":{"messages":%b}}' % DEEP
    result = b'{"type":"succeeded","message":{"content":%b}}' % DEEP

    assert exported(result, record).startswith(b'{"recordId":"A1","modelInput":')


# ---- Converse ----------------------------------------------------------------------------------


def converse_output(result: bytes) -> dict[str, Any]:
    """Return the output of a row that asks Converse, after holding it to botocore's model of it."""
    output: dict[str, Any] = json.loads(exported(result, CONVERSE))["modelOutput"]
    service = botocore.session.get_session().get_service_model("bedrock-runtime")
    shape = service.operation_model("Converse").output_shape
    assert shape is not None
    errors = botocore.validate.ParamValidator().validate(output, shape)
    assert errors.generate_report() == ""
    return output


BLOCKS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "text", "text": "Hé", "citations": None}, {"text": "Hé"}),
    ({"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
     {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}}),
    ({"type": "thinking", "thinking": "", "signature": "s"},
     {"reasoningContent": {"reasoningText": {"text": "", "signature": "s"}}}),
    ({"type": "redacted_thinking", "data": "abc"}, {"reasoningContent": {"redactedContent": "abc"}}),
]  # fmt: skip


@pytest.mark.parametrize(("block", "converse"), BLOCKS)
def test_a_row_that_asks_converse_is_answered_by_converse(
    block: dict[str, Any], converse: dict[str, Any]
) -> None:
    output = converse_output(succeeded(content=[block, {"type": "server_tool_use", "id": "x"}]))

    assert output["output"] == {"message": {"role": "assistant", "content": [converse]}}


@pytest.mark.parametrize(
    ("reason", "converse"),
    [
        ("end_turn", "end_turn"),
        ("stop_sequence", "stop_sequence"),
        ("tool_use", "tool_use"),
        ("max_tokens", "max_tokens"),
        ("model_context_window_exceeded", "model_context_window_exceeded"),
        ("pause_turn", "max_tokens"),
        ("refusal", "content_filtered"),
        (None, "end_turn"),
    ],
)
def test_stop_reasons_have_the_names_of_converse(reason: str | None, converse: str) -> None:
    assert converse_output(succeeded(stop_reason=reason))["stopReason"] == converse


def test_usage_has_the_names_of_converse() -> None:
    usage = {
        "input_tokens": 3,
        "output_tokens": 20,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 1000,
        "service_tier": "batch",
    }

    assert converse_output(succeeded(usage=usage))["usage"] == {
        "inputTokens": 3,
        "outputTokens": 20,
        "totalTokens": 1123,
        "cacheReadInputTokens": 100,
        "cacheWriteInputTokens": 1000,
    }


@pytest.mark.parametrize(
    "result",
    [
        succeeded(content="?"),
        b'{"type":"succeeded","message":{"content":[{"type":"text","text":"\xff"}]}}',
        b'{"type":"succeeded","message":{"content":[{"a":%b}]}}' % DEEP,
    ],
)
def test_an_answer_that_converse_cannot_hold_is_an_error(result: bytes) -> None:
    line = json.loads(exported(result, CONVERSE))

    assert line["error"] == {"errorCode": 500, "errorMessage": UNREADABLE}


# ---- the manifest ------------------------------------------------------------------------------


def test_the_manifest_counts_records_and_tokens() -> None:
    summary = JobSummary(
        job="job",
        outcome="partial",
        outcomes={"succeeded": 5, "errored": 1, "expired": 2, "canceled": 3, "rejected": 4},
        usage={
            "claude-haiku-5-5": {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 100},
            "claude-opus-5": {"input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 1000},
        },
        times={},
        files={},
        upload="s3://uploads/calls.jsonl",
    )  # fmt: skip

    files = bedrock.closing(summary, CONTEXT)

    assert files.keys() == {"bedrock/manifest.json.out"}
    assert json.loads(files["bedrock/manifest.json.out"]) == {
        "totalRecordCount": 15,
        "processedRecordCount": 10,
        "successRecordCount": 5,
        "errorRecordCount": 5,
        "inputTokenCount": 1111,
        "outputTokenCount": 7,
    }


def test_the_manifest_of_an_empty_job_counts_nothing() -> None:
    summary = JobSummary(
        job="job", outcome="failed", outcomes={}, usage={}, times={}, files={}, upload=""
    )

    (content,) = bedrock.closing(summary, CONTEXT).values()
    assert set(json.loads(content).values()) == {0}


# ---- anything ----------------------------------------------------------------------------------

_scraps = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\n", b"\xff", b"null", b"1e999", b'"type"', b'"succeeded"',
     b'"errored"', b'"error"', b'"message"', b'"content"', b'"usage"', b'"recordId"', b'"modelInput"', b'"messages"',
     b'"text"', b'"stop_reason"']
)  # fmt: skip
_bytes = st.binary(max_size=30) | st.lists(_scraps, max_size=20).map(b"".join)
_json = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "error", "message", "content", "usage", "input_tokens", "text", "recordId",
             "modelInput", "messages", "inferenceConfig", "role"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
).map(lambda value: json.dumps(value, indent=1).encode())  # fmt: skip
_messages = _json.map(lambda value: b'{"type":"succeeded","message":%b}' % value)


@given(_bytes | _json | _messages, _bytes | _json | st.just(CONVERSE), _json)
def test_any_bytes_become_one_line_of_json(result: bytes, record: bytes, custom_id: bytes) -> None:
    line = json.loads(exported(result, record, custom_id))

    assert line.keys() - {"modelOutput", "error"} == {"recordId", "modelInput"}
    assert line["recordId"] is not None
    assert isinstance(line.get("modelOutput", line.get("error")), dict)
