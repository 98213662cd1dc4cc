"""A stage that leaves work for poll requests a poll immediately, and no more than needed."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from functions import poll, results, submit
from functions.adapters.queues import WorkQueues, read_work_message
from functions.adapters.trigger import REQUEST
from functions.model import events, timestamps
from functions.model.records import PollLease
from functions.model.unfinished import Unfinished
from functions.polling import single_flight
from functions.polling.phases import Phases
from functions.polling.poll_summary import PollSummary
from tests.harness import Harness, make_upload, open_harness
from tests.integration.deployed_functions import Context

KEY = "in/march.jsonl"


class CountingTrigger:
    """Count the requests for a poll."""

    def __init__(self) -> None:
        self.fired = 0

    def fire(self) -> None:
        self.fired += 1


@pytest.fixture
def trigger(relay: Harness, monkeypatch: pytest.MonkeyPatch) -> CountingTrigger:
    """A counter in place of the handlers' poll requests."""
    counting_trigger = CountingTrigger()
    for stage, services in ((submit, relay.submit), (results, relay.results)):
        monkeypatch.setattr(stage, "_services", lambda services=services: services)
        monkeypatch.setattr(stage, "_poll", lambda: counting_trigger)
    work_queues = WorkQueues(relay.queues["submit"], relay.queues["results"], client=relay.sqs)
    monkeypatch.setattr(poll, "_services", lambda: (relay.poll, work_queues))
    monkeypatch.setattr(poll, "_invoker", lambda _function: counting_trigger)
    return counting_trigger


def handle_messages(stage: Any, *bodies: str) -> None:
    for body in bodies:
        stage.handler({"Records": [{"body": body}]}, Context())


def poll_and_drain(relay: Harness) -> None:
    """Poll as Lambda does, and run everything in the queues."""
    poll.handler({}, Context())
    for stage, name in ((submit, "submit"), (results, "results")):
        handle_messages(stage, *relay._drain(name))  # noqa: SLF001 - the messages as they are


def test_a_job_finishes_without_the_schedule(relay: Harness, trigger: CountingTrigger) -> None:
    """One poll for each request, without time between them, and one when the batch has ended."""
    handle_messages(submit, relay.put(KEY, make_upload(3)))
    requests_handled = 0
    while trigger.fired > requests_handled:
        requests_handled = trigger.fired
        poll_and_drain(relay)
    assert relay.simulator.calls()["create"] == 1
    relay.pass_time(60)
    poll_and_drain(relay)
    while trigger.fired > requests_handled:
        requests_handled = trigger.fired
        poll_and_drain(relay)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}
    assert json.loads(relay.read(KEY, "status.json"))["status"] == "DONE"
    assert trigger.fired == 2  # one after planning, one after collecting and assembling


@pytest.mark.parametrize(
    ("body", "expected_requests"),
    [
        (lambda relay: relay.put(KEY, make_upload(3)), 1),
        (lambda relay: relay.put(KEY, b"{broken"), 1),
        (lambda relay: relay.put(KEY + ".cancel", b""), 1),
        (lambda relay: relay.put("in/notes.pdf", b"x"), 0),
        (lambda _: json.dumps({"Event": "s3:TestEvent"}), 0),
    ],
)
def test_an_upload_requests_one_poll_if_it_leaves_work(
    relay: Harness,
    trigger: CountingTrigger,
    body: Callable[[Harness], str],
    expected_requests: int,
) -> None:
    handle_messages(submit, body(relay))

    assert trigger.fired == expected_requests


