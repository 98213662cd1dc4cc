"""Repeated uploads: skipped with an event, and run if an again marker asks for it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from functions.adapters.claims import CONTENT_DAYS
from functions.model.items.job import JobStatus
from tests.harness import (
    RESULTS,
    TABLE,
    UPLOADS,
    Harness,
    every_row_accepted_once,
    make_upload,
    open_harness,
    s3_event,
)

KEY, COPY = "in/march.jsonl", "moved/march.jsonl"
BODY = make_upload(2)
DAY_S = 86_400.0


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    """A relay that skips repeats, as deployed."""
    with open_harness(tmp_path) as copied_object:
        copied_object.deploy(repeats="skip")
        yield copied_object


def duplicate_events(relay: Harness, kind: str = "job.duplicate") -> list[dict[str, Any]]:
    return [event["data"] for event in relay.events() if event["type"] == kind]


def outcomes_by_key(relay: Harness) -> dict[str, list[str]]:
    """Return the outcomes, or the statuses, of each key's jobs."""
    items = relay.dynamodb.scan(TableName=TABLE)["Items"]
    outcomes: dict[str, list[str]] = {}
    for item in (item for item in items if item["item"]["S"] == "#"):
        options = item.get("outcome", item["status"])["S"]
        outcomes.setdefault(item["key"]["S"], []).append(options)
    return {key: sorted(ends) for key, ends in outcomes.items()}


def copy_upload(relay: Harness, key: str = COPY, **options: Any) -> str:
    """Copy the upload to a key; return S3's event."""
    copied_object = relay.s3.copy_object(
        Bucket=UPLOADS, Key=key, CopySource={"Bucket": UPLOADS, "Key": KEY}, **options
    )
    event_time = relay.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return s3_event(UPLOADS, key, len(BODY), copied_object["VersionId"], event_time)


def put_again_marker(relay: Harness, key: str) -> str:
    relay.pass_time(1)
    return relay.put(f"{key}.again", b"")


@pytest.mark.parametrize("key", [COPY, KEY])
def test_a_moved_or_touched_upload_is_not_paid_twice(relay: Harness, key: str) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    first = relay.results_folder(KEY)
    relay.submit_message(copy_upload(relay, key, MetadataDirective="REPLACE", Metadata={"a": "b"}))
    relay.finish()

    assert every_row_accepted_once(relay)
    (duplicate,) = duplicate_events(relay)
    assert duplicate["upload"]["key"] == key
    assert duplicate["duplicate_of"]["results"] == f"s3://{RESULTS}/{first}/"
    assert duplicate["duplicate_of"]["outcome"] == "succeeded"


