"""A listing that does not finish in time: older batches are retrieved one by one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from functions import poll
from functions.adapters.queues import WorkQueues
from functions.model.items.batch import BatchStatus
from functions.polling.phases import Phases
from tests.harness import Harness, every_row_accepted_once, make_upload, open_harness

KEY = "in/march.jsonl"


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    """A relay whose listings have two batches a page."""
    monkeypatch.setattr("functions.adapters.anthropic_api.PAGE", 2)
    with open_harness(tmp_path, processing_s=90.0) as harness:
        yield harness


def poll_once(relay: Harness) -> None:
    """Poll without time for a second page of the listing."""
    lists_before = relay.simulator.calls().get("list", 0)

    def time_left_s() -> float:
        return 66.0 if relay.simulator.calls().get("list", 0) > lists_before else 120.0

    work_queues = WorkQueues(relay.queues["submit"], relay.queues["results"], client=relay.sqs)
    poll.poll(relay.poll, work_queues, Phases(time_left_s))
    assert relay.simulator.calls().get("list", 0) == lists_before + 1


def statuses(relay: Harness) -> list[str]:
    return sorted(batch.status for batch in relay.items.unfinished().batches)


def add_foreign_batches(relay: Harness, batches: int) -> None:
    """Let another program create batches."""
    relay.pass_time(1)
    for _ in range(batches):
        relay.simulator.add_foreign(1)


def test_batches_beyond_an_incomplete_listing_are_retrieved_by_id(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    relay.tick()
    add_foreign_batches(relay, 5)
    relay.pass_time(120)

    poll_once(relay)

    assert statuses(relay) == ["ENDED"]
    assert relay.simulator.calls()["retrieve"] == 1
    relay.drain_queues()
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}


def test_each_poll_retrieves_some_batches_in_turn(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.polling.watch.MAX_RETRIEVES", 2)
    relay.deploy(requests_per_batch=1)
    relay.upload(KEY, make_upload(5))
    relay.tick()
    add_foreign_batches(relay, 5)

    for _ in range(2):  # they are still running
        poll_once(relay)
    relay.pass_time(120)
    ended_counts = []
    for _ in range(3):
        poll_once(relay)
        ended_counts.append(statuses(relay).count(BatchStatus.ENDED))

    assert relay.simulator.calls()["retrieve"] == 9
    assert ended_counts == [2, 4, 5]


def test_a_batch_that_was_not_retrieved_does_not_count_as_missing(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    relay.tick()
    relay.pass_time(26 * 3600)  # it must have ended by now
    add_foreign_batches(relay, 5)
    relay.simulator.arm("server_error", times=0, endpoint="retrieve")

    for _ in range(5):
        relay.pass_time(60)
        poll_once(relay)
    (batch,) = relay.items.unfinished().batches
    assert (batch.status, batch.listing_misses) == (BatchStatus.IN_PROGRESS, 0)

    relay.simulator.disarm()
    poll_once(relay)
    relay.drain_queues()
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}


def test_an_incomplete_listing_does_not_prove_absence(relay: Harness) -> None:
    relay.simulator.arm("lost_answer")
    relay.upload(KEY, make_upload(3))
    relay.tick()
    add_foreign_batches(relay, 5)

    for _ in range(8):
        relay.pass_time(300)
        add_foreign_batches(relay, 2)
        poll_once(relay)
        relay.drain_queues()
    assert statuses(relay) == ["UNCONFIRMED"]

    relay.finish()
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}
    assert every_row_accepted_once(relay)
