"""What was paid for waits: trouble in the environment, however long, gives up no answer."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from functions.errors import KeyUnreadableError
from functions.model.items import Batch
from tests.harness import Harness, harness, paid_once, upload_of
from tests.verification.crash.call_counter import ProcessKilled
from tests.verification.crash.crash_harness import CrashHarness, open_crash_harness

KEY = "in/march.jsonl"
HOUR_S, DAY_S = 3600.0, 86400.0


def only_batch(relay: Harness) -> Batch:
    (batch,) = relay.items.unfinished().batches
    return batch


def delivered(relay: Harness) -> bool:
    """Return whether every answer that was billed is in the results."""
    lines = [line for line in relay.lines(KEY) if line["result"]["type"] == "succeeded"]
    return sum(relay.simulator.billed().values()) == len(lines)


@pytest.fixture
def slow_to_die(tmp_path: Path) -> Iterator[CrashHarness]:
    """A relay whose downloads are killed by Lambda each time, until `call_counter.at_each_call` is taken away."""

    def die(name: str, after: bool) -> None:  # noqa: FBT001 - as it is called
        if name.endswith("/results block") and not after:
            relay.call_counter.killed = True
            raise ProcessKilled

    with open_crash_harness(tmp_path) as relay:
        relay.call_counter.on_call = die
        yield relay


def test_a_download_that_lambda_ends_each_time_is_tried_ever_more_seldom(
    slow_to_die: CrashHarness,
) -> None:
    relay = slow_to_die
    relay.upload(KEY, upload_of(3))
    downloads: list[int] = []
    for _ in range(4):
        before = relay.simulator.calls().get("results", 0)
        for _ in range(24):
            relay.tick(HOUR_S)
        downloads.append(relay.simulator.calls().get("results", 0) - before)
    waiting = only_batch(relay)
    relay.call_counter.on_call = None
    relay.finish(60)

    assert downloads[0] > downloads[-1] > 0
    assert max(downloads[1:]) <= 4
    assert (waiting.status, waiting.close_reason) == ("ENDED", None)
    assert [event["type"] for event in relay.events()].count("batch.stuck") == 1
    assert delivered(relay)


def test_results_that_do_not_arrive_in_time_wait_for_a_better_day(relay: Harness) -> None:
    relay.upload(KEY, upload_of(3))
    relay.tick()
    left = iter([900.0] * 2 + [50.0] * 50)
    context: Any = relay.context
    context.get_remaining_time_in_millis = lambda: int(next(left) * 1000)
    relay.tick()
    waiting = only_batch(relay)
    del context.get_remaining_time_in_millis

    relay.finish()

    assert "out of time after" in (waiting.last_error or "")
    assert (waiting.status, waiting.tries) == ("ENDED", 1)
    assert delivered(relay)


def test_a_secret_that_nobody_can_read_for_a_week_gives_up_nothing(tmp_path: Path) -> None:
    with harness(tmp_path) as relay:
        relay.upload("in/paid.jsonl", upload_of(3, "paid"))
        relay.tick()
        relay.upload(KEY, upload_of(3))
        for stage in (relay.submit, relay.poll, relay.results):
            stage.claude._read_key = _unreadable  # noqa: SLF001 - in Lambda, a call to AWS
            stage.claude.reload_key()
        for _ in range(84):
            relay.tick(2 * HOUR_S)
        during = (
            relay.circuit.read(),
            [batch.close_reason for batch in relay.items.unfinished().batches],
        )
        events = relay.events()
        relay.deploy()
        relay.finish(60)

        assert (during[0].paused_reason, during[1]) == ("key_unreadable", [None, None])
        (paused,) = [event for event in events if event["type"] == "sending.paused"]
        assert "cannot be read" in paused["data"]["message"]
        for key in (KEY, "in/paid.jsonl"):
            assert relay.manifest(key)["counts"] == {"succeeded": 3}
        assert paid_once(relay)


def _unreadable(_fresh: bool) -> str:  # noqa: FBT001 - as it is called
    code = "KMSAccessDeniedException"
    raise KeyUnreadableError(code)


def test_a_batch_that_no_listing_has_is_asked_for_its_results(relay: Harness) -> None:
    """The listing is one witness: its results may be there all the same."""
    relay.simulator.arm("hidden_from_list", listings=1000)
    relay.upload(KEY, upload_of(3))
    for _ in range(30):
        relay.tick(HOUR_S)
    relay.finish(60)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}
    assert delivered(relay)


def test_a_batch_listed_with_results_is_never_gone_however_many_404s(relay: Harness) -> None:
    relay.upload(KEY, upload_of(3))
    relay.tick()
    relay.simulator.arm("results_not_found", times=0)
    for _ in range(100):
        relay.tick(6 * HOUR_S)
    waiting = only_batch(relay)
    relay.simulator.disarm()
    relay.finish(60)

    assert waiting.not_found > 5
    assert (waiting.close_reason, waiting.listing_misses) == (None, 0)
    assert delivered(relay)


def test_after_a_month_what_cannot_be_downloaded_ends_its_rows(relay: Harness) -> None:
    relay.upload(KEY, upload_of(3))
    relay.tick()
    relay.simulator.arm("server_error", times=0, endpoint="results")
    for _ in range(115):
        relay.tick(6 * HOUR_S)
    before = only_batch(relay)
    for _ in range(12):
        relay.tick(6 * HOUR_S)
    relay.finish(60)

    assert before.close_reason is None
    assert relay.manifest(KEY)["errors"] == {"relay_stuck": 3}


def test_a_fault_of_aws_never_closes_what_was_not_sent(relay: Harness) -> None:
    relay.upload(KEY, upload_of(3))
    files: Any = relay.submit.files
    files.read = Mock(side_effect=PermissionError)
    for _ in range(100):
        with suppress(PermissionError):
            relay.tick(6 * HOUR_S)
    waiting = only_batch(relay)
    del files.read
    relay.finish(60)

    assert (waiting.status, waiting.at_fault) == ("WAITING", False)
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}
    assert json.loads(relay.read(KEY, "status.json"))["status"] == "DONE"


def test_a_key_that_is_back_is_noticed_though_nothing_is_open_or_waits(relay: Harness) -> None:
    """All that is left is to collect: nothing else would ask the API anything."""
    relay.upload(KEY, upload_of(3))
    relay.tick()
    relay.simulator.arm("server_error", endpoint="results")
    relay.tick()
    waiting = only_batch(relay)
    good, relay.key = relay.key, "not-set-yet"
    relay.deploy()
    relay.upload("in/other.jsonl", upload_of(2, "other"))
    relay.tick()
    relay.submit_message(relay.put("in/other.jsonl.cancel", b""))
    for _ in range(5):
        relay.tick()
    paused = relay.circuit.read().paused_reason
    relay.key = good
    relay.deploy()
    relay.finish()

    assert (waiting.status, paused) == ("ENDED", "key_missing")
    assert delivered(relay)


def test_an_event_that_sns_refuses_is_an_alarm_after_a_quarter_of_an_hour(relay: Harness) -> None:
    relay.upload(KEY, upload_of(2))
    denied = ClientError({"Error": {"Code": "AuthorizationError"}}, "Publish")
    for services in (relay.submit, relay.poll, relay.results):
        services.publisher.publish = Mock(side_effect=denied)  # type: ignore[method-assign]
    early = relay.tick()
    late = [relay.tick(600.0) for _ in range(3)][-1]
    for services in (relay.submit, relay.poll, relay.results):
        del services.publisher.publish
    relay.finish()

    assert (early.passed_over, late.passed_over > 0) == (0, True)
    assert {"job.planned", "job.completed"} <= {event["type"] for event in relay.events()}


def test_a_secret_that_only_submit_cannot_read_pauses_once_until_a_batch_is_accepted(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poll reads the secret all the while; that says nothing of submit."""
    relay.upload("in/first.jsonl", upload_of(3))
    relay.tick()
    with monkeypatch.context() as denied:
        denied.setattr(relay.submit.claude, "_read_key", _unreadable)
        relay.submit.claude.reload_key()
        relay.upload("in/march.jsonl", upload_of(2))
        for _ in range(30):
            relay.tick()
        during = [event["type"] for event in relay.events() if "sending" in event["type"]]
        assert relay.manifest("in/first.jsonl")["counts"] == {"succeeded": 3}  # not held back
    relay.submit.claude.reload_key()
    for _ in range(10):
        relay.tick()
    after = [event["type"] for event in relay.events() if "sending" in event["type"]]

    assert during == ["sending.paused"]
    assert after == ["sending.resumed"]
    assert relay.manifest("in/march.jsonl")["counts"] == {"succeeded": 2}
