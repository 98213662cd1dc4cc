"""Poll comes to its end, whatever there is to do: each phase has its time, and the next poll goes on from there."""

from collections.abc import Callable
from typing import Any

import pytest

from functions.polling import phases
from tests.fakes.aws import QUEUES
from tests.integration.crowded import Crowd, crowded


@pytest.fixture(params=[1, 4])
def crowd(request: pytest.FixtureRequest) -> Crowd:
    """A hundredth of what may be there, and calls that take a hundred times as long."""
    made = Crowd(call_s=0.5, threads=request.param)
    crowded(made, open_=100, waiting=900, small=100, unconfirmed=4)
    return made


def test_every_poll_reaches_every_phase_and_ends_in_time(crowd: Crowd) -> None:
    tally = crowd.poll()

    calls = crowd.calls
    assert crowd.left_s > 10
    assert calls.index("send_message_batch") < calls.index("claude GET")
    assert 0 < tally.ended < 100
    assert tally.admitted > 0
    assert calls.count("put_object") > 0
    assert crowd.kept(lambda item: item.get("reconcile_misses") == 1) > 0
    assert "owner" not in crowd.aws.dynamodb.table["relay", "poll"].attributes
    assert tally.passed_over == 0


def test_over_some_polls_everything_is_served(crowd: Crowd) -> None:
    woken: set[tuple[str, str]] = set()
    for _ in range(30):
        crowd.poll()
        assert crowd.left_s > 10
        woken |= crowd.woken_items()

    waits = {place for place, item in crowd.aws.dynamodb.table.items() if item.get("next_step")}
    assert crowd.statuses()["UNCONFIRMED"] == crowd.statuses()["IN_PROGRESS"] == 0
    assert crowd.kept(lambda item: item.get("item") == "#" and "status_digest" not in item) == 0
    assert crowd.kept(lambda item: item["item"].startswith("event/")) == 0
    assert len(crowd.aws.sqs.queues[QUEUES["events"]]) >= 100
    assert waits - woken == set()


@pytest.mark.parametrize("phase", phases.MIN_TIME_LEFT_S)
def test_a_phase_without_time_keeps_no_other_from_its_work(
    monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    crowd = Crowd(call_s=0.5)
    crowded(crowd, open_=10, waiting=10, small=10, unconfirmed=2)
    monkeypatch.setitem(phases.MIN_TIME_LEFT_S, phase, 1000.0)

    tally = crowd.poll()

    reached = [
        tally.ended, tally.admitted, crowd.calls.count("send_message_batch"), crowd.calls.count("put_object"),
        crowd.kept(lambda item: item.get("reconcile_misses") == 1),
    ]  # fmt: skip
    assert tally.passed_over == 0
    assert len([count for count in reached if not count]) <= (
        3 if phase in {"read", "listing"} else 1
    )
    assert "owner" not in crowd.aws.dynamodb.table["relay", "poll"].attributes


def test_what_cannot_all_be_read_is_read_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits to be sent comes last in the index: of it alone the youngest are left unread, until there is time."""
    crowd = Crowd(call_s=0.0)
    crowded(crowd, open_=5, waiting=50, small=5, unconfirmed=0)
    has_time = _times(30)
    monkeypatch.setattr(phases.Phases, "has_time", lambda _, phase: phase != "read" or has_time())

    tally = crowd.poll()

    assert (tally.ended, tally.open, tally.waiting) == (5, 5, 14)
    assert tally.admitted == 14


def _times(most: int) -> Callable[[], bool]:
    left = iter(range(most - 1))
    return lambda: next(left, None) is not None


def test_a_status_file_that_is_slow_does_not_hold_up_the_others(crowd: Crowd) -> None:
    """Where the first always fails, the others have their turn."""
    first = min(crowd.aws.dynamodb.table)
    put = crowd.aws.s3.put_object

    def reject_requests(**given: Any) -> Any:
        if first[0] in str(given):
            crowd.spend("slow")
            raise ConnectionResetError
        return put(**given)

    crowd.aws.s3.put_object = reject_requests  # type: ignore[method-assign]
    for _ in range(20):
        crowd.poll()

    assert crowd.kept(lambda item: item["item"] == "#" and "status_digest" not in item) == 1
