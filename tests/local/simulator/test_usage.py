"""What answers are billed for: tools and system, thinking, searches, and what the cache holds."""

import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest
from anthropic.types import Message, Usage

from local.simulator import Simulator

type MakeRequests = Callable[..., list[Any]]
type Block = dict[str, Any]

NOW_S, BATCH_S = 1_800_000_000.0, 100.0
TOKENS = 600
"""The length of each block below, longer than the shortest prefix that claude-opus-5 caches."""


@pytest.fixture(autouse=True)
def clock(simulator: Simulator) -> list[float]:
    now = [NOW_S]
    simulator.clock = lambda: now[0]
    simulator.processing_s = BATCH_S
    return now


@pytest.fixture
def usages(
    simulator: Simulator,
    client: anthropic.Anthropic,
    clock: list[float],
    make_requests: MakeRequests,
) -> Callable[..., list[Usage]]:
    """Send a batch of requests, wait until it has ended, and return what each was billed for."""

    def send(count: int = 1, *, done: float = 1.0, **params: object) -> list[Usage]:
        if done < 1:
            simulator.arm("canceled_in_console", done=done)
        batch = client.messages.batches.create(requests=make_requests(count, **params))
        clock[0] += BATCH_S + 1
        rows = sorted(client.messages.batches.results(batch.id), key=lambda row: row.custom_id)
        return [row.result.message.usage for row in rows if row.result.type == "succeeded"]

    return send


def text(letter: str, ttl: str | None = None) -> Block:
    """Return a block of 600 tokens; with a lifetime, the prompt is cached up to its end."""
    mark = {} if ttl is None else {"cache_control": {"type": "ephemeral", "ttl": ttl}}
    return {"type": "text", "text": letter * TOKENS * 4, **mark}


def cached(usage: Usage) -> tuple[int, int, int]:
    """Return what was read, written for 5 minutes and written for an hour."""
    created = usage.cache_creation
    assert created is not None
    five, hour = created.ephemeral_5m_input_tokens, created.ephemeral_1h_input_tokens
    assert usage.cache_creation_input_tokens == five + hour
    return usage.cache_read_input_tokens or 0, five, hour


def answer(client: anthropic.Anthropic, clock: list[float], requests: list[Any]) -> Message:
    batch = client.messages.batches.create(requests=requests)
    clock[0] += BATCH_S + 1
    (row,) = client.messages.batches.results(batch.id)
    assert row.result.type == "succeeded"
    return row.result.message


def test_a_batch_reads_what_a_batch_that_ended_before_it_wrote(
    usages: Callable[..., list[Usage]],
) -> None:
    first, second = usages(2, system=[text("a", "1h")]), usages(2, system=[text("a", "1h")])

    assert [cached(usage) for usage in first] == [(0, 0, TOKENS)] * 2, "they run side by side"
    assert [cached(usage) for usage in second] == [(TOKENS, 0, 0)] * 2
    assert {usage.input_tokens for usage in [*first, *second]} == {7 // 4 + 8}


def test_a_batch_does_not_read_what_a_batch_in_progress_writes(
    client: anthropic.Anthropic, usages: Callable[..., list[Usage]], make_requests: MakeRequests
) -> None:
    client.messages.batches.create(requests=make_requests(1, system=[text("a", "1h")]))

    assert cached(usages(system=[text("a", "1h")])[0]) == (0, 0, TOKENS)


@pytest.mark.parametrize(
    ("ttl", "later_s", "read"),
    [("5m", 299, True), ("5m", 301, False), ("1h", 301, True), ("1h", 3601, False)],
)
def test_an_entry_lives_for_as_long_as_it_was_asked(
    usages: Callable[..., list[Usage]], clock: list[float], ttl: str, later_s: float, *, read: bool
) -> None:
    usages(system=[text("a", ttl)])
    clock[0] += later_s - 1

    assert cached(usages(system=[text("a", ttl)])[0])[0] == (TOKENS if read else 0)


def test_each_use_renews_an_entry(usages: Callable[..., list[Usage]], clock: list[float]) -> None:
    for later_s in (0, 3000, 3000):
        clock[0] += later_s
        last = cached(usages(system=[text("a", "1h")])[0])

        assert last[0] == (TOKENS if later_s else 0)


TOOL: Block = {"name": "look", "input_schema": {"type": "object"}}
TOOL["description"] = "x" * (
    4 * TOKENS - len(json.dumps(TOOL | {"description": ""}, separators=(",", ":")))
)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"system": [text("a", "5m")]}, {"system": [text("b", "5m")]}, (0, TOKENS, 0)),
        ({"system": [text("a", "1h")]}, {"system": [text("a", "5m")]}, (TOKENS, 0, 0)),
        (
            {"system": [text("a", "1h")]},
            {"system": [text("a", "1h"), text("b", "5m")]},
            (TOKENS, TOKENS, 0),
        ),
        (
            {"system": [text("a", "1h"), text("b", "5m")]},
            {"system": [text("a"), text("b", "5m")]},
            (2 * TOKENS, 0, 0),
        ),
        ({"system": [text("a"), text("b", "5m")]}, {"system": [text("a", "5m")]}, (0, TOKENS, 0)),
        (
            {"system": [text("a", "1h")]},
            {"system": [text("a", "1h")], "tools": [TOOL]},
            (0, 0, 2 * TOKENS),
        ),
        (
            {"system": [text("a", "1h")]},
            {"system": [text("a", "1h")], "model": "claude-opus-5-5"},
            (0, 0, TOKENS),
        ),
        (
            {"system": [text("a", "1h")], "model": "claude-opus-4-1"},
            {"system": [text("a", "1h")], "model": "claude-opus-4-1"},
            (0, 0, 0),
        ),
        (
            {"system": [text("a", "1h"), text("b", "1h")], "model": "claude-opus-4-1"},
            {"system": [text("a", "1h"), text("b", "1h")], "model": "claude-opus-4-1-20250805"},
            (2 * TOKENS, 0, 0),
        ),
        (
            {"system": "a" * 4 * TOKENS, "cache_control": {"type": "ephemeral"}},
            {"system": "a" * 4 * TOKENS, "cache_control": {"type": "ephemeral"}},
            (TOKENS + 1, 0, 0),
        ),
    ],
    ids=[
        "other text", "other lifetime", "longer", "marked at the end only", "shorter", "tools come first",
        "other model", "too short", "long enough, dated model", "marked as a whole",
    ],
)  # fmt: skip
def test_prefixes_are_cached_up_to_each_mark(
    usages: Callable[..., list[Usage]],
    first: dict[str, Any],
    second: dict[str, Any],
    expected: tuple[int, int, int],
) -> None:
    usages(**first)

    assert cached(usages(**second)[0]) == expected


