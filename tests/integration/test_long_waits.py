"""Paid answers are delivered after any outage, however long."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from functions.errors import KeyUnreadableError
from functions.model.items.batch import Batch
from tests.harness import Harness, every_row_accepted_once, make_upload, open_harness
from tests.verification.crash.call_counter import ProcessKilled
from tests.verification.crash.crash_harness import CrashHarness, open_crash_harness

KEY = "in/march.jsonl"
HOUR_S, DAY_S = 3600.0, 86400.0


def only_batch(relay: Harness) -> Batch:
    (batch,) = relay.items.unfinished().batches
    return batch


def every_billed_answer_is_delivered(relay: Harness) -> bool:
    """Return whether every answer that was billed is in the results."""
    lines = [line for line in relay.lines(KEY) if line["result"]["type"] == "succeeded"]
    return sum(relay.simulator.billed().values()) == len(lines)


@pytest.fixture
def relay_with_killed_downloads(tmp_path: Path) -> Iterator[CrashHarness]:
    """A relay whose downloads are always killed, until `call_counter.on_call` is reset."""

    def kill_download(name: str, after: bool) -> None:  # noqa: FBT001 - called positionally
        if name.endswith("/results block") and not after:
            relay.call_counter.killed = True
            raise ProcessKilled

    with open_crash_harness(tmp_path) as relay:
        relay.call_counter.on_call = kill_download
        yield relay


def test_a_download_that_lambda_always_kills_is_tried_less_and_less_often(
    relay_with_killed_downloads: CrashHarness,
) -> None:
    relay = relay_with_killed_downloads
    relay.upload(KEY, make_upload(3))
    downloads: list[int] = []
    for _ in range(4):
        downloads_before = relay.simulator.calls().get("results", 0)
        for _ in range(24):
            relay.tick(HOUR_S)
        downloads.append(relay.simulator.calls().get("results", 0) - downloads_before)
    waiting_batch = only_batch(relay)
    relay.call_counter.on_call = None
    relay.finish(60)

    assert downloads[0] > downloads[-1] > 0
    assert max(downloads[1:]) <= 4
    assert (waiting_batch.status, waiting_batch.close_reason) == ("ENDED", None)
    assert [event["type"] for event in relay.events()].count("batch.stuck") == 1
    assert every_billed_answer_is_delivered(relay)


def test_a_download_that_runs_out_of_time_is_retried(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    relay.tick()
    seconds_left = iter([900.0] * 2 + [50.0] * 50)
    context: Any = relay.context
    context.get_remaining_time_in_millis = lambda: int(next(seconds_left) * 1000)
    relay.tick()
    waiting_batch = only_batch(relay)
    del context.get_remaining_time_in_millis

    relay.finish()

    assert "out of time after" in (waiting_batch.last_error or "")
    assert (waiting_batch.status, waiting_batch.tries) == ("ENDED", 1)
    assert every_billed_answer_is_delivered(relay)


def test_no_row_ends_while_the_secret_is_unreadable_for_a_week(tmp_path: Path) -> None:
    with open_harness(tmp_path) as relay:
        relay.upload("in/paid.jsonl", make_upload(3, "paid"))
        relay.tick()
        relay.upload(KEY, make_upload(3))
        for stage in (relay.submit, relay.poll, relay.results):
            stage.claude._read_key = _raise_unreadable  # noqa: SLF001 - in Lambda, this is a call to AWS
            stage.claude.reload_key()
        for _ in range(84):
            relay.tick(2 * HOUR_S)
        state_during = (
            relay.circuit.read(),
            [batch.close_reason for batch in relay.items.unfinished().batches],
        )
        events = relay.events()
        relay.deploy()
        relay.finish(60)

        assert (state_during[0].paused_reason, state_during[1]) == ("key_unreadable", [None, None])
        (paused,) = [event for event in events if event["type"] == "sending.paused"]
        assert "cannot be read" in paused["data"]["message"]
        for key in (KEY, "in/paid.jsonl"):
            assert relay.manifest(key)["counts"] == {"succeeded": 3}
        assert every_row_accepted_once(relay)


def _raise_unreadable(_fresh: bool) -> str:  # noqa: FBT001 - called positionally
    code = "KMSAccessDeniedException"
    raise KeyUnreadableError(code)


def test_a_batch_missing_from_the_listings_is_still_downloaded(relay: Harness) -> None:
    """Missing listings are not conclusive: the results may still be there."""
    relay.simulator.arm("hidden_from_list", listings=1000)
    relay.upload(KEY, make_upload(3))
    for _ in range(30):
        relay.tick(HOUR_S)
    relay.finish(60)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}
    assert every_billed_answer_is_delivered(relay)


def test_a_batch_listed_with_results_never_ends_by_404s(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    relay.tick()
    relay.simulator.arm("results_not_found", times=0)
    for _ in range(100):
        relay.tick(6 * HOUR_S)
    waiting_batch = only_batch(relay)
    relay.simulator.disarm()
    relay.finish(60)

    assert waiting_batch.not_found > 5
    assert (waiting_batch.close_reason, waiting_batch.listing_misses) == (None, 0)
    assert every_billed_answer_is_delivered(relay)


def test_rows_of_undownloadable_results_end_after_a_month(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    relay.tick()
    relay.simulator.arm("server_error", times=0, endpoint="results")
    for _ in range(115):
        relay.tick(6 * HOUR_S)
    batch_before = only_batch(relay)
    for _ in range(12):
        relay.tick(6 * HOUR_S)
    relay.finish(60)

    assert batch_before.close_reason is None
    assert relay.manifest(KEY)["errors"] == {"relay_stuck": 3}


def test_an_aws_error_never_ends_unsent_rows(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    files: Any = relay.submit.files
    files.read = Mock(side_effect=PermissionError)
    for _ in range(100):
        with suppress(PermissionError):
            relay.tick(6 * HOUR_S)
    waiting_batch = only_batch(relay)
    del files.read
    relay.finish(60)

    assert (waiting_batch.status, waiting_batch.faults) == ("WAITING", 0)
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}
    assert json.loads(relay.read(KEY, "status.json"))["status"] == "DONE"


def test_one_failure_of_its_own_after_faults_of_aws_closes_nothing(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    files: Any = relay.submit.files
    files.read = Mock(side_effect=[*[PermissionError] * 4, *[MemoryError] * 4])
    for _ in range(8):
        with suppress(PermissionError, MemoryError):
            relay.tick(6 * HOUR_S)
    relay.poll_once()
    waiting = only_batch(relay)
    del files.read
    relay.finish(60)

    assert (waiting.status, waiting.tries, waiting.faults) == ("WAITING", 8, 4)
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}


def test_a_fault_of_aws_restarts_the_count_of_its_own_failures(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    files: Any = relay.submit.files
    own, aws = [MemoryError] * 4, [PermissionError]
    files.read = Mock(side_effect=[*own, *aws, *own, MemoryError])
    closed = []
    for _ in range(10):
        with suppress(PermissionError, MemoryError):
            relay.tick(6 * HOUR_S)
        closed.append(only_batch(relay).close_reason)
    relay.poll_once()

    assert closed == [None] * 10
    assert only_batch(relay).close_reason == "relay_stuck"


def test_a_restored_key_is_noticed_even_if_only_collecting_is_left(relay: Harness) -> None:
    """Only collecting is left: nothing else would call the API."""
    relay.upload(KEY, make_upload(3))
    relay.tick()
    relay.simulator.arm("server_error", endpoint="results")
    relay.tick()
    waiting_batch = only_batch(relay)
    valid_key, relay.key = relay.key, "not-set-yet"
    relay.deploy()
    relay.upload("in/other.jsonl", make_upload(2, "other"))
    relay.tick()
    relay.submit_message(relay.put("in/other.jsonl.cancel", b""))
    for _ in range(5):
        relay.tick()
    paused = relay.circuit.read().paused_reason
    relay.key = valid_key
    relay.deploy()
    relay.finish()

    assert (waiting_batch.status, paused) == ("ENDED", "key_missing")
    assert every_billed_answer_is_delivered(relay)


def test_an_event_rejected_by_sns_raises_the_alarm_after_15_minutes(relay: Harness) -> None:
    relay.upload(KEY, make_upload(2))
    denied = ClientError({"Error": {"Code": "AuthorizationError"}}, "Publish")
    for services in (relay.submit, relay.poll, relay.results):
        services.publisher.publish = Mock(side_effect=denied)  # type: ignore[method-assign]
    early_summary = relay.tick()
    late_summary = [relay.tick(600.0) for _ in range(3)][-1]
    for services in (relay.submit, relay.poll, relay.results):
        del services.publisher.publish
    relay.finish()

    assert (early_summary.passed_over, late_summary.passed_over > 0) == (0, True)
    assert {"job.planned", "job.completed"} <= {event["type"] for event in relay.events()}


def test_a_secret_unreadable_for_submit_pauses_sending_until_a_batch_is_accepted(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poll can read the secret, which says nothing about submit."""
    relay.upload("in/first.jsonl", make_upload(3))
    relay.tick()
    with monkeypatch.context() as unreadable:
        unreadable.setattr(relay.submit.claude, "_read_key", _raise_unreadable)
        relay.submit.claude.reload_key()
        relay.upload("in/march.jsonl", make_upload(2))
        for _ in range(30):
            relay.tick()
        events_during = [event["type"] for event in relay.events() if "sending" in event["type"]]
        assert relay.manifest("in/first.jsonl")["counts"] == {"succeeded": 3}  # not delayed
    relay.submit.claude.reload_key()
    for _ in range(10):
        relay.tick()
    events_after = [event["type"] for event in relay.events() if "sending" in event["type"]]

    assert events_during == ["sending.paused"]
    assert events_after == ["sending.resumed"]
    assert relay.manifest("in/march.jsonl")["counts"] == {"succeeded": 2}
