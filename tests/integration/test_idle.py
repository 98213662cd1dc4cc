"""The cost of an idle relay."""

from collections import Counter

import pytest

from tests.harness import Harness, make_upload


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
