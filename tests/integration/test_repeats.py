"""The same bytes again: not paid twice in silence, and run all the same where that is asked for."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from functions.adapters.claims import CONTENT_DAYS
from functions.model.items import JobStatus
from tests.harness import RESULTS, TABLE, UPLOADS, Harness, harness, paid_once, s3_event, upload_of

KEY, COPY = "in/march.jsonl", "moved/march.jsonl"
BODY = upload_of(2)
DAY_S = 86_400.0


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    """A relay that skips repeats, as it is deployed."""
    with harness(tmp_path) as made:
        made.deploy(repeats="skip")
        yield made


def told(relay: Harness, kind: str = "job.duplicate") -> list[dict[str, Any]]:
    return [event["data"] for event in relay.events() if event["type"] == kind]


def jobs(relay: Harness) -> dict[str, list[str]]:
    """Give how the jobs of each key have ended, or stand."""
    items = relay.dynamodb.scan(TableName=TABLE)["Items"]
    found: dict[str, list[str]] = {}
    for item in (one for one in items if one["item"]["S"] == "#"):
        how = item.get("outcome", item["status"])["S"]
        found.setdefault(item["key"]["S"], []).append(how)
    return {key: sorted(ends) for key, ends in found.items()}


def copied(relay: Harness, key: str = COPY, **how: Any) -> str:
    """Copy the upload onto a key, and give S3's event."""
    made = relay.s3.copy_object(
        Bucket=UPLOADS, Key=key, CopySource={"Bucket": UPLOADS, "Key": KEY}, **how
    )
    at = relay.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return s3_event(UPLOADS, key, len(BODY), made["VersionId"], at)


def mark(relay: Harness, key: str) -> str:
    relay.pass_time(1)
    return relay.put(f"{key}.again", b"")


@pytest.mark.parametrize("key", [COPY, KEY])
def test_an_upload_that_is_moved_or_touched_is_not_paid_twice(relay: Harness, key: str) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    first = relay.folder(KEY)
    relay.submit_message(copied(relay, key, MetadataDirective="REPLACE", Metadata={"a": "b"}))
    relay.finish()

    assert paid_once(relay)
    (duplicate,) = told(relay)
    assert duplicate["upload"]["key"] == key
    assert duplicate["duplicate_of"]["results"] == f"s3://{RESULTS}/{first}/"
    assert duplicate["duplicate_of"]["outcome"] == "succeeded"


