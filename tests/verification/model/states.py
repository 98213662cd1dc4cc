"""A state of the model: everything outside the functions, and the frozen invocations."""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import msgspec

from functions.model import timestamps
from tests.fakes.dynamodb import Table

START = datetime(2026, 11, 1, tzinfo=UTC)
MAX_AGE_S = 4000
"""Older ages are equal: past every lease and delay, far below limits of a day or a month."""
_TOKEN_OR_TIME = re.compile(r"[0-9a-f]{32}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(frozen=True, slots=True)
class Message:
    """A queue message. S3 events are redelivered until they succeed; work messages may be lost."""

    queue: str
    body: str

    @property
    def is_s3_event(self) -> bool:
        return "Records" in self.body


@dataclass(frozen=True, slots=True)
class MessageBatch:
    """A Message Batch at Anthropic."""

    id: str
    custom_ids: tuple[str, ...]
    results: bytes
    created: int
    ends: int
    listed_from: int
    canceled: bool = False

    def to_api(self, now: int) -> dict[str, Any]:
        ended = self.ends <= now
        counts = {"succeeded" if ended else "processing": len(self.custom_ids)}
        running = "canceling" if self.canceled else "in_progress"
        return {
            "id": self.id, "processing_status": "ended" if ended else running,
            "request_counts": counts, "created_at": timestamp(self.created),
            "expires_at": timestamp(self.created + 86400), "ended_at": timestamp(self.ends) if ended else None,
        }  # fmt: skip


@dataclass(frozen=True)
class RecordedCall:
    """One call of an invocation: its answer, and its time."""

    answer: Any
    now: int

    @cached_property
    def comparison_key(self) -> str:
        return (
            repr(self.answer) if isinstance(self.answer, Exception) else _answer_key(self.answer)
        )


@dataclass(frozen=True)
class Invocation:
    """A started function; run again with the recorded answers, it reaches the same call."""

    message: Message | None
    serial: int
    history: tuple[RecordedCall, ...] = ()

    @cached_property
    def comparison_key(self) -> str:
        answers = "".join(entry.comparison_key for entry in self.history)
        return f"{self.message}{answers}"

    def seen_at(self, now: int) -> str:
        """Return what identifies it: what it knows, and how long ago it learned it."""
        age = min(now - self.history[-1].now, MAX_AGE_S) if self.history else 0
        return f"{self.comparison_key}{age}"


@dataclass(frozen=True, slots=True)
class State:
    """Everything that decides what may happen next."""

    now: int = 0
    table: Table = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    claude: tuple[MessageBatch, ...] = ()
    messages: tuple[Message, ...] = ()
    frozen: tuple[Invocation, ...] = ()
    serial: int = 0
    events: tuple[dict[str, Any], ...] = ()
    marks: frozenset[str] = frozenset()

    def key(self) -> bytes:
        """Return a key for equal states: times by age, tokens by order of appearance."""
        parts = [item.comparison_key for _, item in sorted(self.table.items())]
        for batch in self.claude:
            since = min(self.now - batch.created, MAX_AGE_S), max(batch.ends - self.now, 0)
            parts.append(f"{batch.id}{batch.custom_ids}{since}{batch.listed_from > self.now}")
            parts.append(hashlib.md5(batch.results, usedforsecurity=False).hexdigest()[:8])
        parts += [message.body for message in self.messages]
        parts += sorted(invocation.seen_at(self.now) for invocation in self.frozen)
        parts += sorted(self.marks)
        parts.append(str(any(key.endswith("manifest.json") for key in self.objects)))
        seen: dict[str, str] = {}

        def canonicalize(match: re.Match[str]) -> str:
            text = match[0]
            if "T" not in text:
                return seen.setdefault(text, f"<{len(seen)}>")
            age = self.now - round((timestamps.parse(text) - START).total_seconds())
            return f"<{min(age, MAX_AGE_S)}s>"

        comparison_key = _TOKEN_OR_TIME.sub(canonicalize, "\n".join(parts))
        return hashlib.blake2b(comparison_key.encode(), digest_size=12).digest()


def timestamp(now: int) -> str:
    return timestamps.text(to_datetime(now))


def to_datetime(now: int) -> datetime:
    return START + timedelta(seconds=now)


def _answer_key(answer: Any) -> str:
    if isinstance(answer, bytes):
        return hashlib.md5(answer, usedforsecurity=False).hexdigest()[:8]
    return msgspec.json.encode(answer).decode()
