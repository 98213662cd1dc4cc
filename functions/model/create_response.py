"""What the response to a create proves.

A create costs money and has no idempotency key. Only a response that proves that no batch exists permits
another create. Every other response is `Ambiguous` and must be reconciled first.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.model import timestamps

_SPEND_LIMITS = frozenset({"enforced_spend_limit_reached", "contract_spend_limit_reached"})
_DEFAULT_RETRY_S = 60.0
_MAX_RETRY_S = 6 * 3600.0
RESULTS_RETENTION = timedelta(days=30)
"""The age at which Anthropic has deleted a batch's results: 29 days and a margin."""
MAX_BATCH_AGE = timedelta(hours=25)
"""The age at which a batch has certainly ended at Anthropic: 24 hours and a margin."""
MIN_MISSING_LISTINGS = 3
"""Complete listings that must lack a batch before it may count as deleted. Its results must return 404 too."""

_BATCH_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of a Message Batch by state. All are `processing` until the whole batch ends."""

    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def total(self) -> int:
        """The number of requests in the batch."""
        return self.processing + self.succeeded + self.errored + self.canceled + self.expired


class MessageBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A Message Batch: the fields of the API's object that are needed here."""

    id: str
    processing_status: str
    request_counts: Counts
    created_at: str
    expires_at: str
    ended_at: str | None = None
    archived_at: str | None = None
    results_url: str | None = None

    def __post_init__(self) -> None:
        """Reject an invalid id or time now, because every later poll would fail on it.

        Raises:
            ValueError: the id or a time is invalid; the decoder reports it as a validation error.
        """
        times = [
            timestamps.parse(time) for time in (self.created_at, self.ended_at) if time is not None
        ]
        if not _BATCH_ID.fullmatch(self.id) or min(times) < _EARLIEST:
            message = "invalid batch id or time"
            raise ValueError(message)

    @property
    def ended(self) -> bool:
        """Whether it has ended; its results may be deleted already."""
        return self.processing_status == "ended" or self.archived_at is not None

    @property
    def running(self) -> bool:
        """Whether it is in progress and not being canceled."""
        return self.processing_status == "in_progress" and self.archived_at is None


@dataclass(frozen=True)
class Accepted:
    """A batch was created."""

    batch: MessageBatch


@dataclass(frozen=True)
class Refused:
    """No batch was created, because of these rows.

    Attributes:
        status: the HTTP status.
        message: the API's message. It may quote a row, so it goes only to results.jsonl.
        index: the request that the message names, from 0; None if it names none.
    """

    status: int
    message: str
    index: int | None = None


@dataclass(frozen=True)
class AccountBlocked:
    """No batch was created: the key or the account seems to be blocked, which blocks every create.

    Attributes:
        reason: a key of `PAUSE_MESSAGES`.
        sentence: the problem, what to do, and the API's message without quotations.
        rows: the verdict on the rows if the account works after all; None if the rows cannot be the cause.
    """

    reason: str
    sentence: str
    rows: Refused | None = None


@dataclass(frozen=True)
class RateLimited:
    """No batch was created; retry later.

    Attributes:
        retry_after_s: seconds to wait before the next create.
        words: the API's message without quotations.
    """

    retry_after_s: float
    words: str = field(default="", compare=False)


@dataclass(frozen=True)
class NotSent:
    """No batch was created: the connection failed before the last byte was sent."""

    reason: str


@dataclass(frozen=True)
class Ambiguous:
    """A batch may exist. Reconcile before sending again."""

    reason: str


Verdict = Accepted | Refused | AccountBlocked | RateLimited | NotSent | Ambiguous

PAUSE_MESSAGES = {
    "key_missing": 'the secret holds no API key; store one as plain text or as {"ANTHROPIC_API_KEY": "…"}',
    "key_unreadable": "the secret with the API key cannot be read; check that it exists and that the functions may decrypt it",
    "key_refused": "Anthropic rejects the API key (401); store a valid key in the secret",
    "billing": "Anthropic rejects creates for billing reasons (402); see the Claude Console's billing page",
    "no_permission": "the API key may not create batches (403); allow it in the Claude Console",
    "not_found": "the API does not know the address or a resource (404); check the setting baseUrl",
    "spend_limit": "the spend limit of the workspace or the organization is reached; raise it in the Claude Console",
    "rate_limited": "Anthropic has rejected every create for an hour (429); see the limits and the spend in the Claude Console",
    "refused": "Anthropic rejects creates without naming a row, so the account may be blocked; see the Claude Console",
}
"""Why sending is paused and what to do, by reason."""
KEY_PROBLEMS = frozenset({"key_missing", "key_unreadable", "key_refused"})
"""Reasons to pause that end as soon as the secret holds a working key."""