def test_what_runs_is_not_run_beside_itself(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.submit_message(copied(relay))
    relay.finish()

    assert paid_once(relay)
    assert jobs(relay) == {KEY: ["succeeded"], COPY: ["duplicate"]}
    (duplicate,) = told(relay)
    assert duplicate["duplicate_of"]["outcome"] is None


def test_a_skipped_upload_says_so_where_its_results_would_be(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.submit_message(copied(relay))
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


def being_canceled(relay: Harness) -> None:
    relay.key = "not-set-yet"
    relay.upload(KEY, BODY)
    relay.pass_time(1)
    relay.upload(f"{KEY}.cancel", b"")
    relay.poll_once()
    relay.key = "sk-local"


def long_ago(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    relay.pass_time(CONTENT_DAYS * DAY_S + 1)


@pytest.mark.parametrize("before", [failed, canceled, being_canceled, long_ago])
def test_it_runs_after_a_job_that_gave_no_answers_or_is_long_gone(
    relay: Harness, before: Callable[[Harness], None]
) -> None:
    before(relay)
    relay.submit_message(copied(relay))
    relay.finish()

    assert relay.manifest(COPY)["outcome"] == "succeeded"
    assert told(relay) == []


def test_after_that_the_new_job_has_the_bytes(relay: Harness) -> None:
    canceled(relay)
    relay.submit_message(copied(relay))
    relay.finish()
    relay.submit_message(copied(relay, "third.jsonl"))
    relay.finish()

    (duplicate,) = told(relay)
    assert duplicate["duplicate_of"]["upload"]["key"] == COPY


@pytest.mark.parametrize("first", ["marker", "upload"])
def test_a_marker_runs_it_all_the_same_in_either_order(relay: Harness, first: str) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    upload, marker = copied(relay), mark(relay, COPY)
    for event in [marker, upload] if first == "marker" else [upload, marker]:
        relay.submit_message(event)
    relay.finish()

    assert relay.manifest(COPY)["outcome"] == "succeeded"
    assert len(relay.simulator.accepted_params()) == 2
    assert not paid_once(relay)


@pytest.mark.parametrize("first", ["marker", "upload"])
def test_a_marker_is_good_for_one_upload_however_often_its_event_comes(
    relay: Harness, first: str
) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    upload, marker = copied(relay), mark(relay, COPY)
    events = [marker, upload] if first == "marker" else [upload, marker]
    for event in [*events, *events]:
        relay.submit_message(event)
    relay.finish()
    relay.submit_message(copied(relay))
    relay.submit_message(marker)
    relay.finish()

    assert jobs(relay)[COPY] == ["duplicate", "succeeded"]


def test_a_second_marker_runs_it_once_more(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    for _ in range(2):
        relay.submit_message(mark(relay, COPY))
        relay.submit_message(copied(relay))
        relay.finish()

    assert jobs(relay)[COPY] == ["succeeded", "succeeded"]


def test_a_marker_waits_for_three_days(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.submit_message(mark(relay, COPY))
    relay.pass_time(3 * DAY_S)
    relay.submit_message(copied(relay))
    relay.finish()

    assert jobs(relay)[COPY] == ["duplicate"]


def test_a_skipped_upload_that_is_run_again_is_set_as_it_is_now(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.submit_message(copied(relay))
    relay.finish()
    relay.deploy(requests_per_batch=1)
    relay.submit_message(mark(relay, COPY))
    relay.finish()

    assert len(relay.manifest(COPY)["batches"]) == 2


def test_the_event_of_a_skipped_upload_again_changes_nothing_though_the_first_job_failed(
    relay: Harness,
) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="messages")
    relay.upload(KEY, BODY)
    again = copied(relay)
    relay.submit_message(again)
    relay.finish()
    relay.simulator.disarm()
    relay.submit_message(again)
    relay.finish()

    assert jobs(relay) == {KEY: ["failed"], COPY: ["duplicate"]}
    assert len(told(relay)) == 1


def test_repeats_run_where_they_are_asked_to(relay: Harness) -> None:
    relay.deploy(repeats="run")
    relay.upload(KEY, BODY)
    relay.submit_message(copied(relay))
    relay.finish()

    assert jobs(relay) == {KEY: ["succeeded"], COPY: ["succeeded"]}


def test_other_bytes_of_the_same_size_run(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.upload(COPY, BODY.replace(b"hello", b"olleh"))
    relay.finish()

    assert jobs(relay) == {KEY: ["succeeded"], COPY: ["succeeded"]}


def test_a_checksum_tells_them_where_the_parts_of_an_upload_were_others(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As S3 answers for one file that was uploaded in parts of different sizes."""
    etags = iter(('"one-2"', '"other-5"', '"third-9"'))
    sums = iter(("AAAAAAAAAAA=", "AAAAAAAAAAA=", "BBBBBBBBBBB="))
    whole = relay.s3.head_object

    def head(**given: Any) -> Any:
        found: Any = whole(**given)
        if "ChecksumMode" not in given:
            return found
        del found["ChecksumCRC32"]
        return found | {"ETag": next(etags), "ChecksumCRC64NVME": next(sums)}

    monkeypatch.setattr(relay.s3, "head_object", head)
    for key in (KEY, COPY, "third.jsonl"):
        relay.upload(key, BODY)
    relay.finish()

    assert jobs(relay) == {KEY: ["succeeded"], COPY: ["duplicate"], "third.jsonl": ["succeeded"]}


def test_an_upload_that_s3_will_not_describe_is_claimed_all_the_same(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.upload(KEY, BODY)
    event = relay.put(COPY, BODY)
    with monkeypatch.context() as without:
        whole = relay.s3.head_object

        def head(**given: Any) -> Any:
            return whole(**given | {"Key": "nothing.jsonl"} if "ChecksumMode" in given else given)

        without.setattr(relay.s3, "head_object", head)
        relay.submit_message(event)
    relay.finish()

    assert jobs(relay) == {KEY: ["succeeded"], COPY: ["succeeded"]}


def test_two_uploads_of_the_same_bytes_at_the_same_moment_give_one_job(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = relay.put(KEY, BODY)
    second = copied(relay)
    write = relay.dynamodb.transact_write_items
    claims = iter([lambda: relay.submit_message(second)])

    def late(**given: Any) -> Any:
        next(claims, lambda: None)()
        return write(**given)

    monkeypatch.setattr(relay.dynamodb, "transact_write_items", late)
    relay.submit_message(first)
    relay.finish()

    assert jobs(relay) == {KEY: ["duplicate"], COPY: ["succeeded"]}
    assert paid_once(relay)


def test_a_marker_that_comes_while_its_upload_is_skipped_is_not_lost(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    upload, marker = copied(relay), mark(relay, COPY)
    write = relay.dynamodb.transact_write_items
    between = iter([lambda: relay.submit_message(marker)])

    def late(**given: Any) -> Any:
        next(between, lambda: None)()
        return write(**given)

    monkeypatch.setattr(relay.dynamodb, "transact_write_items", late)
    relay.submit_message(upload)
    relay.finish()

    assert jobs(relay)[COPY] == ["succeeded"]


@pytest.mark.parametrize("end", ["canceled", "failed"])
def test_a_repeat_is_not_skipped_for_a_job_that_is_canceled_or_fails_at_that_moment(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    relay.upload(KEY, BODY)
    upload = copied(relay)
    (original,) = relay.items.unfinished().jobs
    changes = {
        "canceled": {"canceled_at": "2026-11-27T00:00:00.000Z"},
        "failed": {"failure": "the upload is gone"},
    }[end]
    write = relay.dynamodb.transact_write_items
    between = iter([lambda: relay.items.update_if_unchanged(original, changes)])

    def late(**given: Any) -> Any:
        next(between, lambda: None)()
        return write(**given)

    monkeypatch.setattr(relay.dynamodb, "transact_write_items", late)
    relay.submit_message(upload)
    relay.finish()

    assert jobs(relay)[COPY] == ["succeeded"]


class Killed(BaseException):
    """A function dies."""


@contextmanager
def dying(relay: Harness, at: int, *, after: bool) -> Iterator[list[str]]:
    """Die at a call to AWS: just before it, or just after."""
    clients: list[Any] = [relay.s3, relay.dynamodb, relay.sns]
    whole = [client._make_api_call for client in clients]  # noqa: SLF001 - every call goes there
    calls: list[str] = []

    def call(make: Callable[..., Any], operation: str, arguments: Any) -> Any:
        calls.append(operation)
        here = len(calls) == at
        if here and not after:
            raise Killed
        answer = make(operation, arguments)
        if here:
            raise Killed
        return answer

    for client, make in zip(clients, whole, strict=True):
        client._make_api_call = lambda *given, make=make: call(make, *given)  # noqa: SLF001
    try:
        yield calls
    finally:
        for client, make in zip(clients, whole, strict=True):
            client._make_api_call = make  # noqa: SLF001


@pytest.mark.parametrize("after", [False, True])
def test_a_death_at_any_call_neither_runs_a_repeat_nor_says_it_twice(
    relay: Harness, *, after: bool
) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    at, struck = 0, True
    while struck:
        at += 1
        event = copied(relay, f"{at}.jsonl")
        with dying(relay, at, after=after) as calls, suppress(Killed):
            relay.submit_message(event)
        struck = len(calls) >= at
        relay.submit_message(event)
        relay.finish()

    assert at > 8
    assert paid_once(relay)
    events = [one for one in relay.events() if one["type"] == "job.duplicate"]
    assert len({one["id"] for one in events}) == at


@pytest.mark.parametrize("after", [False, True])
def test_a_death_at_any_call_runs_what_is_marked_once(relay: Harness, *, after: bool) -> None:
    relay.upload(KEY, BODY)
    relay.finish()
    at, struck = 0, True
    while struck:
        at += 1
        key = f"{at}.jsonl"
        relay.submit_message(copied(relay, key))
        marker = mark(relay, key)
        with dying(relay, at, after=after) as calls, suppress(Killed):
            relay.submit_message(marker)
        struck = len(calls) >= at
        relay.submit_message(marker)
        relay.finish()

    ended = jobs(relay)
    assert at > 8
    assert [ended[f"{number}.jsonl"] for number in range(1, at + 1)] == [["succeeded"]] * at
    assert set(relay.simulator.accepted_params().values()) == {at + 1}


def test_a_skipped_upload_is_done_in_the_table(relay: Harness) -> None:
    relay.upload(KEY, BODY)
    relay.submit_message(copied(relay))
    relay.finish()

    (skipped,) = (
        relay.items.job(item["job"]["S"])
        for item in relay.dynamodb.scan(TableName=TABLE)["Items"]
        if item.get("outcome", {}).get("S") == "duplicate"
    )
    assert skipped is not None
    assert (skipped.status, skipped.next_step, skipped.open) == (JobStatus.DONE, None, None)
