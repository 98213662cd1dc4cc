"""A state of the model: everything outside the functions, and the invocations that stand still."""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import msgspec

from functions.model import timestamps
from tests.fakes.dynamodb import Table

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
OLD_S = 4000
"""Ages above this are taken to be alike: past every lease and wait, and far from the rules of a day or a month."""
_MARKS = re.compile(r"[0-9a-f]{32}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(frozen=True, slots=True)
class Message:
    """What lies in a queue. S3's events come again until they are worked off; a work message may be lost."""

    queue: str
    body: str

    @property
    def event(self) -> bool:
        return "Records" in self.body


@dataclass(frozen=True, slots=True)
class MessageBatch:
    """A Message Batch at Anthropic."""

    id: str
    custom_ids: tuple[str, ...]
    results: bytes
    created: int
    ends: int
    seen_from: int
    canceled: bool = False

    def about(self, now: int) -> dict[str, Any]:
        ended = self.ends <= now
        counts = {"succeeded" if ended else "processing": len(self.custom_ids)}
        running = "canceling" if self.canceled else "in_progress"
        return {
            "id": self.id, "processing_status": "ended" if ended else running,
            "request_counts": counts, "created_at": at(self.created),
            "expires_at": at(self.created + 86400), "ended_at": at(self.ends) if ended else None,
        }  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One call that an invocation has made: what it was told, and when."""

    answer: Any
    now: int

    @cached_property
    def text(self) -> str:
        return repr(self.answer) if isinstance(self.answer, Exception) else _text(self.answer)


@dataclass(frozen=True)
class Invocation:
    """A function that has been started: run again with the same answers, it stands where it stood."""

    message: Message | None
    serial: int
    past: tuple[Entry, ...] = ()

    @cached_property
    def text(self) -> str:
        told = "".join(entry.text for entry in self.past)
        return f"{self.message}{told}"

    def seen_at(self, now: int) -> str:
        """Tell it from others: what it knows, and how long ago it learned the last of it."""
        age = min(now - self.past[-1].now, OLD_S) if self.past else 0
        return f"{self.text}{age}"


@dataclass(frozen=True, slots=True)
class State:
    """All that decides what may happen next."""

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
        """Tell states apart: times by their age, tokens by the order in which they come."""
        parts = [item.text for _, item in sorted(self.table.items())]
        for batch in self.claude:
            since = min(self.now - batch.created, OLD_S), max(batch.ends - self.now, 0)
            parts.append(f"{batch.id}{batch.custom_ids}{since}{batch.seen_from > self.now}")
            parts.append(hashlib.md5(batch.results, usedforsecurity=False).hexdigest()[:8])
        parts += [message.body for message in self.messages]
        parts += sorted(one.seen_at(self.now) for one in self.frozen)
        parts += sorted(self.marks)
        parts.append(str(any(key.endswith("manifest.json") for key in self.objects)))
        seen: dict[str, str] = {}

        def alike(found: re.Match[str]) -> str:
            mark = found[0]
            if "T" not in mark:
                return seen.setdefault(mark, f"<{len(seen)}>")
            age = self.now - round((timestamps.parse(mark) - BEGIN).total_seconds())
            return f"<{min(age, OLD_S)}s>"

        text = _MARKS.sub(alike, "\n".join(parts))
        return hashlib.blake2b(text.encode(), digest_size=12).digest()


def at(now: int) -> str:
    return timestamps.text(moment(now))


def moment(now: int) -> datetime:
    return BEGIN + timedelta(seconds=now)


def _text(answer: Any) -> str:
    if isinstance(answer, bytes):
        return hashlib.md5(answer, usedforsecurity=False).hexdigest()[:8]
    return msgspec.json.encode(answer).decode()