def test_only_a_request_that_finished_writes(usages: Callable[..., list[Usage]]) -> None:
    assert usages(system=[text("a", "1h")], done=0.0) == []
    assert cached(usages(system=[text("a", "1h")])[0]) == (0, 0, TOKENS)


def test_a_workspace_does_not_read_what_another_wrote(
    simulator: Simulator, usages: Callable[..., list[Usage]]
) -> None:
    usages(system=[text("a", "1h")])
    simulator.keys["sk-local"] = "other"

    assert cached(usages(system=[text("a", "1h")])[0]) == (0, 0, TOKENS)


def test_tools_and_system_count_as_input(usages: Callable[..., list[Usage]]) -> None:
    (plain,), (longer,) = usages(), usages(system="a" * 4 * TOKENS, tools=[TOOL])

    assert longer.input_tokens - plain.input_tokens == 2 * TOKENS


@pytest.mark.parametrize(
    ("thinking", "max_tokens", "expected"),
    [
        (None, 64, (0, 4, "end_turn", ["text"])),
        ({"type": "disabled"}, 64, (0, 4, "end_turn", ["text"])),
        ({"type": "adaptive"}, 64, (12, 16, "end_turn", ["thinking", "text"])),
        ({"type": "enabled", "budget_tokens": 10}, 64, (10, 14, "end_turn", ["thinking", "text"])),
        ({"type": "adaptive"}, 13, (12, 13, "max_tokens", ["thinking", "text"])),
        ({"type": "adaptive"}, 12, (12, 12, "max_tokens", ["thinking"])),
    ],
)
def test_thinking_is_part_of_the_output_and_may_leave_no_room_for_text(
    client: anthropic.Anthropic,
    clock: list[float],
    make_requests: MakeRequests,
    thinking: dict[str, Any] | None,
    max_tokens: int,
    expected: tuple[int, int, str, list[str]],
) -> None:
    params = {"max_tokens": max_tokens} | ({} if thinking is None else {"thinking": thinking})
    message = answer(client, clock, make_requests(1, **params))

    details = message.usage.output_tokens_details
    assert details is not None
    assert (
        details.thinking_tokens,
        message.usage.output_tokens,
        message.stop_reason,
        [block.type for block in message.content],
    ) == expected


def test_a_request_with_a_search_tool_searches_once(usages: Callable[..., list[Usage]]) -> None:
    (usage,) = usages(tools=[{"type": "web_search_20250305", "name": "web_search"}])

    assert usage.server_tool_use is not None
    assert usage.server_tool_use.web_search_requests == 1


def test_after_a_reset_the_cache_is_empty(
    simulator: Simulator, usages: Callable[..., list[Usage]]
) -> None:
    usages(system=[text("a", "1h")])
    simulator.reset()

    assert cached(usages(system=[text("a", "1h")])[0]) == (0, 0, TOKENS)
