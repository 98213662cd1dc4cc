"""What the answer to a create proves: that is what is paid for, so nothing is guessed.

A batch has no idempotency key. Where the answer proves that none was created, it says so here; everything else is
`Ambiguous`, and nothing is sent again before it is found out. The table of answers is in the design.
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
_MOST_RETRY_S = 6 * 3600.0
RESULTS_RETENTION = timedelta(days=30)
"""From a batch's creation on, its results are gone by now under any key: 29 days, and a margin."""
ENDS_WITHIN = timedelta(hours=25)
"""From a batch's creation on, it has ended at Anthropic by now, whatever happened: 24 hours, and a margin."""
GONE_LISTINGS = 3
"""Complete listings that must lack a batch before it may be gone; its results must not be found, either."""

_BATCH_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How a Message Batch's requests stand; all in `processing` until the whole batch ends."""

    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def total(self) -> int:
        """How many requests it has."""
        return self.processing + self.succeeded + self.errored + self.canceled + self.expired


class MessageBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A Message Batch, as the API shows it: what is needed of it."""

    id: str
    processing_status: str
    request_counts: Counts
    created_at: str
    expires_at: str
    ended_at: str | None = None
    archived_at: str | None = None
    results_url: str | None = None

    def __post_init__(self) -> None:
        """Refuse one whose id or times are none: every poll would fail on it anew.

        Raises:
            ValueError: it is none; for a decoder, one more field that cannot be read.
        """
        times_ = [
            timestamps.parse(at) for at in (self.created_at, self.ended_at) if at is not None
        ]
        if not _BATCH_ID.fullmatch(self.id) or min(times_) < _EARLIEST:
            message = "neither a batch's id nor its time"
            raise ValueError(message)

    @property
    def ended(self) -> bool:
        """Whether its results are there, or were."""
        return self.processing_status == "ended" or self.archived_at is not None

    @property
    def running(self) -> bool:
        """Whether it goes on, and nobody has asked for it to be canceled."""
        return self.processing_status == "in_progress" and self.archived_at is None


@dataclass(frozen=True)
class Accepted:
    """A batch was created."""

    batch: MessageBatch


@dataclass(frozen=True)
class Refused:
    """None was created, because of these rows.

    Attributes:
        status: the HTTP status.
        message: the API's own sentence, for results.jsonl alone: it may quote the row.
        index: the request that the sentence names, from 0; None where it names none.
    """

    status: int
    message: str
    index: int | None = None


@dataclass(frozen=True)
class AccountBlocked:
    """None was created, and none would be now: the key or the account is blocked, as far as the answer tells.

    Attributes:
        reason: a key of `PAUSE_MESSAGES`.
        sentence: what is wrong and what to do, with the API's own words; it quotes no prompt.
        rows: the verdict on the rows, if it turns out that the account is well; None where the answer cannot be
            about rows.
    """

    reason: str
    sentence: str
    rows: Refused | None = None


@dataclass(frozen=True)
class RateLimited:
    """None was created; wait this long. `words` are the API's own, without quotations."""

    seconds: float
    words: str = field(default="", compare=False)


@dataclass(frozen=True)
class NotSent:
    """None was created: the connection or the body broke off before the last byte."""

    reason: str


@dataclass(frozen=True)
class Ambiguous:
    """A batch may have been created. Find out before sending again."""

    reason: str


Verdict = Accepted | Refused | AccountBlocked | RateLimited | NotSent | Ambiguous

PAUSE_MESSAGES = {
    "key_missing": 'the secret holds no API key; store one as plain text or as {"ANTHROPIC_API_KEY": "…"}',
    "key_unreadable": "the secret with the API key cannot be read; check that it exists and that the functions may decrypt it",
    "key_refused": "Anthropic refuses the API key (401); put a valid one into the secret",
    "billing": "Anthropic refuses for billing reasons (402); see the Claude Console's billing page",
    "no_permission": "the API key may not create batches (403); allow it in the Claude Console",
    "not_found": "the address or a resource is unknown to the API (404); check the setting baseUrl",
    "spend_limit": "the workspace's or the organization's spend limit is reached; raise it in the Claude Console",
    "rate_limited": "Anthropic has refused every create for an hour (429); see the Claude Console's limits and spend",
    "refused": "Anthropic refuses creates and names no row, so perhaps the account is blocked; see the Claude Console",
}
"""Why sending is paused, and what to do."""
KEY_PROBLEMS = frozenset({"key_missing", "key_unreadable", "key_refused"})
"""Reasons to pause that are over as soon as the secret holds a key that the API takes."""