def test_a_large_upload_requests_a_poll_after_its_first_chunk_too(
    relay: Harness, trigger: CountingTrigger, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.deploy(requests_per_batch=1)
    submit._services = lambda: relay.submit  # type: ignore[assignment] # noqa: SLF001
    batches: list[int] = []
    monkeypatch.setattr(
        trigger, "fire", lambda: batches.append(len(relay.items.unfinished().batches))
    )

    handle_messages(submit, relay.put(KEY, make_upload(4)))

    assert batches == [1, 4]


@pytest.mark.parametrize(
    ("fault", "expected_requests"), [(None, 0), ("overloaded", 0), ("too_large", 1)]
)
def test_a_refused_create_requests_a_poll_and_an_accepted_one_does_not(
    relay: Harness, trigger: CountingTrigger, fault: str | None, expected_requests: int
) -> None:
    handle_messages(submit, relay.put(KEY, make_upload(4)))
    if fault is not None:
        relay.simulator.arm(fault)
    trigger.fired = 0
    poll.handler({}, Context())

    handle_messages(submit, *relay._drain("submit"))  # noqa: SLF001

    assert trigger.fired == expected_requests


@pytest.mark.usefixtures("trigger")
def test_a_request_during_a_poll_is_served_when_it_ends(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped: list[bool] = []
    real_count = PollSummary.count  # called once everything has been read

    def poll_during_count(*arguments: Any) -> None:
        real_count(*arguments)
        if not skipped:
            skipped.append(relay.poll_once().skipped)
            handle_messages(submit, relay.put(KEY, make_upload(3)))

    monkeypatch.setattr(PollSummary, "count", poll_during_count)
    poll.handler({}, Context())
    handle_messages(submit, *relay._drain("submit"))  # noqa: SLF001

    assert skipped == [True]
    assert relay.simulator.calls()["create"] == 1
    assert not relay.poll_once().wanted


@dataclass
class LateContext(Context):
    """The context of an invocation in which hardly any time is left for another poll."""

    left_s: float = poll.ENOUGH_S + 1

    def get_remaining_time_in_millis(self) -> int:
        return int(self.left_s * 1000)


def _request_during_poll(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, context: LateContext
) -> None:
    """Request a poll while the first one runs and has read everything. Each poll takes two seconds."""
    real_count, skipped = PollSummary.count, list[bool]()

    def poll_during_count(*arguments: Any) -> None:
        real_count(*arguments)
        context.left_s -= 2
        if not skipped:
            skipped.append(relay.poll_once().skipped)
            handle_messages(submit, relay.put(KEY, make_upload(3)))

    monkeypatch.setattr(PollSummary, "count", poll_during_count)


def test_a_request_too_late_for_this_invocation_is_served_by_another(
    relay: Harness, trigger: CountingTrigger, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = LateContext()
    _request_during_poll(relay, monkeypatch, context)

    poll.handler(json.loads(REQUEST), context)
    requests, trigger.fired = trigger.fired, 0
    poll.handler(json.loads(REQUEST), Context())
    handle_messages(submit, *relay._drain("submit"))  # noqa: SLF001

    assert requests == 2  # one after planning, one by poll itself
    assert relay.simulator.calls()["create"] == 1
    assert trigger.fired == 0


@pytest.mark.filterwarnings("ignore:No application metrics")
@pytest.mark.parametrize("requested", [True, False])
def test_a_failing_poll_leaves_a_request_to_another_invocation(
    relay: Harness, trigger: CountingTrigger, monkeypatch: pytest.MonkeyPatch, *, requested: bool
) -> None:
    """Without a request, it invokes none: a poll that always fails would invoke itself forever."""
    if requested:
        _request_during_poll(relay, monkeypatch, LateContext())
    monkeypatch.setattr(poll, "due_items", _raise_connection_error)

    with pytest.raises(ConnectionResetError):
        poll.handler({}, Context())
    requests, trigger.fired = trigger.fired, 0
    with pytest.raises(ConnectionResetError):
        poll.handler(json.loads(REQUEST), Context())

    assert requests == (2 if requested else 0)
    assert trigger.fired == 0


def _raise_connection_error(*_: object, **__: object) -> None:
    raise ConnectionResetError


@pytest.mark.usefixtures("trigger")
def test_a_requested_poll_finds_a_batch_that_the_index_still_lacked(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle_messages(submit, relay.put(KEY, make_upload(3)))
    real_read, stale_reads = relay.poll.items.unfinished, [Unfinished()]
    monkeypatch.setattr(
        relay.poll.items,
        "unfinished",
        lambda *arguments: stale_reads.pop() if stale_reads else real_read(*arguments),
    )

    poll.handler(json.loads(REQUEST), Context())
    handle_messages(submit, *relay._drain("submit"))  # noqa: SLF001

    assert relay.simulator.calls()["create"] == 1


@pytest.mark.usefixtures("trigger")
@pytest.mark.parametrize(
    ("event", "waiting", "polls"),
    [(REQUEST, False, 2), (REQUEST, True, 1), (b"{}", False, 1), (b"{}", True, 1)],
)
def test_only_a_requested_poll_that_finds_nothing_to_do_is_repeated_once(
    relay: Harness, caplog: pytest.LogCaptureFixture, event: bytes, *, waiting: bool, polls: int
) -> None:
    if waiting:
        handle_messages(submit, relay.put(KEY, make_upload(3)))

    poll.handler(json.loads(event), Context())

    assert [record.message for record in caplog.records].count("poll finished") == polls


def test_a_request_is_kept_until_a_poll_acquires_the_lock(relay: Harness) -> None:
    lock = relay.poll.poll_lock
    assert lock.acquire("first", 60)
    lock.request_another()
    kept = [lock.release("first", PollLease()), lock.is_wanted()]
    assert lock.acquire("second", 60)

    assert kept == [True, True]
    assert [lock.is_wanted(), lock.release("second", PollLease())] == [False, False]


def test_a_poll_runs_if_the_other_ended_just_before_the_request(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = relay.poll.poll_lock
    assert lock.acquire("another", 60)
    request_another = lock.request_another

    def release_then_request() -> None:
        lock.release("another", PollLease())
        request_another()

    monkeypatch.setattr(lock, "request_another", release_then_request)

    assert not relay.poll_once().skipped


@pytest.mark.parametrize(
    ("retry_s", "expected_pauses"),
    [(60, [0.75, 0.0, 1.0]), (3600, [0.75, 0.0, 1.0]), (30, [0.25, 0.0, 0.5])],
)
def test_polls_are_at_least_a_second_apart_unless_retries_are_quick(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, retry_s: int, expected_pauses: list[float]
) -> None:
    monkeypatch.setattr(single_flight, "REST_S", 1.0)
    relay.deploy(retry_s=retry_s)
    pauses: list[float] = []
    work_queues = WorkQueues(relay.queues["submit"], relay.queues["results"], client=relay.sqs)
    for seconds in (0.0, 0.25, 5.0, -3600.0):  # clocks differ
        relay.pass_time(seconds)
        poll.poll(relay.poll, work_queues, Phases(sleep=pauses.append))

    assert pauses == pytest.approx(expected_pauses, abs=0.002)


def _run_seconds(relay: Harness, trigger: CountingTrigger, seconds: int) -> None:
    """Let seconds pass, with polls as they come; each stage handles four messages a second."""
    pending: dict[str, list[str]] = {"submit": [], "results": []}
    requests_handled = 0
    for second in range(seconds):
        relay.pass_time(1)
        if second % 60 == 0:
            poll.handler({}, Context())
        elif trigger.fired > requests_handled:
            requests_handled = trigger.fired
            poll.handler(json.loads(REQUEST), Context())
        for stage, name in ((submit, "submit"), (results, "results")):
            pending[name] += relay._drain(name)  # noqa: SLF001 - the messages as they are
            handle_messages(stage, *pending[name][:4])
            del pending[name][:4]


def test_requested_polls_share_a_listing(
    relay: Harness, trigger: CountingTrigger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each collected batch requests a poll; without a shared listing, these 40 cause 12."""
    monkeypatch.setattr(poll, "THREADS", 1)  # moto loses writes of concurrent transactions
    relay.deploy(requests_per_batch=1)
    monkeypatch.setattr(submit, "_services", lambda: relay.submit)
    handle_messages(submit, relay.put(KEY, make_upload(40)))

    _run_seconds(relay, trigger, 61 + 40 // 4 + 8)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 40}
    assert relay.simulator.calls()["list"] <= 2


def _listings_of_requested_poll(relay: Harness) -> int:
    """Poll on a stage's request a second after the last; return how many listings it causes."""
    relay.pass_time(1)
    listings_before = relay.simulator.calls().get("list", 0)
    poll.handler(json.loads(REQUEST), Context())
    return relay.simulator.calls().get("list", 0) - listings_before


def _upload_and_send(relay: Harness) -> None:
    """Upload a file and send its batch; the last listing is a second old."""
    handle_messages(submit, relay.put(KEY, make_upload(3)))
    poll_and_drain(relay)
    poll.handler({}, Context())


@pytest.mark.usefixtures("trigger")
@pytest.mark.parametrize(("retry_s", "interval_s"), [(60, 20), (3600, 20), (30, 10)])
def test_a_requested_poll_lists_after_20_seconds_and_a_scheduled_one_always(
    relay: Harness, retry_s: int, interval_s: int
) -> None:
    """With `retrySeconds` under a minute, it lists sooner in proportion."""
    relay.deploy(retry_s=retry_s)
    relay.simulator.processing_s = 3600.0
    _upload_and_send(relay)

    first = _listings_of_requested_poll(relay)
    relay.pass_time(interval_s - 2)
    second = _listings_of_requested_poll(relay)
    listings = relay.simulator.calls()["list"]
    poll.handler({}, Context())

    assert (first, second) == (0, 1)
    assert relay.simulator.calls()["list"] == listings + 1


@pytest.mark.usefixtures("trigger")
def test_requested_polls_in_several_containers_share_a_listing(relay: Harness) -> None:
    relay.simulator.processing_s = 3600.0
    _upload_and_send(relay)
    listings = []
    for seconds in (1, 17, 1):  # each poll is a second later
        relay.pass_time(seconds)
        relay.deploy()
        listings.append(_listings_of_requested_poll(relay))

    assert listings == [0, 1, 0]


@pytest.mark.usefixtures("trigger")
@pytest.mark.parametrize(
    ("event", "expected_calls"), [(REQUEST, ["send", "list"]), (b"{}", ["list", "send"])]
)
def test_a_requested_poll_wakes_admitted_batches_before_it_lists(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, event: bytes, expected_calls: list[str]
) -> None:
    relay.simulator.processing_s = 3600.0
    _upload_and_send(relay)
    relay.pass_time(60)
    handle_messages(submit, relay.put("in/april.jsonl", make_upload(2)))
    calls: list[str] = []
    record_calls(monkeypatch, calls, "send", relay.sqs, "send_message_batch")
    record_calls(monkeypatch, calls, "list", relay.poll.claude, "list_batches")

    poll.handler(json.loads(event), Context())

    assert calls == expected_calls


def record_calls(
    monkeypatch: pytest.MonkeyPatch, calls: list[str], name: str, owner: Any, method: str
) -> None:
    """Append `name` to `calls` at each call of a method."""
    real_method = getattr(owner, method)

    def recorded(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        return real_method(*arguments, **options)

    monkeypatch.setattr(owner, method, recorded)


@pytest.mark.usefixtures("trigger")
@pytest.mark.parametrize("event", [REQUEST, b"{}"])
def test_a_poll_fills_the_room_that_its_listing_finds_and_no_more(
    relay: Harness, event: bytes
) -> None:
    relay.deploy(requests_per_batch=1, open_batches=2)
    submit._services = lambda: relay.submit  # type: ignore[assignment] # noqa: SLF001
    relay.simulator.processing_s = 30.0
    handle_messages(submit, relay.put(KEY, make_upload(1)))
    poll_and_drain(relay)
    relay.pass_time(60)
    handle_messages(submit, relay.put("in/april.jsonl", make_upload(4)))

    poll.handler(json.loads(event), Context())

    assert len(relay._drain("submit")) == 2  # noqa: SLF001
    assert len(relay._drain("results")) == 1  # noqa: SLF001


@pytest.mark.usefixtures("trigger")
def test_a_requested_poll_lists_immediately_while_a_canceled_batch_runs(relay: Harness) -> None:
    relay.simulator.processing_s = 3600.0
    _upload_and_send(relay)
    handle_messages(submit, relay.put(KEY + ".cancel", b""))

    # The poll records the cancellation; its repeat lists.
    assert _listings_of_requested_poll(relay) == 1
    assert relay.simulator.calls()["cancel"] == 1


@pytest.mark.usefixtures("trigger")
def test_a_requested_poll_lists_immediately_while_the_key_is_refused(relay: Harness) -> None:
    relay.simulator.processing_s = 3600.0
    _upload_and_send(relay)
    relay.key = "sk-revoked"
    relay.poll.claude.reload_key()
    poll.handler({}, Context())
    assert relay.circuit.read().paused_reason == "key_refused"

    relay.key = "sk-local"

    assert _listings_of_requested_poll(relay) == 1
    assert relay.circuit.read().paused_reason is None


@pytest.mark.usefixtures("trigger")
def test_a_requested_poll_lists_immediately_if_that_proves_absence(relay: Harness) -> None:
    relay.simulator.arm("server_error", endpoint="create")
    handle_messages(submit, relay.put(KEY, make_upload(3)))
    poll_and_drain(relay)
    for _ in range(8):  # five minutes of clock skew, then three complete listings
        relay.pass_time(60)
        poll.handler({}, Context())
    (batch,) = relay.items.unfinished().batches
    first = timestamps.parse(batch.first_missed_at or "")
    seconds_until_absent = 600 - (relay.now() - first).total_seconds()

    relay.pass_time(seconds_until_absent - 3)
    poll.handler({}, Context())
    listings_before = _listings_of_requested_poll(relay)
    relay.pass_time(1)

    assert (listings_before, _listings_of_requested_poll(relay)) == (0, 1)
    assert relay.items.unfinished().batches[0].status == "WAITING"


@pytest.mark.usefixtures("trigger")
def test_a_requested_poll_lists_immediately_while_a_duplicate_is_to_be_canceled(
    relay: Harness,
) -> None:
    relay.simulator.processing_s = 3600.0
    _upload_and_send(relay)
    foreign = relay.simulator.add_foreign(3, ended=False)
    relay.ownership.record(relay.ownership.build(foreign, "x/00001-1", duplicate=True))

    assert _listings_of_requested_poll(relay) == 1
    assert relay.simulator.calls()["cancel"] == 1


@pytest.mark.parametrize("reason", ["key_unreadable", "key_missing", "key_refused"])
def test_a_poll_without_a_key_first_wakes_what_needs_none(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """The secret may hang. Results are downloaded once a listing shows that the key works."""
    relay.upload("in/ended.jsonl", make_upload(2))
    relay.tick()
    relay.pass_time(60)
    relay.poll_once()
    relay._drain("results")  # noqa: SLF001 - the message to collect is lost
    relay.context.left_s = 100.0
    relay.upload("in/unplanned.jsonl", make_upload(2, "more"))
    now = timestamps.text(relay.now())
    assert relay.circuit.pause(events.paused(reason, "No key.", now), reason, now)
    calls: list[str] = []
    record_calls(monkeypatch, calls, "key", relay.poll.claude, "_read_key")
    record_calls(monkeypatch, calls, "list", relay.poll.claude, "list_batches")
    record_calls(monkeypatch, calls, "send", relay.sqs, "send_message_batch")

    relay.poll_once()

    assert calls == ["send", "list", "key", "send"]
    assert len(relay._drain("submit")) == len(relay._drain("results")) == 1  # noqa: SLF001


def test_a_work_message_is_not_repeated_while_it_may_still_be_queued(relay: Harness) -> None:
    clock = [0.0]
    work_queues = WorkQueues(
        relay.queues["submit"], relay.queues["results"], client=relay.sqs, clock=lambda: clock[0]
    )
    relay.upload(KEY, make_upload(3))
    woken_counts = []
    for clock[0] in (0.0, 1.0, 49.0, 60.0):
        woken_counts.append(poll.poll(relay.poll, work_queues).woken)

    assert woken_counts == [1, 0, 0, 1]
    assert len(relay._drain("submit")) == 2  # noqa: SLF001


def test_a_released_item_is_woken_immediately(relay: Harness) -> None:
    work_queues = WorkQueues(relay.queues["submit"], relay.queues["results"], client=relay.sqs)
    relay.simulator.arm("too_large")
    relay.upload(KEY, make_upload(4))
    for _ in range(2):  # rejected and split; then the halves
        poll.poll(relay.poll, work_queues)
        relay.drain_queues()

    assert relay.simulator.calls()["create"] == 3


def test_an_ended_batch_makes_room_in_the_same_poll(tmp_path: Path) -> None:
    with open_harness(tmp_path, processing_s=30.0) as relay:
        relay.deploy(requests_per_batch=1, open_batches=1)
        relay.upload(KEY, make_upload(2))
        first, second = relay.tick(), relay.tick()

    assert (first.admitted, second.ended, second.admitted) == (1, 1, 1)


def test_a_batch_that_submit_has_acquired_takes_up_room(relay: Harness) -> None:
    """Submit reads its files before it records the intent. Until then, its status is WAITING."""
    relay.deploy(requests_per_batch=1, open_batches=1)
    relay.upload(KEY, make_upload(2))
    first = relay.poll_once()
    (message,) = relay._drain("submit")  # noqa: SLF001
    assert relay.items.acquire(read_work_message(message), 900.0)

    second = relay.poll_once()

    assert (first.admitted, second.admitted) == (1, 0)
    assert relay._drain("submit") == []  # noqa: SLF001


def test_a_delayed_probe_is_sent_within_a_minute(relay: Harness) -> None:
    """Its message was sent just before, and consumed while sending was paused."""
    work_queues = WorkQueues(
        relay.queues["submit"], relay.queues["results"], client=relay.sqs, clock=relay.seconds
    )
    relay.upload(KEY, make_upload(3))
    poll.poll(relay.poll, work_queues)
    now = timestamps.text(relay.now())
    event = events.paused("refused", "Anthropic refuses.", now)
    assert relay.circuit.pause(event, "refused", now)
    relay.drain_queues()
    for seconds in (1.0, 60.0):
        relay.pass_time(seconds)
        poll.poll(relay.poll, work_queues)
        relay.drain_queues()

    assert relay.simulator.calls()["create"] == 1
