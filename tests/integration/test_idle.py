"""The cost of an idle relay."""

from collections import Counter

import pytest

from benchmarks.scale import cost, stalled
from benchmarks.scale.capacity import Capacity
from benchmarks.scale.cost import StalledDay
from tests.harness import Harness, make_upload

MAX_STALLED_USD = 0.50
ITEM_BYTES = 1_500
SLOW = Capacity(read_s=300e-6, admit_s=0.1, call_s=2e-3, crc_s=1e-5)
"""Slower than any machine that was measured."""


@pytest.fixture
def relay(moto_relay: Harness) -> Harness:
    """Use moto: the test counts the SDK's requests."""
    return moto_relay


def calls_of_one_poll(relay: Harness) -> Counter[str]:
    """Count the AWS calls of one poll."""
    calls: Counter[str] = Counter()

    def count(model: object, **_: object) -> None:
        calls[getattr(model, "name", "?")] += 1

    for client in (relay.dynamodb, relay.s3, relay.sqs, relay.sns):
        client.meta.events.register("before-call.*.*", count)
    relay.poll_once()
    for client in (relay.dynamodb, relay.s3, relay.sqs, relay.sns):
        client.meta.events.unregister("before-call.*.*", count)
    return calls


def test_promise_5_an_idle_poll_makes_four_calls_and_no_api_request(relay: Harness) -> None:
    calls = calls_of_one_poll(relay)

    assert calls == {"UpdateItem": 1, "Query": 1, "GetItem": 1, "TransactWriteItems": 1}
    assert relay.simulator.calls() == {}


def test_finished_jobs_are_not_read_again(relay: Harness) -> None:
    for number in range(3):
        relay.upload(f"in/{number}.jsonl", make_upload(2))
    relay.finish()

    assert sum(calls_of_one_poll(relay).values()) == 4


def test_without_a_key_an_ended_batch_is_tried_less_and_less_often() -> None:
    """A try every two minutes would be 720 a day."""
    day = stalled.count(batches=20, poll_every_s=600)

    assert day.tries_per_batch <= 10
    assert (day.calls["GetObject"], day.calls["HeadObject"]) == (2, 0)  # both of jobs.json
    assert cost.total(cost.of_stalled_day(thousand(day), ITEM_BYTES, SLOW)) < MAX_STALLED_USD


def thousand(day: StalledDay) -> StalledDay:
    """Scale the counts to a thousand batches."""
    factor = 1_000 // day.batches
    return StalledDay(
        1_000, factor * day.tries, {name: factor * calls for name, calls in day.calls.items()}
    )