_BY_STATUS = {401: "key_refused", 402: "billing", 403: "no_permission", 404: "not_found"}
_UNKNOWN_4XX = frozenset({408, 409, 425, 499})
_PERHAPS_ROWS = frozenset({"refused", "no_permission"})
_NAMED = re.compile(r"(?<![\w.])requests(?:\.|\[)(\d{1,6})(?!\w)")
"""A request of the body, as the API names it: ``requests.17.params.model: …``."""
_QUOTED = re.compile(
    r"""["\u201c\u00ab`].*?(?:["\u201d\u00bb`]|$)|(?<!\w)['\u2018].*?(?:['\u2019](?!\w)|$)|sk-[\w-]+"""
)
"""What stands in quotation marks, and what looks like a key."""
MESSAGE_MOST, WORDS_MOST = 500, 200
"""Characters of the API's sentence that are kept: in results.jsonl, and in an event."""


class _Details(msgspec.Struct, frozen=True):
    error_code: str | None = None


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    details: _Details | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """The API's error JSON: ``{"type":"error","error":{"type","message","details"}}``."""

    error: _Error = _Error()


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """Say what an answer to create proves.

    Args:
        status: the HTTP status.
        headers: those of the answer; names in lower case.
        body: the whole body.
    """
    if status == HTTPStatus.OK:
        return _created(body)
    if not 400 <= status < 500 or status in _UNKNOWN_4XX:  # noqa: PLR2004 - HTTP's own numbers
        return Ambiguous(f"status {status}")
    error = read_error(body)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _too_many(headers, error)
    return _refused(status, error)


def _created(body: bytes) -> Verdict:
    try:
        return Accepted(msgspec.json.decode(body, type=MessageBatch))
    except UNREADABLE_JSON:
        return Ambiguous("the answer of status 200 is cut off or no batch")


def _refused(status: int, error: _Error) -> Verdict:
    """Say whether it is the rows: only where the API names a request, or calls the body too large."""
    reason = _BY_STATUS.get(status, "refused")
    perhaps_rows = reason in _PERHAPS_ROWS
    named = _NAMED.search(error.message[:MESSAGE_MOST]) if perhaps_rows else None
    rows = Refused(status, error.message[:MESSAGE_MOST], int(named[1]) if named else None)
    if named or status == HTTPStatus.CONTENT_TOO_LARGE:
        return rows
    return _paused(reason, error, rows if perhaps_rows else None)


def _paused(reason: str, error: _Error, rows: Refused | None = None) -> AccountBlocked:
    words, sentence = words_of(error.message), PAUSE_MESSAGES[reason]
    if not words:
        return AccountBlocked(reason, sentence, rows)
    if reason == "refused":  # ours knows less than the API's
        return AccountBlocked(reason, f"{words} {sentence}", rows)
    return AccountBlocked(reason, f"{sentence}. {words}", rows)


def words_of(message: str) -> str:
    """Give the API's words as an event may have them: one line, bounded, and without what stands in quotation marks.

    Words in quotation marks may come from a prompt; a sentence about the account needs none.
    """
    printable = "".join(char if char.isprintable() else " " for char in message[:MESSAGE_MOST])
    words = " ".join(_QUOTED.sub("\u2026", printable).split())[:WORDS_MOST]
    return f"Anthropic says: {words.rstrip('. ')}." if words else ""


def _too_many(headers: Mapping[str, str], error: _Error) -> Verdict:
    if error.details is not None and error.details.error_code in _SPEND_LIMITS:
        return _paused("spend_limit", error)
    try:
        seconds = float(headers.get("retry-after", _DEFAULT_RETRY_S))
    except ValueError:
        seconds = _DEFAULT_RETRY_S
    if math.isnan(seconds):
        seconds = _DEFAULT_RETRY_S
    return RateLimited(min(max(seconds, 1.0), _MOST_RETRY_S), words_of(error.message))


def read_error(body: bytes) -> _Error:
    """Read the API's error; a body that is none gives an error without a message."""
    try:
        return msgspec.json.decode(body, type=ErrorBody).error
    except UNREADABLE_JSON:
        return _Error()