_BY_STATUS = {401: "key_refused", 402: "billing", 403: "no_permission", 404: "not_found"}
_AMBIGUOUS_4XX = frozenset({408, 409, 425, 499})
_MAY_CONCERN_ROWS = frozenset({"refused", "no_permission"})
_REQUEST_PATH = re.compile(r"(?<![\w.])requests(?:\.|\[)(\d{1,6})(?!\w)")
"""A request named in the API's message: ``requests.17.params.model: …``."""
_QUOTATION = re.compile(
    r"""["\u201c\u00ab`].*?(?:["\u201d\u00bb`]|$)|(?<!\w)['\u2018].*?(?:['\u2019](?!\w)|$)|sk-[\w-]+"""
)
"""Quoted text, and text that looks like an API key."""
MAX_MESSAGE_CHARS, MAX_EVENT_WORDS_CHARS = 500, 200
"""Characters of the API's message that are kept in results.jsonl, and in an event."""


class _ErrorDetails(msgspec.Struct, frozen=True):
    error_code: str | None = None


class _ApiError(msgspec.Struct, frozen=True):
    message: str = ""
    details: _ErrorDetails | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """The API's error JSON: ``{"type":"error","error":{"type","message","details"}}``."""

    error: _ApiError = _ApiError()


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the id that Anthropic gave a request, for its support; None without a plausible one."""
    request_id = headers.get("request-id", "")
    return request_id if _REQUEST_ID.fullmatch(request_id) else None


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """Return what the response to a create proves.

    Args:
        status: the HTTP status.
        headers: the response's headers; names in lower case.
        body: the whole response body.
    """
    if status == HTTPStatus.OK:
        return _accepted_or_ambiguous(body)
    if not 400 <= status < 500 or status in _AMBIGUOUS_4XX:  # noqa: PLR2004 - HTTP's own numbers
        return Ambiguous(f"status {status}")
    error = read_error(body)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _rate_limited(headers, error)
    return _refused_or_blocked(status, error, headers)


def _accepted_or_ambiguous(body: bytes) -> Verdict:
    try:
        return Accepted(msgspec.json.decode(body, type=MessageBatch))
    except UNREADABLE_JSON:
        return Ambiguous("the response with status 200 is truncated or not a batch")


def _refused_or_blocked(status: int, error: _ApiError, headers: Mapping[str, str]) -> Verdict:
    """Blame the rows only if the API names a request or calls the body too large."""
    reason = _BY_STATUS.get(status, "refused")
    may_concern_rows = reason in _MAY_CONCERN_ROWS
    named = _REQUEST_PATH.search(error.message[:MAX_MESSAGE_CHARS]) if may_concern_rows else None
    rows = Refused(status, error.message[:MAX_MESSAGE_CHARS], int(named[1]) if named else None)
    if named or status == HTTPStatus.CONTENT_TOO_LARGE:
        return rows
    return _account_blocked(reason, error, headers, rows if may_concern_rows else None)


def _account_blocked(
    reason: str, error: _ApiError, headers: Mapping[str, str], rows: Refused | None = None
) -> AccountBlocked:
    words, sentence = _words(error, headers), PAUSE_MESSAGES[reason]
    if not words:
        return AccountBlocked(reason, sentence, rows)
    if reason == "refused":  # the API's message is more specific than ours
        return AccountBlocked(reason, f"{words} {sentence}", rows)
    return AccountBlocked(reason, f"{sentence}. {words}", rows)


def unquoted_message(message: str) -> str:
    """Return the API's message for an event: one line, bounded, without quotations.

    Quoted text may come from a prompt. A message about the account needs none.
    """
    printable = "".join(
        char if char.isprintable() else " " for char in message[:MAX_MESSAGE_CHARS]
    )
    words = " ".join(_QUOTATION.sub("\u2026", printable).split())[:MAX_EVENT_WORDS_CHARS]
    return f"Anthropic says: {words.rstrip('. ')}." if words else ""


def _words(error: _ApiError, headers: Mapping[str, str]) -> str:
    """Return the API's message for an event, with the request's id for Anthropic's support."""
    words, request_id = unquoted_message(error.message), request_id_of(headers)
    return f"{words} Request: {request_id}." if words and request_id else words


def _rate_limited(headers: Mapping[str, str], error: _ApiError) -> Verdict:
    if error.details is not None and error.details.error_code in _SPEND_LIMITS:
        return _account_blocked("spend_limit", error, headers)
    try:
        seconds = float(headers.get("retry-after", _DEFAULT_RETRY_S))
    except ValueError:
        seconds = _DEFAULT_RETRY_S
    if math.isnan(seconds):
        seconds = _DEFAULT_RETRY_S
    return RateLimited(min(max(seconds, 1.0), _MAX_RETRY_S), _words(error, headers))


def read_error(body: bytes) -> _ApiError:
    """Read the API's error JSON. If the body is not such JSON, return an error without a message."""
    try:
        return msgspec.json.decode(body, type=ErrorBody).error
    except UNREADABLE_JSON:
        return _ApiError()
