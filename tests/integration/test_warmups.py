"""The first row of a shared prefix is sent alone, and the others read what it wrote to the cache."""

import json
from typing import Any

import pytest

from tests.harness import Harness, make_row, succeeded
from tests.integration.test_budgets import KEY, OPTIONS, status

ROWS = 10
PREFIX_TOKENS = 4_000
MODEL = "claude-opus-5"
SYSTEM = [
    {"type": "text", "text": "x" * 4 * PREFIX_TOKENS, "cache_control": {"type": "ephemeral"}}
]
INPUT_USD = 2.5e-6
"""A token of input in a batch."""


def rows(first_text: str = "hello", count: int = ROWS) -> bytes:
    texts = [first_text, *["hello"] * (count - 1)]
    return b"\n".join(
        make_row(n, text, model=MODEL, system=SYSTEM) for n, text in enumerate(texts, 1)
    )


def start(relay: Harness, body: bytes, options: bytes = b"warm_cache = true\n") -> None:
    relay.simulator.processing_s = 600.0
    relay.upload(OPTIONS, options)
    relay.upload(KEY, body)
    relay.tick()


def batch_sizes(relay: Harness) -> list[int]:
    """Return the requests of each batch at Anthropic, oldest first."""
    counts: list[Any] = [one["request_counts"] for one in relay.simulator.batches()]
    return [sum(count.values()) for count in reversed(counts)]


def finish(relay: Harness) -> dict[str, Any]:
    relay.finish()
    manifest = relay.manifest(KEY)
    assert manifest["cost_usd"] == pytest.approx(relay.simulator.bill().usd, abs=1e-6)
    return manifest


def test_the_first_row_goes_alone_and_the_others_read_what_it_wrote(relay: Harness) -> None:
    start(relay, rows())
    assert batch_sizes(relay) == [1]
    assert "warm_up" in [wait["reason"] for wait in status(relay)["waiting"]]

    relay.tick(601.0)
    assert batch_sizes(relay) == [1, ROWS - 1], "sent by the poll that sees the first one ended"

    manifest = finish(relay)

    assert batch_sizes(relay) == [1, ROWS - 1]
    assert all(succeeded(relay, KEY))
    assert [line["custom_id"] for line in relay.lines(KEY)] == [f"row-{n}" for n in range(1, 11)]
    assert manifest["cache"] == {
        "read_tokens": 9 * PREFIX_TOKENS,
        "written_tokens": PREFIX_TOKENS,
        "hit_rate": 0.9,
        "warmed_prefixes": 1,
    }
    assert manifest["translated"]["changes"] == {"cache_control.ttl": 1}
    # The write costs one more input, each of nine reads saves nine tenths of one.
    saved_tokens = PREFIX_TOKENS * (9 * 0.9 - 1)
    assert manifest["saved_usd"]["caching"] == pytest.approx(saved_tokens * INPUT_USD)


def test_without_the_option_each_row_writes_what_it_shares(relay: Harness) -> None:
    start(relay, rows(), b"")
    manifest = finish(relay)

    assert batch_sizes(relay) == [ROWS]
    assert manifest["cache"]["hit_rate"] == 0
    assert manifest["saved_usd"]["caching"] == pytest.approx(
        -10 * 0.25 * PREFIX_TOKENS * INPUT_USD
    )
    assert manifest["translated"]["changes"] == {}


@pytest.mark.parametrize("fate", ["expired", "invalid_request_error"])
def test_the_others_are_sent_however_the_first_ends(relay: Harness, fate: str) -> None:
    start(relay, rows(f"[fate:{fate}]"))
    relay.finish()

    assert sorted(batch_sizes(relay)) == ([1, 1, 9] if fate == "expired" else [1, 9])
    assert succeeded(relay, KEY)[1:] == [True] * 9


def test_the_others_are_sent_if_the_first_takes_too_long(relay: Harness) -> None:
    start(relay, rows())
    relay.simulator.processing_s = 0.0
    (warmup,) = relay.simulator.batches()
    relay.simulator.find("default", str(warmup["id"])).processing_s = 20 * 3600.0  # type: ignore[union-attr]
    for _ in range(12):
        relay.tick(1800.0)

    assert batch_sizes(relay) == [1, 9]


@pytest.mark.parametrize("obstacle", ["budget", "room"])
def test_the_others_wait_though_the_job_could_not_be_sent_for_long(
    relay: Harness, obstacle: str
) -> None:
    """The hours count from the first create of the row that goes alone."""
    relay.simulator.processing_s = 20 * 3600.0
    relay.deploy(open_batches=1)
    if obstacle == "room":
        relay.upload("in/other.jsonl", make_row(1))
        relay.tick()
    relay.upload(OPTIONS, b"warm_cache = true\nbudget_usd = %d.0001\n" % (obstacle == "room"))
    relay.upload(KEY, rows())
    for _ in range(3):
        relay.tick(3 * 3600.0)
    before = batch_sizes(relay)

    relay.deploy(open_batches=9)
    relay.upload(f"{KEY}.go", b"")
    for _ in range(3):
        relay.tick()

    assert batch_sizes(relay) == [*before, 1]


def test_a_pilot_warms_up_for_the_rest(relay: Harness) -> None:
    body = make_row(0) + b"\n" + rows()
    start(relay, body, b"warm_cache = true\npilot_rows = 3\npilot_auto = true\n")
    manifest = finish(relay)

    assert batch_sizes(relay) == [3, 8]
    assert manifest["cache"]["read_tokens"] == 8 * PREFIX_TOKENS


def test_a_template_shares_its_system_prompt_with_all_rows_of_a_table(relay: Harness) -> None:
    params = {
        "model": MODEL,
        "max_tokens": 9,
        "system": SYSTEM,
        "messages": [{"role": "user", "content": "{{question}}"}],
    }
    relay.simulator.processing_s = 600.0
    options = {"warm_cache": True, "request": {"params": params}}
    relay.upload("in/march.csv.relay.json", json.dumps(options).encode())
    relay.upload("in/march.csv", b"question\none\ntwo\nthree\n")
    relay.finish()

    assert batch_sizes(relay) == [1, 2]
    assert relay.manifest("in/march.csv")["cache"]["hit_rate"] == pytest.approx(2 / 3, abs=1e-4)


def test_tokens_are_counted_on_more_than_the_first_row(relay: Harness) -> None:
    start(relay, rows())

    assert status(relay)["estimate"]["counted_rows"] == ROWS - 1


def test_the_first_row_is_sent_though_it_equals_one_before(relay: Harness) -> None:
    """The others did not wait for the one before, and what it wrote to the cache lasts for minutes only."""
    plain = make_row(0, "hello", model=MODEL)
    first, *others = rows().split(b"\n")
    body = b"\n".join([first, plain, first, *others])
    start(relay, body, b'warm_cache = true\nequal_rows = "once"\n')
    manifest = finish(relay)

    assert batch_sizes(relay) == [2, 1, ROWS - 1]
    assert (manifest["cache"]["warmed_prefixes"], manifest["copies"]) == (1, 0)
