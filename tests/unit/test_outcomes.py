"""How rows end, and how they are counted."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.model.api_results import RETRYABLE_ERRORS, read_line, read_result
from functions.model.items import CloseReason, OutcomeCounts, Usage
from functions.model.outcome_counts import NAMES, OutcomeCounter, total
from functions.model.output_lines import output_line
from functions.model.rows import Rejection
from functions.model.synthetic_results import closed_result, rejected_result


def errored(kind: str) -> bytes:
    inner = {"type": "error", "error": {"type": kind, "message": "m"}, "request_id": None}
    return json.dumps({"type": "errored", "error": inner}).encode()


def succeeded(
    model: str = "claude-haiku-4-5", stop: str | None = "end_turn", **usage: Any
) -> bytes:
    message: dict[str, Any] = {"id": "msg_1", "type": "message", "model": model, "content": []}
    message |= {"stop_reason": stop, "usage": usage}
    return json.dumps({"type": "succeeded", "message": message}).encode()


# The reference's own lists, word for word.
AGAIN = ["api_error", "overloaded_error", "timeout_error", "rate_limit_error"]
NEVER = [
    "invalid_request_error", "authentication_error", "permission_error", "billing_error", "not_found_error",
    "invented_error", "result_missing",
]  # fmt: skip


@pytest.mark.parametrize("kind", AGAIN)
def test_what_passes_by_itself_is_worth_another_attempt(kind: str) -> None:
    assert read_result(errored(kind)).retryable


@pytest.mark.parametrize("kind", NEVER)
def test_what_would_fail_again_is_not_paid_for_again(kind: str) -> None:
    assert not read_result(errored(kind)).retryable
    assert read_result(errored(kind)).error_type == kind


@pytest.mark.parametrize(
    ("result", "worth_it"),
    [
        (b'{"type":"expired"}', True),
        (b'{"type":"canceled"}', False),
        (b'{"type":"invented","more":[1]}', False),
        (succeeded(), False),
        (succeeded(stop="refusal"), False),
        (rejected_result(Rejection("no_params", "line 1: no", 1)), False),
    ],
)
def test_of_the_others_only_the_expired_goes_again(result: bytes, worth_it: bool) -> None:  # noqa: FBT001
    assert read_result(result).retryable is worth_it


@pytest.mark.parametrize("closing", [c for c in CloseReason if c is not CloseReason.KEPT])
def test_a_row_without_a_result_gets_one_in_the_apis_shape_and_is_not_sent_again(
    closing: CloseReason,
) -> None:
    result = read_result(closed_result(closing))

    assert not result.retryable
    if closing is CloseReason.CANCELED:
        assert closed_result(closing) == b'{"type":"canceled"}'
    else:
        assert (result.type, result.error_type) == ("errored", closing.value)
        assert len(json.loads(closed_result(closing))["error"]["error"]["message"]) > 20


@given(st.integers(1, 10**9), st.text(), st.dictionaries(st.text(), st.text()))
def test_an_output_line_passes_on_byte_for_byte(
    row: int, own: str, result: dict[str, str]
) -> None:
    custom_id, given_ = json.dumps(own).encode(), json.dumps(result, indent=None).encode()

    line = output_line(row, msgspec.Raw(custom_id), given_)

    assert line == b'{"row":%d,"custom_id":%b,"result":%b}\n' % (row, custom_id, given_)
    assert json.loads(line) == {"row": row, "custom_id": own, "result": result}


def test_a_line_of_the_api_keeps_its_result_as_it_came() -> None:
    line = read_line(b'{"custom_id":"a", "new": 1, "result" : { "type":"expired" } }')

    assert (line.custom_id, bytes(line.result)) == ("a", b'{ "type":"expired" }')


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"custom_id":1,"result":{}}', b'{"result":{}}'])  # fmt: skip
def test_a_line_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_line(line)


def counted(*results: bytes) -> OutcomeCounts:
    counting = OutcomeCounter()
    counting.add([read_result(result) for result in results])
    return counting.tally()


def test_counts_outcomes_errors_and_stops_apart() -> None:
    rejection = rejected_result(Rejection("no_params", "line 1: no", 1))

    tally = counted(
        succeeded(), succeeded(stop="refusal"), succeeded(stop=None), errored("api_error"), errored("new"),
        b'{"type":"expired"}', b'{"type":"invented"}', rejection,
    )  # fmt: skip

    assert tally.outcomes == {
        "succeeded": 3, "errored": 2, "expired": 1, "invented": 1, "rejected": 1,
    }  # fmt: skip
    assert tally.errors == {"api_error": 1, "new": 1, "no_params": 1}
    assert tally.stops == {"end_turn": 1, "refusal": 1, "none": 1}


def test_counts_tokens_by_model_and_by_the_price_they_have() -> None:
    long: dict[str, Any] = {"input_tokens": 100_001, "output_tokens": 7}
    short: dict[str, Any] = {"input_tokens": 100_000, "output_tokens": 5}
    cached: dict[str, Any] = {
        "input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 4,
        "cache_creation": {"ephemeral_1h_input_tokens": 10, "ephemeral_5m_input_tokens": 20},
    }  # fmt: skip

    tally = counted(
        succeeded("claude-haiku-5-5", **long), succeeded("claude-haiku-4-5", **long),
        succeeded("claude-haiku-5-5", **short),
        succeeded("claude-haiku-4-5", **cached), succeeded("claude-haiku-4-5", input_tokens=None),
    )  # fmt: skip

    assert tally.usage == {
        "claude-haiku-5-5": Usage(
            input_tokens=100_000, output_tokens=5, long_input_tokens=100_001, long_output_tokens=7
        ),
        "claude-haiku-4-5": Usage(
            input_tokens=100_002, output_tokens=9, cache_creation_input_tokens=20,
            cache_creation_1h_input_tokens=10, cache_read_input_tokens=4,
        ),
    }  # fmt: skip


_results = st.one_of(
    st.builds(errored, st.sampled_from(AGAIN + NEVER)),
    st.builds(succeeded, st.sampled_from(["claude-haiku-5-5", "new"]), st.sampled_from(["end_turn", "refusal"]),
              input_tokens=st.integers(0, 200_000), output_tokens=st.integers(0, 999)),
    st.sampled_from([b'{"type":"expired"}', b'{"type":"canceled"}']),
)  # fmt: skip


@given(st.lists(st.lists(_results, max_size=4), max_size=4))
def test_the_tallies_of_chunks_add_up_to_that_of_the_rows(chunks: list[list[bytes]]) -> None:
    together = counted(*(result for chunk in chunks for result in chunk))

    assert total([counted(*chunk) for chunk in chunks]) == together


def test_the_retriable_errors_are_the_references() -> None:
    assert sorted(RETRYABLE_ERRORS) == sorted(AGAIN)


@pytest.mark.parametrize(
    "result",
    [
        b'{"type":"errored","error":null}',
        b'{"type":"errored","error":{"error":"x"}}',
        b'{"type":"errored","error":{"error":{"type":null}}}',
        b'{"type":"rejected"}',
    ],
)
def test_an_error_of_a_shape_that_nobody_knows_is_counted_and_not_sent_again(
    result: bytes,
) -> None:
    outcome = read_result(result)

    assert (outcome.error_type, outcome.retryable) == ("unknown", False)


@pytest.mark.parametrize(
    "line", [b'{"custom_id":"\xff","result":{}}', b'{"custom_id":' + b"[" * 100_000]
)
def test_a_line_that_is_none_is_a_decode_error(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_line(line)


@pytest.mark.parametrize(
    "message",
    [
        b'"of another shape"',
        b'{"usage":{"input_tokens":1.5}}',
        b'{"usage":{"input_tokens":-1}}',
        b'{"usage":{"input_tokens":99999999999999999999999999999999999999999}}',
        b'{"model":["claude"]}',
    ],
)
def test_an_answer_whose_tokens_cannot_be_counted_is_delivered_all_the_same(
    message: bytes,
) -> None:
    tally = counted(b'{"type":"succeeded","message":%b}' % message)

    assert (tally.outcomes, tally.usage) == ({"succeeded": 1}, {})


def test_kinds_without_end_are_lumped_together_so_that_the_tally_can_be_stored() -> None:
    results = [
        b'{"type":"succeeded","message":{"model":"m%d","stop_reason":"s%d"}}' % (n, n)
        for n in range(1000)
    ]
    tally = counted(*results, b'{"type":""}', b'{"type":"%b"}' % (b"x" * 500_000))

    assert tally.outcomes == {"succeeded": 1000, "other": 2}
    assert (len(tally.stops), tally.stops["other"]) == (NAMES + 1, 1000 - NAMES)
    assert len(tally.usage) == NAMES + 1
