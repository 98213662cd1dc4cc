"""Nobody waits for the minute: a stage that leaves something for poll asks for one, and no more than is needed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from functions import poll, results, submit
from functions.adapters.queues import WorkQueues
from functions.adapters.trigger import REQUEST
from functions.model import events, timestamps
from functions.polling.phases import Phases
from tests.harness import Harness, harness, upload_of
from tests.integration.test_handlers import Context

KEY = "in/march.jsonl"


class Trigger:
    """Counts what is asked of it."""

    def __init__(self) -> None:
        self.fired = 0

    def fire(self) -> None:
        self.fired += 1


@pytest.fixture
def trigger(relay: Harness, monkeypatch: pytest.MonkeyPatch) -> Trigger:
    """The handlers of a relay, and what they ask."""
    made = Trigger()
    for stage, services in ((submit, relay.submit), (results, relay.results)):
        monkeypatch.setattr(stage, "_services", lambda services=services: services)
        monkeypatch.setattr(stage, "_poll", lambda: made)
    work_queues = WorkQueues(relay.queues["submit"], relay.queues["results"], client=relay.sqs)
    monkeypatch.setattr(poll, "_services", lambda: (relay.poll, work_queues))
    return made


def handle(stage: Any, *bodies: str) -> None:
    for body in bodies:
        stage.handler({"Records": [{"body": body}]}, Context())


def turn(relay: Harness) -> None:
    """Poll as Lambda does, and let the stages work off their queues."""
    poll.handler({}, Context())
    for stage, name in ((submit, "submit"), (results, "results")):
        handle(stage, *relay._drain(name))  # noqa: SLF001 - the messages as they are


def test_a_job_needs_no_schedule(relay: Harness, trigger: Trigger) -> None:
    """A poll for each time that one is asked for, no time between them, and one when Anthropic has ended it."""
    handle(submit, relay.put(KEY, upload_of(3)))
    asked = 0
    while trigger.fired > asked:
        asked = trigger.fired
        turn(relay)
    assert relay.simulator.calls()["create"] == 1
    relay.pass_time(60)
    turn(relay)
    while trigger.fired > asked:
        asked = trigger.fired
        turn(relay)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}
    assert json.loads(relay.read(KEY, "status.json"))["status"] == "DONE"
    assert trigger.fired == 2  # planned; collected and assembled


@pytest.mark.parametrize(
    ("body", "fires"),
    [
        (lambda relay: relay.put(KEY, upload_of(3)), 1),
        (lambda relay: relay.put(KEY, b"{broken"), 1),
        (lambda relay: relay.put(KEY + ".cancel", b""), 1),
        (lambda relay: relay.put("in/notes.pdf", b"x"), 0),
        (lambda _: json.dumps({"Event": "s3:TestEvent"}), 0),
    ],
)
def test_an_upload_asks_for_one_poll_where_it_leaves_something(
    relay: Harness, trigger: Trigger, body: Callable[[Harness], str], fires: int
) -> None:
    relay.deploy(requests_per_batch=1)
    submit._services = lambda: relay.submit  # type: ignore[assignment] # noqa: SLF001

    handle(submit, body(relay))

    assert trigger.fired == fires


@pytest.mark.parametrize(("fault", "fires"), [(None, 0), ("overloaded", 0), ("too_large", 1)])
def test_what_was_sent_asks_for_none_and_what_was_refused_does(
    relay: Harness, trigger: Trigger, fault: str | None, fires: int
) -> None:
    handle(submit, relay.put(KEY, upload_of(4)))
    if fault is not None:
        relay.simulator.arm(fault)
    trigger.fired = 0
    poll.handler({}, Context())

    handle(submit, *relay._drain("submit"))  # noqa: SLF001

    assert trigger.fired == fires


@pytest.mark.usefixtures("trigger")
def test_who_comes_while_poll_is_at_work_is_polled_for_when_it_ends(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped: list[bool] = []
    count = poll._count  # noqa: SLF001 - once everything is read

    def interrupted(*given: Any) -> None:
        count(*given)
        if not skipped:
            skipped.append(relay.poll_once().skipped)
            handle(submit, relay.put(KEY, upload_of(3)))

    monkeypatch.setattr(poll, "_count", interrupted)
    poll.handler({}, Context())
    handle(submit, *relay._drain("submit"))  # noqa: SLF001

    assert skipped == [True]
    assert relay.simulator.calls()["create"] == 1
    assert not relay.poll_once().wanted


def test_a_poll_that_ended_just_before_it_was_asked_is_not_waited_for(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = relay.poll.poll_lock
    assert lock.acquire("another", 60)
    want = lock.request_another

    def ends_first() -> None:
        lock.release("another", {})
        want()

    monkeypatch.setattr(lock, "request_another", ends_first)

    assert not relay.poll_once().skipped


def test_between_two_polls_lies_a_second(relay: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll, "REST_S", 1.0)
    slept: list[float] = []
    work_queues = WorkQueues(relay.queues["submit"], relay.queues["results"], client=relay.sqs)
    for seconds in (0.0, 0.25, 5.0, -3600.0):  # clocks differ
        relay.pass_time(seconds)
        poll.poll(relay.poll, work_queues, Phases(sleep=slept.append))

    assert slept == pytest.approx([0.75, 0.0, 1.0], abs=0.002)


def _seconds(relay: Harness, trigger: Trigger, count: int) -> None:
    """Let seconds pass: polls on schedule and on request; each stage handles four messages a second."""
    waiting: dict[str, list[str]] = {"submit": [], "results": []}
    asked = 0
    for second in range(count):
        relay.pass_time(1)
        if second % 60 == 0:
            poll.handler({}, Context())
        elif trigger.fired > asked:
            asked = trigger.fired
            poll.handler(json.loads(REQUEST), Context())
        for stage, name in ((submit, "submit"), (results, "results")):
            waiting[name] += relay._drain(name)  # noqa: SLF001 - the messages as they are
            handle(stage, *waiting[name][:4])
            del waiting[name][:4]


def test_requested_polls_share_a_listing(
    relay: Harness, trigger: Trigger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch that is collected requests a poll; without a shared listing, these 40 cause 12."""
    monkeypatch.setattr(poll, "THREADS", 1)  # moto loses writes of transactions that run at once
    relay.deploy(requests_per_batch=1)
    monkeypatch.setattr(submit, "_services", lambda: relay.submit)
    handle(submit, relay.put(KEY, upload_of(40)))

    _seconds(relay, trigger, 61 + 40 // 4 + 8)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 40}
    assert relay.simulator.calls()["list"] <= 2


def _requested(relay: Harness) -> int:
    """Poll at a stage's request, a second after the last poll. Return the listings that it causes."""
    relay.pass_time(1)
    before = relay.simulator.calls().get("list", 0)
    poll.handler(json.loads(REQUEST), Context())
    return relay.simulator.calls().get("list", 0) - before


def _sent(relay: Harness) -> None:
    """Upload, and send the batch; the last listing is a second old."""
    handle(submit, relay.put(KEY, upload_of(3)))
    turn(relay)
    poll.handler({}, Context())


@pytest.mark.usefixtures("trigger")
def test_a_requested_poll_lists_after_20_seconds_and_a_scheduled_one_always(
    relay: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    relay.simulator.processing_s = 3600.0
    _sent(relay)
    capsys.readouterr()

    first = _requested(relay)
    silent = capsys.readouterr().out
    relay.pass_time(18)
    second = _requested(relay)
    listings = relay.simulator.calls()["list"]
    poll.handler({}, Context())

    assert (first, second) == (0, 1)
    assert relay.simulator.calls()["list"] == listings + 1
    assert (
        "PollSucceeded" not in silent
    )  # the alarm no-poll counts polls that know what Anthropic says


@pytest.mark.usefixtures("trigger")
def test_a_requested_poll_lists_at_once_while_a_canceled_batch_runs(relay: Harness) -> None:
    relay.simulator.processing_s = 3600.0
    _sent(relay)
    handle(submit, relay.put(KEY + ".cancel", b""))
    _requested(relay)  # notes the cancellation

    assert _requested(relay) == 1
    assert relay.simulator.calls()["cancel"] == 1


@pytest.mark.usefixtures("trigger")
def test_a_requested_poll_lists_at_once_while_the_key_is_refused(relay: Harness) -> None:
    relay.simulator.processing_s = 3600.0
    _sent(relay)
    relay.key = "sk-revoked"
    relay.poll.claude.reload_key()
    poll.handler({}, Context())
    assert relay.circuit.read().paused_reason == "key_refused"

    relay.key = "sk-local"

    assert _requested(relay) == 1
    assert relay.circuit.read().paused_reason is None


@pytest.mark.usefixtures("trigger")
def test_a_requested_poll_lists_at_once_where_that_proves_a_create_failed(relay: Harness) -> None:
    relay.simulator.arm("server_error", endpoint="create")
    handle(submit, relay.put(KEY, upload_of(3)))
    turn(relay)
    for _ in range(8):  # five minutes for clocks that differ, then three complete listings
        relay.pass_time(60)
        poll.handler({}, Context())
    (batch,) = relay.items.unfinished().batches
    first = timestamps.parse(batch.first_missed_at or "")
    until_proved = 600 - (relay.now() - first).total_seconds()

    relay.pass_time(until_proved - 3)
    poll.handler({}, Context())
    before = _requested(relay)
    relay.pass_time(1)

    assert (before, _requested(relay)) == (0, 1)
    assert relay.items.unfinished().batches[0].status == "WAITING"


@pytest.mark.usefixtures("trigger")
def test_a_requested_poll_lists_at_once_while_a_duplicate_is_to_be_canceled(
    relay: Harness,
) -> None:
    relay.simulator.processing_s = 3600.0
    _sent(relay)
    foreign = relay.simulator.add_foreign(3, ended=False)
    relay.ownership.record(relay.ownership.build(foreign, "x/00001-1", duplicate=True))

    assert _requested(relay) == 1
    assert relay.simulator.calls()["cancel"] == 1


def test_a_work_message_that_may_lie_in_the_queue_still_is_not_sent_again(relay: Harness) -> None:
    clock = [0.0]
    work_queues = WorkQueues(
        relay.queues["submit"], relay.queues["results"], client=relay.sqs, clock=lambda: clock[0]
    )
    relay.upload(KEY, upload_of(3))
    woken = []
    for clock[0] in (0.0, 1.0, 49.0, 60.0):
        woken.append(poll.poll(relay.poll, work_queues).woken)

    assert woken == [1, 0, 0, 1]
    assert len(relay._drain("submit")) == 2  # noqa: SLF001


def test_what_was_given_back_is_woken_again_at_once(relay: Harness) -> None:
    work_queues = WorkQueues(relay.queues["submit"], relay.queues["results"], client=relay.sqs)
    relay.simulator.arm("too_large")
    relay.upload(KEY, upload_of(4))
    for _ in range(2):  # refused, and halved; then the halves
        poll.poll(relay.poll, work_queues)
        relay.work_off()

    assert relay.simulator.calls()["create"] == 3


def test_a_batch_that_ends_makes_room_in_the_same_poll(tmp_path: Path) -> None:
    with harness(tmp_path, processing_s=30.0) as relay:
        relay.deploy(requests_per_batch=1, open_batches=1)
        relay.upload(KEY, upload_of(2))
        first, second = relay.tick(), relay.tick()

    assert (first.admitted, second.ended, second.admitted) == (1, 1, 1)


def test_a_probe_whose_message_is_not_sent_at_once_is_sent_within_a_minute(relay: Harness) -> None:
    """Its message was sent a moment before, and used up while sending was paused."""
    work_queues = WorkQueues(
        relay.queues["submit"], relay.queues["results"], client=relay.sqs, clock=relay.seconds
    )
    relay.upload(KEY, upload_of(3))
    poll.poll(relay.poll, work_queues)
    now = timestamps.text(relay.now())
    event = events.paused("refused", "Anthropic refuses.", now)
    assert relay.circuit.pause(event, "refused", now)
    relay.work_off()
    for seconds in (1.0, 60.0):
        relay.pass_time(seconds)
        poll.poll(relay.poll, work_queues)
        relay.work_off()

    assert relay.simulator.calls()["create"] == 1
