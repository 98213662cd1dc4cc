"""The verdict on every answer to create, as the API reference defines it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.model.create_response import (
    PAUSE_MESSAGES,
    Accepted,
    AccountBlocked,
    Ambiguous,
    Counts,
    MessageBatch,
    RateLimited,
    Refused,
    Verdict,
    classify,
    unquoted_message,
)

BATCH: dict[str, Any] = {
    "id": "msgbatch_013Zva2CMHLNnXjNJJKqJ2EF", "type": "message_batch", "processing_status": "in_progress",
    "request_counts": {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2024-09-24T18:37:24.100435Z", "expires_at": "2024-09-25T18:37:24.100435Z",
    "ended_at": None, "archived_at": None, "cancel_initiated_at": None, "results_url": None,
}  # fmt: skip
HTML = b"<html><h1>502 Bad Gateway</h1></html>"


def error_body(message: str = "no", kind: str = "x", **members: Any) -> bytes:
    return json.dumps(
        {"type": "error", "error": {"type": kind, "message": message, **members}}
    ).encode()


def verdict_of(status: int, body: bytes = error_body(), **headers: str) -> Verdict:
    return classify(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, body
    )


def test_a_200_with_a_batch_is_accepted() -> None:
    verdict = verdict_of(200, json.dumps(BATCH).encode())

    assert isinstance(verdict, Accepted)
    assert verdict.batch.id == BATCH["id"]
    assert verdict.batch.request_counts.total == 2


@given(st.integers(0, len(json.dumps(BATCH)) - 1))
def test_a_truncated_200_is_ambiguous(length: int) -> None:
    assert isinstance(verdict_of(200, json.dumps(BATCH).encode()[:length]), Ambiguous)


@pytest.mark.parametrize("body", [b"", b"{}", b"null", HTML, error_body()])
def test_a_200_without_a_batch_is_ambiguous(body: bytes) -> None:
    assert isinstance(verdict_of(200, body), Ambiguous)


@pytest.mark.parametrize("status", [400, 413])
def test_a_refusal_of_rows_keeps_the_apis_message(status: int) -> None:
    assert verdict_of(status, error_body("requests.3: too long")) == Refused(
        status, "requests.3: too long", 3
    )


@pytest.mark.parametrize(
    ("message", "index"),
    [("requests.0.custom_id: String should match pattern", 0), ("requests[17].params.model: Field required", 17),
     ("Invalid value at requests.5", 5), ("requests.12: too long", 12)],
)  # fmt: skip
def test_a_request_named_in_the_message_is_refused(message: str, index: int) -> None:
    assert verdict_of(400, error_body(message)) == Refused(400, message, index)


ACCOUNT_ERRORS = [
    ("You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.", {}),
    ("This organization has been disabled.", {}),
    ("Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.", {}),
    ("The organization is on hold.", {"error_code": "organization_on_hold"}),
    ("no", {"error_code": "cmek_key_disabled"}),
    ("no", {"error_code": "workspace_human_review_disabled"}),
    ("no", {"error_code": "claude_code_key_creator_not_member"}),
    ("You may make 50 more requests.", {}), ("max 3 requests. 5 were made", {}), ("the next one will be another", {}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "details"), ACCOUNT_ERRORS)
def test_a_400_without_a_request_blocks_the_account(message: str, details: dict[str, str]) -> None:
    verdict = verdict_of(400, error_body(message, "invalid_request_error", details=details))

    assert isinstance(verdict, AccountBlocked)
    assert verdict.reason == "refused"
    assert verdict.sentence.startswith(f"Anthropic says: {message.rstrip('.')[:150]}")
    assert verdict.sentence.endswith(PAUSE_MESSAGES["refused"])
    assert verdict.rows == Refused(400, message)


@pytest.mark.parametrize(
    "message",
    ['bad: "SECRET of mine" here', "bad: 'SECRET' here", "bad: `SECRET` here", "bad: \u201cSECRET\u201d here",
     'bad: here "SECRET', "bad: here 'SECRET it's", "bad: sk-ant-SECRET-x here", "bad: here " + "x" * 600 + "SECRET"],
)  # fmt: skip
def test_the_published_message_quotes_nothing(message: str) -> None:
    verdict = verdict_of(400, error_body(message))

    assert isinstance(verdict, AccountBlocked)
    assert "SECRET" not in verdict.sentence
    assert verdict.sentence.startswith("Anthropic says: bad: ")
    assert len(verdict.sentence) < 400


def test_an_apostrophe_is_not_a_quotation_mark() -> None:
    assert unquoted_message("Your organization's limit isn't set\n now.") == (
        "Anthropic says: Your organization's limit isn't set now."
    )


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "key_refused"), (402, "billing"), (403, "no_permission"), (404, "not_found"), (405, "refused"),
     (418, "refused"), (422, "refused")],
)  # fmt: skip
@pytest.mark.parametrize("body", [error_body(), error_body("requests_per_minute.3"), HTML, b""])
def test_an_account_error_blocks_the_account(status: int, reason: str, body: bytes) -> None:
    verdict = verdict_of(status, body)

    assert isinstance(verdict, AccountBlocked)
    assert verdict.reason == reason
    assert PAUSE_MESSAGES[reason] in verdict.sentence
    assert (verdict.rows is not None) is (reason in {"refused", "no_permission"})


@pytest.mark.parametrize("code", ["enforced_spend_limit_reached", "contract_spend_limit_reached"])
def test_a_spend_limit_blocks_the_account_despite_retry_after(code: str) -> None:
    verdict = verdict_of(429, error_body(details={"error_code": code}), retry_after="5")

    assert verdict == AccountBlocked(
        "spend_limit", f"{PAUSE_MESSAGES['spend_limit']}. Anthropic says: no."
    )


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("30", 30.0), ("1.5", 1.5), ("0", 1.0), ("-9", 1.0), ("inf", 21_600.0), ("999999", 21_600.0),
     ("Wed, 21 Oct 2026 07:28:00 GMT", 60.0), ("", 60.0)],
)  # fmt: skip
def test_retry_after_is_limited_to_six_hours(retry_after: str, seconds: float) -> None:
    assert verdict_of(429, retry_after=retry_after) == RateLimited(seconds)


@pytest.mark.parametrize(
    "body", [error_body(), error_body(details=None), error_body(details={}), HTML, b""]
)
def test_a_429_without_a_reason_waits_a_minute(body: bytes) -> None:
    assert verdict_of(429, body) == RateLimited(60.0)


@pytest.mark.parametrize(
    "status", [408, 409, 425, 499, 500, 502, 503, 504, 520, 522, 524, 529, 599, 201, 204, 302]
)
@pytest.mark.parametrize("body", [error_body(), HTML, b"", json.dumps(BATCH).encode()])
def test_any_other_status_is_ambiguous(status: int, body: bytes) -> None:
    """A proxy's answer says nothing about what the API did."""
    assert verdict_of(status, body) == Ambiguous(f"status {status}")


