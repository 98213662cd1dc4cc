"""Rows that put a long prefix into the cache are found and separated; later batches wait for them."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions.model.items.batch import BatchStatus
from functions.model.items.work_item import status_key
from functions.model.rows import Record, ValidRows
from functions.model.timestamps import text as at
from functions.planning.fast_path import ValidatedRow, validate_all
from functions.planning.shared_prefixes import MAX_PREFIXES, mark_warmups, prefix_of
from functions.planning.validation import validate
from functions.polling.warmups import MAX_WAIT, first_pending_warmups, waits_for_warmup
from functions.readers.jsonl import START, pieces, records
from tests.unit.factories import batch

NOW = datetime(2026, 11, 27, tzinfo=UTC)
VERSION = "2026-10-21"
ROW_BYTES = 1 << 20
LONG = 512 * 3
"""Bytes of the shortest prefix that claude-opus-5 caches, at three bytes a token."""


def system(letter: str, ttl: str | None = "5m", size: int = LONG) -> list[dict[str, Any]]:
    mark = {} if ttl is None else {"cache_control": {"type": "ephemeral", "ttl": ttl}}
    return [{"type": "text", "text": letter * size, **mark}]


def params(number: int = 1, **members: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"question {number}"}]
    return {"model": "claude-opus-5", "max_tokens": 9, "messages": messages, **members}


def upload(letters: Iterable[str], **members: Any) -> bytes:
    """Return an upload of a row for each letter, which says what its prefix is; ``.`` for none."""
    every = [
        params(n, **({} if letter == "." else {"system": system(letter)}), **members)
        for n, letter in enumerate(letters)
    ]
    return b"".join(json.dumps({"params": one}).encode() + b"\n" for one in every)


def together(body: bytes) -> Iterable[ValidRows | ValidatedRow]:
    return validate_all(pieces([body], START, ROW_BYTES), row_bytes=ROW_BYTES, api_version=VERSION)


def one_by_one(body: bytes) -> Iterable[ValidRows | ValidatedRow]:
    for record in records([body], START, ROW_BYTES):
        yield record, validate(record, row_bytes=ROW_BYTES, api_version=VERSION)


def marked(rows: Iterable[ValidRows | ValidatedRow], warmed: Iterable[str] = ()) -> str:
    """Return a letter for each row, in capitals if it is marked, with a bar between what is yielded apart."""
    parts = []
    for piece in mark_warmups(iter(rows), [*warmed], None):
        every = piece.params if isinstance(piece, ValidRows) else [piece[1].params]
        letters = "".join(letter_of(bytes(one or b"")) for one in every)
        is_warmup = not isinstance(piece, ValidRows) and piece[1].warmup_prefix is not None
        parts.append(letters.upper() if is_warmup else letters)
    return "|".join(parts)


def letter_of(one: bytes) -> str:
    prompt = json.loads(one)
    return prompt["system"][0]["text"][0] if "system" in prompt else "."


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("aaa", "A|aa"),
        ("a", "a"),
        ("ab", "ab"),
        ("..aa", "..|A|a"),
        ("abab", "A|B|ab"),
        ("abb", "a|B|b"),
        ("aaab", "A|aab"),
        ("...", "..."),
    ],
)
def test_the_first_row_of_a_shared_prefix_goes_alone(letters: str, expected: str) -> None:
    assert marked(together(upload(letters))) == expected


def test_rows_that_are_read_one_by_one_are_compared_with_the_next() -> None:
    assert marked(one_by_one(upload("..aaabab"))) == ".|.|A|a|a|b|a|b"


def test_a_prefix_that_earlier_rows_warm_up_is_not_warmed_up_again() -> None:
    known = prefix_of(json.dumps(params(system=system("a"))).encode())
    assert known is not None

    assert marked(together(upload("aabb")), [known]) == "aa|B|b"


def test_only_so_many_prefixes_are_warmed_up() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    found = marked(together(upload(sorted(letters * 2))))

    assert sum(letter.isupper() for letter in found) == MAX_PREFIXES


@pytest.mark.parametrize(
    ("members", "is_found"),
    [
        ({"system": system("a")}, True),
        ({"system": system("a", None)}, False),
        ({"system": "a" * LONG}, False),
        ({"system": system("a", size=1400)}, False),
        ({"system": system("a"), "model": "claude-opus-4-5"}, False),
        ({"system": system("a", size=4096 * 3), "model": "claude-opus-4-5"}, True),
        ({"system": system("a"), "model": "claude-opus-9"}, True),
        ({"tools": [{"name": "x" * LONG, "cache_control": {"type": "ephemeral"}}]}, True),
        ({"system": [*system("a", None), *system("b", size=9)]}, True),
        ({"system": [*system("b", size=9), *system("a", None)]}, False),
        ({"messages": [{"role": "user", "content": system("a")}]}, False),
        ({"system": system("a"), "cache_control": 5, "tools": 7}, False),
    ],
    ids=[
        "marked", "not marked", "text", "too short", "too short for its model", "long enough for it", "unknown model",
        "tools", "marked at the end", "marked before the end", "in a message", "invalid",
    ],
)  # fmt: skip
def test_a_prefix_is_what_tools_and_system_ask_to_cache(
    members: dict[str, Any], *, is_found: bool
) -> None:
    found = prefix_of(json.dumps(params(**members)).encode())

    assert (found is not None) is is_found


def test_prefixes_differ_by_model_and_text_but_not_by_what_follows() -> None:
    def of(number: int, letter: str, **members: Any) -> str | None:
        blocks = [*system(letter), *system("z", None)] if number % 2 else system(letter)
        return prefix_of(json.dumps(params(number, system=blocks, **members)).encode())

    assert of(1, "a") == of(2, "a") is not None
    assert len({of(1, "a"), of(1, "b"), of(1, "a", model="claude-opus-5-5")}) == 3


def first_row(members: dict[str, Any]) -> tuple[Record, Any]:
    body = b"\n".join(json.dumps({"params": params(n, **members)}).encode() for n in (1, 2))
    first = next(mark_warmups(iter(together(body)), [], None))
    assert not isinstance(first, ValidRows)
    return first


def test_the_warmup_is_cached_for_an_hour_and_nothing_else_changes() -> None:
    tools = [{"name": "look", "cache_control": {"type": "ephemeral"}}]
    members = {"tools": tools, "system": system("a"), "metadata": {"user_id": "ü"}}
    record, row = first_row(members)
    hour = {"type": "ephemeral", "ttl": "1h"}

    expected = params(1, **members)
    expected["tools"][0]["cache_control"] = expected["system"][0]["cache_control"] = hour
    assert json.loads(row.params) == expected
    assert row.changes == ("cache_control.ttl",)
    assert (record.line, record.offset, bytes(row.custom_id)) == (1, 0, b"null")


def test_a_warmup_that_is_cached_for_an_hour_already_is_sent_byte_for_byte() -> None:
    members = {"system": system("a", "1h")}
    _, row = first_row(members)

    assert row.params == json.dumps(params(1, **members)).encode()
    assert row.changes == ()


@pytest.mark.parametrize(
    ("status", "age", "waits"),
    [
        (BatchStatus.WAITING, timedelta(hours=1), True),
        (BatchStatus.SENDING, timedelta(hours=1), True),
        (BatchStatus.UNCONFIRMED, timedelta(hours=1), True),
        (BatchStatus.IN_PROGRESS, timedelta(hours=1), True),
        (BatchStatus.ENDED, timedelta(), False),
        (BatchStatus.STUCK, timedelta(), False),
        (BatchStatus.IN_PROGRESS, MAX_WAIT, False),
        (BatchStatus.WAITING, MAX_WAIT, True),
    ],
)
def test_later_batches_wait_until_a_warmup_has_ended_or_took_too_long(
    status: BatchStatus, age: timedelta, *, waits: bool
) -> None:
    since = status_key(status, at(NOW - age))
    first = first_pending_warmups(
        [batch(chunk=2, status=status, status_key=since, is_warmup=True)], NOW
    )

    assert waits_for_warmup(batch(chunk=3), first) is waits
    assert not waits_for_warmup(batch(chunk=1), first), "it holds rows before"
    assert not waits_for_warmup(batch(chunk=3, is_warmup=True), first)
    assert not waits_for_warmup(batch(chunk=3, attempt=2), first)
    assert not waits_for_warmup(batch("other", chunk=3), first)


@pytest.mark.parametrize("first", ["first_tried_at", "first_sent_at"])
def test_later_batches_wait_for_hours_while_a_warmup_cannot_be_sent(first: str) -> None:
    def waits(tried_for: timedelta) -> bool:
        since: dict[str, Any] = {
            "status_key": status_key(BatchStatus.WAITING, at(NOW)),
            first: at(NOW - tried_for),
        }
        return waits_for_warmup(
            batch(chunk=3), first_pending_warmups([batch(chunk=2, is_warmup=True, **since)], NOW)
        )

    assert waits(MAX_WAIT - timedelta(minutes=1))
    assert not waits(MAX_WAIT)


def test_no_batch_waits_for_the_next_attempt_of_a_warmup() -> None:
    since = status_key(BatchStatus.WAITING, at(NOW))
    again = batch(chunk=1, attempt=2, status_key=since, is_warmup=True)

    assert first_pending_warmups([again], NOW) == {}
