"""Each phase of a poll has its share of the time, and the next poll continues from there."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from functions.polling import phases
from tests.fakes.aws import QUEUES
from tests.integration.crowded_table import CrowdedPoll, fill_table


@pytest.fixture(params=[1, 4])
def crowded_poll(request: pytest.FixtureRequest) -> CrowdedPoll:
    """A hundredth of the largest table, with calls that take a hundred times as long."""
    crowded_poll = CrowdedPoll(call_s=0.5, threads=request.param)
    fill_table(crowded_poll, open_batches=100, waiting=900, small_jobs=100, unconfirmed=4)
    return crowded_poll


def test_every_poll_reaches_every_phase_before_its_timeout(crowded_poll: CrowdedPoll) -> None:
    summary = crowded_poll.poll()

    calls = crowded_poll.calls
    assert crowded_poll.left_s > 10
    assert calls.index("send_message_batch") < calls.index("claude GET")
    assert 0 < summary.ended < 100
    assert summary.admitted > 0
    assert calls.count("put_object") > 0
    assert crowded_poll.count_items(lambda item: item.get("reconcile_misses") == 1) > 0
    assert "owner" not in crowded_poll.aws.dynamodb.table["relay", "poll"].attributes
    assert summary.passed_over == 0


def test_all_work_is_done_within_several_polls(crowded_poll: CrowdedPoll) -> None:
    woken: set[tuple[str, str]] = set()
    for _ in range(30):
        crowded_poll.poll()
        assert crowded_poll.left_s > 10
        woken |= crowded_poll.woken_items()

    waiting_items = {
        key for key, item in crowded_poll.aws.dynamodb.table.items() if item.get("next_step")
    }
    assert crowded_poll.statuses()["UNCONFIRMED"] == crowded_poll.statuses()["IN_PROGRESS"] == 0
    assert (
        crowded_poll.count_items(
            lambda item: item.get("item") == "#" and "status_digest" not in item
        )
        == 0
    )
    assert crowded_poll.count_items(lambda item: item["item"].startswith("event/")) == 0
    assert len(crowded_poll.aws.sqs.queues[QUEUES["events"]]) >= 100
    assert waiting_items - woken == set()


@pytest.mark.parametrize("phase", phases.MIN_TIME_LEFT_S)
def test_a_phase_without_time_does_not_block_other_phases(
    monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    crowded_poll = CrowdedPoll(call_s=0.5)
    fill_table(crowded_poll, open_batches=10, waiting=10, small_jobs=10, unconfirmed=2)
    monkeypatch.setitem(phases.MIN_TIME_LEFT_S, phase, 1000.0)

    summary = crowded_poll.poll()

    progress = [
        summary.ended, summary.admitted, crowded_poll.calls.count("send_message_batch"), crowded_poll.calls.count("put_object"),
        crowded_poll.count_items(lambda item: item.get("reconcile_misses") == 1),
    ]  # fmt: skip
    assert summary.passed_over == 0
    assert len([count for count in progress if not count]) <= (
        3 if phase in {"read", "listing"} else 1
    )
    assert "owner" not in crowded_poll.aws.dynamodb.table["relay", "poll"].attributes


def test_items_that_could_not_be_read_are_read_by_a_later_poll(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waiting batches come last in the index: only the newest of them stay unread."""
    crowded_poll = CrowdedPoll(call_s=0.0)
    fill_table(crowded_poll, open_batches=5, waiting=50, small_jobs=5, unconfirmed=0)
    has_time = _true_for(30)
    monkeypatch.setattr(phases.Phases, "has_time", lambda _, phase: phase != "read" or has_time())

    summary = crowded_poll.poll()

    assert (summary.ended, summary.open, summary.waiting) == (5, 5, 14)
    assert summary.admitted == 14


@pytest.mark.parametrize("answered", [2, 4, 10, 30, 60, 75, 90])
def test_a_table_that_stops_answering_does_not_use_up_the_time(answered: int) -> None:
    """Poll ends before its timeout, at whichever call DynamoDB stops, and has woken what it had read."""
    crowded_poll = CrowdedPoll(call_s=0.5, table_calls=answered)
    fill_table(crowded_poll, open_batches=100, waiting=900, small_jobs=100, unconfirmed=4)

    with suppress(ReadTimeoutError):
        crowded_poll.poll()

    assert crowded_poll.table_calls is not None
    assert crowded_poll.table_calls < 0
    assert crowded_poll.left_s > 0
    assert crowded_poll.calls.count("send_message_batch") > 0


def _true_for(limit: int) -> Callable[[], bool]:
    remaining = iter(range(limit - 1))
    return lambda: next(remaining, None) is not None


def test_a_slow_status_file_does_not_delay_the_others(crowded_poll: CrowdedPoll) -> None:
    """If the first write always fails, the others still get their turn."""
    first = min(crowded_poll.aws.dynamodb.table)
    put = crowded_poll.aws.s3.put_object

    def fail_for_first(**arguments: Any) -> Any:
        if first[0] in str(arguments):
            crowded_poll.spend_time("slow")
            raise ConnectionResetError
        return put(**arguments)

    crowded_poll.aws.s3.put_object = fail_for_first  # type: ignore[method-assign]
    for _ in range(20):
        crowded_poll.poll()

    assert (
        crowded_poll.count_items(lambda item: item["item"] == "#" and "status_digest" not in item)
        == 1
    )