@given(st.integers(100, 599), st.text(max_size=60))
def test_only_a_4xx_means_that_no_batch_was_created(status: int, text: str) -> None:
    verdict = verdict_of(status, text.encode("utf-8", "replace"))

    assert isinstance(verdict, Refused | AccountBlocked | RateLimited) is (
        400 <= status < 500 and status not in {408, 409, 425, 499}
    )
    assert not isinstance(verdict, Accepted)


def test_every_pause_message_says_what_to_do() -> None:
    for sentence in PAUSE_MESSAGES.values():
        assert len(sentence) > 30
        assert ";" in sentence
        assert "\n" not in sentence


def batch(**attributes: Any) -> MessageBatch:
    counts = Counts(**BATCH["request_counts"])
    required = {
        name: BATCH[name] for name in ("id", "processing_status", "created_at", "expires_at")
    }
    return MessageBatch(**{**required, "request_counts": counts, **attributes})


@pytest.mark.parametrize(
    ("attributes", "ended"),
    [({}, False), ({"processing_status": "canceling"}, False), ({"processing_status": "ended"}, True),
     ({"archived_at": "2024-10-24T18:37:24Z"}, True)],
)  # fmt: skip
def test_a_batch_has_ended_if_its_status_or_archive_time_says_so(
    attributes: dict[str, str],
    ended: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    assert batch(**attributes).ended is ended


@pytest.mark.parametrize("status", [200, 400, 429, 500])
@pytest.mark.parametrize(
    "body", [b'{"error":{"message":"\xff"}}', b'{"error":{"x":' + b"[" * 100_000]
)
def test_an_unreadable_body_has_a_verdict(status: int, body: bytes) -> None:
    verdict = classify(status, {}, body)

    assert isinstance(
        verdict, {200: Ambiguous, 400: AccountBlocked, 429: RateLimited, 500: Ambiguous}[status]
    )


@pytest.mark.parametrize("text", ["nan", "soon"])
def test_an_invalid_retry_after_waits_a_minute(text: str) -> None:
    assert classify(429, {"retry-after": text}, b"") == RateLimited(60.0)


@pytest.mark.parametrize(
    "invalid",
    [
        {"created_at": "yesterday"},
        {"created_at": "2026-11-23T20:54:10"},
        {"created_at": "0001-01-01T00:00:00Z"},
        {"ended_at": "never"},
        {"id": ""},
        {"id": "../../keys"},
        {"id": "x" * 3000},
    ],
)
def test_a_batch_with_an_invalid_time_or_id_is_ambiguous(invalid: dict[str, str]) -> None:
    """It would be stored, and every later poll would fail on it."""
    assert isinstance(verdict_of(200, json.dumps(BATCH | invalid).encode()), Ambiguous)