def test_a_copy_of_a_running_upload_is_skipped(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.submit_message(copy_upload(relay))
    relay.finish()

    assert every_row_accepted_once(relay)
    assert outcomes_by_key(relay) == {KEY: ["succeeded"], COPY: ["duplicate"]}
    (duplicate,) = duplicate_events(relay)
    assert duplicate["duplicate_of"]["outcome"] is None


def test_a_skipped_upload_has_a_status_file(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.submit_message(copy_upload(relay))
    relay.finish()

    status = json.loads(relay.read(COPY, "status.json"))
    assert (status["status"], status["outcome"]) == ("DONE", "duplicate")
    assert KEY.rpartition(".")[0] in status["reason"]
    assert relay.items.unfinished().jobs == []


def failed(relay: Harness) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="messages")
    relay.upload(KEY, BODY)
    relay.finish()
    relay.simulator.disarm()


def canceled(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.pass_time(1)
    relay.upload(f"{KEY}.cancel", b"")
    relay.finish()


def cancellation_requested(relay: Harness) -> None:
    relay.key = "not-set-yet"
    relay.upload(KEY, BODY)
    relay.pass_time(1)
    relay.upload(f"{KEY}.cancel", b"")
    relay.poll_once()
    relay.key = "sk-local"


def expired_content(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    relay.pass_time(CONTENT_DAYS * DAY_S + 1)


@pytest.mark.parametrize("run_first", [failed, canceled, cancellation_requested, expired_content])
def test_a_copy_runs_if_the_first_job_gave_no_answers_or_has_expired(
    relay: Harness, run_first: Callable[[Harness], None]
) -> None:
    run_first(relay)
    relay.submit_message(copy_upload(relay))
    relay.finish()

    assert relay.manifest(COPY)["outcome"] == "succeeded"
    assert duplicate_events(relay) == []


def test_later_copies_are_duplicates_of_the_new_job(relay: Harness) -> None:
    canceled(relay)
    relay.submit_message(copy_upload(relay))
    relay.finish()
    relay.submit_message(copy_upload(relay, "third.jsonl"))
    relay.finish()

    (duplicate,) = duplicate_events(relay)
    assert duplicate["duplicate_of"]["upload"]["key"] == COPY


@pytest.mark.parametrize("first", ["marker", "upload"])
def test_an_again_marker_runs_a_copy_before_or_after_it(relay: Harness, first: str) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    upload, marker = copy_upload(relay), put_again_marker(relay, COPY)
    for event in [marker, upload] if first == "marker" else [upload, marker]:
        relay.submit_message(event)
    relay.finish()

    assert relay.manifest(COPY)["outcome"] == "succeeded"
    assert len(relay.simulator.accepted_params()) == 2
    assert not every_row_accepted_once(relay)


@pytest.mark.parametrize("first", ["marker", "upload"])
def test_an_again_marker_runs_one_upload_however_often_its_event_arrives(
    relay: Harness, first: str
) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    upload, marker = copy_upload(relay), put_again_marker(relay, COPY)
    events = [marker, upload] if first == "marker" else [upload, marker]
    for event in [*events, *events]:
        relay.submit_message(event)
    relay.finish()
    relay.submit_message(copy_upload(relay))
    relay.submit_message(marker)
    relay.finish()

    assert outcomes_by_key(relay)[COPY] == ["duplicate", "succeeded"]


def test_a_second_again_marker_runs_the_upload_again(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    for _ in range(2):
        relay.submit_message(put_again_marker(relay, COPY))
        relay.submit_message(copy_upload(relay))
        relay.finish()

    assert outcomes_by_key(relay)[COPY] == ["succeeded", "succeeded"]


def test_an_again_marker_expires_after_three_days(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.submit_message(put_again_marker(relay, COPY))
    relay.pass_time(3 * DAY_S)
    relay.submit_message(copy_upload(relay))
    relay.finish()

    assert outcomes_by_key(relay)[COPY] == ["duplicate"]


def test_a_skipped_upload_is_run_with_the_current_settings(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.submit_message(copy_upload(relay))
    relay.finish()
    relay.deploy(requests_per_batch=1)
    relay.submit_message(put_again_marker(relay, COPY))
    relay.finish()

    assert len(relay.manifest(COPY)["batches"]) == 2


def test_a_repeated_event_of_a_skipped_upload_changes_nothing_even_if_the_first_job_failed(
    relay: Harness,
) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="messages")
    relay.upload(KEY, BODY)
    again = copy_upload(relay)
    relay.submit_message(again)
    relay.finish()
    relay.simulator.disarm()
    relay.submit_message(again)
    relay.finish()

    assert outcomes_by_key(relay) == {KEY: ["failed"], COPY: ["duplicate"]}
    assert len(duplicate_events(relay)) == 1


def test_repeats_run_if_the_setting_is_run(relay: Harness) -> None:
    relay.deploy(repeats="run")
    relay.upload(KEY, BODY)
    relay.submit_message(copy_upload(relay))
    relay.finish()

    assert outcomes_by_key(relay) == {KEY: ["succeeded"], COPY: ["succeeded"]}


def test_other_bytes_of_the_same_size_run(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.upload(COPY, BODY.replace(b"hello", b"olleh"))
    relay.finish()

    assert outcomes_by_key(relay) == {KEY: ["succeeded"], COPY: ["succeeded"]}


def test_a_checksum_identifies_uploads_with_different_part_sizes(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 answers like this if one file was uploaded with different part sizes."""
    etags = iter(('"one-2"', '"other-5"', '"third-9"'))
    sums = iter(("AAAAAAAAAAA=", "AAAAAAAAAAA=", "BBBBBBBBBBB="))
    real = relay.s3.head_object

    def head_with_checksum(**arguments: Any) -> Any:
        outcomes: Any = real(**arguments)
        if "ChecksumMode" not in arguments:
            return outcomes
        del outcomes["ChecksumCRC32"]
        return outcomes | {"ETag": next(etags), "ChecksumCRC64NVME": next(sums)}

    monkeypatch.setattr(relay.s3, "head_object", head_with_checksum)
    for key in (KEY, COPY, "third.jsonl"):
        relay.upload(key, BODY)
    relay.finish()

    assert outcomes_by_key(relay) == {
        KEY: ["succeeded"],
        COPY: ["duplicate"],
        "third.jsonl": ["succeeded"],
    }


def test_an_upload_without_a_checksum_is_claimed(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.upload(KEY, BODY)
    event = relay.put(COPY, BODY)
    with monkeypatch.context() as without:
        real = relay.s3.head_object

        def head_with_checksum(**arguments: Any) -> Any:
            return real(
                **arguments | {"Key": "nothing.jsonl"}
                if "ChecksumMode" in arguments
                else arguments
            )

        without.setattr(relay.s3, "head_object", head_with_checksum)
        relay.submit_message(event)
    relay.finish()

    assert outcomes_by_key(relay) == {KEY: ["succeeded"], COPY: ["succeeded"]}


def test_two_concurrent_uploads_of_the_same_bytes_give_one_job(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = relay.put(KEY, BODY)
    second = copy_upload(relay)
    write = relay.dynamodb.transact_write_items
    pending_claims = iter([lambda: relay.submit_message(second)])

    def write_after_claim(**arguments: Any) -> Any:
        next(pending_claims, lambda: None)()
        return write(**arguments)

    monkeypatch.setattr(relay.dynamodb, "transact_write_items", write_after_claim)
    relay.submit_message(first)
    relay.finish()

    assert outcomes_by_key(relay) == {KEY: ["duplicate"], COPY: ["succeeded"]}
    assert every_row_accepted_once(relay)


def before_next_write(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]
) -> None:
    """Act once, just before the next transaction."""
    write, pending = relay.dynamodb.transact_write_items, iter([act])

    def act_and_write(**arguments: Any) -> Any:
        next(pending, lambda: None)()
        return write(**arguments)

    monkeypatch.setattr(relay.dynamodb, "transact_write_items", act_and_write)


def test_an_again_marker_that_arrives_during_the_skip_is_not_lost(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    upload, marker = copy_upload(relay), put_again_marker(relay, COPY)
    before_next_write(relay, monkeypatch, lambda: relay.submit_message(marker))
    relay.submit_message(upload)
    relay.finish()

    assert outcomes_by_key(relay)[COPY] == ["succeeded"]


@pytest.mark.parametrize("end", ["canceled", "failed"])
def test_a_repeat_is_not_skipped_if_the_first_job_ends_at_that_moment(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    relay.upload(KEY, BODY)
    upload = copy_upload(relay)
    (original,) = relay.items.unfinished().jobs
    changes = {
        "canceled": {"canceled_at": "2026-11-27T00:00:00.000Z"},
        "failed": {"failure": "the upload is gone"},
    }[end]
    before_next_write(
        relay, monkeypatch, lambda: relay.items.update_if_unchanged(original, changes)
    )
    relay.submit_message(upload)
    relay.finish()

    assert outcomes_by_key(relay)[COPY] == ["succeeded"]


class ProcessKilled(BaseException):
    """The process was killed; `except Exception` does not catch this."""


@contextmanager
def killed_at_call(relay: Harness, call_number: int, *, after: bool) -> Iterator[list[str]]:
    """Kill the process just before or just after one call to AWS."""
    clients: list[Any] = [relay.s3, relay.dynamodb, relay.sns]
    real_calls = [client._make_api_call for client in clients]  # noqa: SLF001 - the one method that every call goes through
    calls: list[str] = []

    def call(make_api_call: Callable[..., Any], operation: str, arguments: Any) -> Any:
        calls.append(operation)
        is_target = len(calls) == call_number
        if is_target and not after:
            raise ProcessKilled
        answer = make_api_call(operation, arguments)
        if is_target:
            raise ProcessKilled
        return answer

    for client, make_api_call in zip(clients, real_calls, strict=True):
        client._make_api_call = partial(call, make_api_call)  # noqa: SLF001
    try:
        yield calls
    finally:
        for client, make_api_call in zip(clients, real_calls, strict=True):
            client._make_api_call = make_api_call  # noqa: SLF001


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_neither_runs_a_repeat_nor_announces_it_twice(
    relay: Harness, *, after: bool
) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    call_number, interrupted = 0, True
    while interrupted:
        call_number += 1
        event = copy_upload(relay, f"{call_number}.jsonl")
        with killed_at_call(relay, call_number, after=after) as calls, suppress(ProcessKilled):
            relay.submit_message(event)
        interrupted = len(calls) >= call_number
        relay.submit_message(event)
        relay.finish()

    assert call_number > 8
    assert every_row_accepted_once(relay)
    events = [event for event in relay.events() if event["type"] == "job.duplicate"]
    assert len({event["id"] for event in events}) == call_number


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_runs_a_marked_upload_once(relay: Harness, *, after: bool) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    call_number, interrupted = 0, True
    while interrupted:
        call_number += 1
        key = f"{call_number}.jsonl"
        relay.submit_message(copy_upload(relay, key))
        marker = put_again_marker(relay, key)
        with killed_at_call(relay, call_number, after=after) as calls, suppress(ProcessKilled):
            relay.submit_message(marker)
        interrupted = len(calls) >= call_number
        relay.submit_message(marker)
        relay.finish()

    ended = outcomes_by_key(relay)
    assert call_number > 8
    assert [ended[f"{number}.jsonl"] for number in range(1, call_number + 1)] == [
        ["succeeded"]
    ] * call_number
    assert set(relay.simulator.accepted_params().values()) == {call_number + 1}


def test_a_skipped_upload_has_status_done(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.submit_message(copy_upload(relay))
    relay.finish()

    (skipped,) = (
        relay.items.job(item["job"]["S"])
        for item in relay.dynamodb.scan(TableName=TABLE)["Items"]
        if item.get("outcome", {}).get("S") == "duplicate"
    )
    assert skipped is not None
    assert (skipped.status, skipped.next_step, skipped.open) == (JobStatus.DONE, None, None)
