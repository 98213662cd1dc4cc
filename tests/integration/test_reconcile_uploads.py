"""Uploads whose event never came are found and claimed; nothing else ever is, for it would be paid for."""

from datetime import timedelta
from typing import Any

import pytest

from functions import submit
from functions.model import timestamps
from functions.planning import claim, reconcile_uploads
from functions.planning.reconcile_uploads import OLDEST, YOUNGEST, ReconciliationSummary
from functions.polling.status_file import MIN_RETENTION_DAYS
from functions.readers import SUFFIXES
from tests.harness import RESULTS, UPLOADS, Harness, paid_once, upload_of

KEY = "in/march.jsonl"
HOUR_S, DAY_S = 3600.0, 86_400.0


@pytest.fixture
def relay(moto_relay: Harness) -> Harness:
    """Versions are listed in pages, with delete markers."""
    return moto_relay


@pytest.fixture(autouse=True)
def installed(relay: Harness) -> None:
    relay.submit.uploads.record_readers(
        SUFFIXES, timestamps.text(relay.now() - timedelta(hours=1))
    )


def reconcile(relay: Harness, pages: int = 10) -> ReconciliationSummary:
    return reconcile_uploads.reconcile_uploads(relay.submit, pages, lambda: 900.0)


def told(relay: Harness) -> list[dict[str, Any]]:
    return [one["data"] for one in relay.events() if one["type"] == "uploads.reconciled"]


def test_an_upload_whose_event_never_came_is_claimed_and_told(relay: Harness) -> None:
    relay.put(KEY, upload_of(2))
    relay.pass_time(2 * HOUR_S)
    run = reconcile(relay)
    relay.finish()

    assert (run.found, run.claimed, run.keys, run.complete) == (1, 1, [KEY], True)
    assert relay.manifest(KEY)["outcome"] == "succeeded"
    (event,) = told(relay)
    assert (event["found"], event["pages"], event["listed"], event["looked_up"]) == (1, 1, 1, 1)


def test_nothing_is_told_where_nothing_is_found(relay: Harness) -> None:
    relay.upload(KEY, upload_of(2))
    relay.finish()
    relay.pass_time(2 * HOUR_S)
    run = reconcile(relay)

    assert (run.found, run.looked_up) == (0, 1)
    assert told(relay) == []
    assert relay.items.unfinished().events == []


def test_an_event_that_comes_after_all_changes_nothing(relay: Harness) -> None:
    event = relay.put(KEY, upload_of(2))
    relay.pass_time(2 * HOUR_S)
    reconcile(relay)
    relay.submit_message(event)
    relay.finish()
    relay.submit_message(event)
    relay.finish()

    assert paid_once(relay)


@pytest.mark.parametrize(
    "age_s", [YOUNGEST.total_seconds() - 1, OLDEST.total_seconds() + 1, MIN_RETENTION_DAYS * DAY_S]
)
def test_what_is_too_young_or_too_old_is_left_alone(relay: Harness, age_s: float) -> None:
    (relay.s3.put_object(Bucket=UPLOADS, Key=KEY, Body=upload_of(2)))
    (listed,), _ = relay.submit.files.versions(UPLOADS, None, None)
    relay.moment = listed.made_at + timedelta(seconds=age_s)

    assert reconcile(relay).looked_up == 0
    assert relay.items.unfinished().jobs == []


def test_a_job_is_forgotten_long_after_its_upload_is_too_old_to_be_found() -> None:
    assert timedelta(days=MIN_RETENTION_DAYS) >= 4 * OLDEST


def test_what_was_there_before_the_relay_is_never_claimed(relay: Harness) -> None:
    relay.put(KEY, upload_of(2))
    relay.dynamodb.delete_item(
        TableName="relay", Key={"job": {"S": "relay"}, "item": {"S": "reads/.jsonl"}}
    )
    relay.pass_time(2 * HOUR_S)
    assert reconcile(relay).looked_up == 0

    relay.submit.uploads.record_readers(SUFFIXES, timestamps.text(relay.now()))
    relay.pass_time(2 * HOUR_S)
    assert reconcile(relay).looked_up == 0


def test_since_when_a_suffix_is_read_is_written_once(relay: Harness) -> None:
    before = relay.submit.uploads.accepted_since(".jsonl")
    relay.submit.uploads.record_readers(SUFFIXES, timestamps.text(relay.now()))

    assert relay.submit.uploads.accepted_since(".jsonl") == before


def test_an_upload_with_results_is_not_claimed_though_its_job_is_gone(relay: Harness) -> None:
    relay.upload(KEY, upload_of(2))
    relay.finish()
    name = relay.folder(KEY).rpartition("/")[2]
    for item in ("#", "00001-1"):
        key: Any = {"job": {"S": name}, "item": {"S": item}}
        relay.dynamodb.delete_item(TableName="relay", Key=key)
    relay.pass_time(2 * HOUR_S)
    run = reconcile(relay)

    assert (run.looked_up, run.found) == (1, 0)
    assert paid_once(relay)


def test_only_the_latest_version_is_claimed(relay: Harness) -> None:
    relay.put(KEY, upload_of(2, "old"))
    relay.put(KEY, upload_of(2, "new"))
    relay.put("gone.jsonl", upload_of(1, "gone"))
    relay.s3.delete_object(Bucket=UPLOADS, Key="gone.jsonl")
    relay.pass_time(2 * HOUR_S)
    run = reconcile(relay)

    assert (run.listed, run.found) == (3, 1)


def test_markers_and_other_objects_are_left_alone(relay: Harness) -> None:
    for key in ("in/", "in/march.json", f"{KEY}.cancel", f"{KEY}.again"):
        relay.put(key, b"")
    relay.pass_time(2 * HOUR_S)

    assert reconcile(relay).looked_up == 0


def test_an_upload_beside_its_cancel_marker_is_not_claimed(relay: Harness) -> None:
    relay.put(KEY, upload_of(2))
    relay.put(KEY + claim.CANCEL, b"")
    relay.pass_time(2 * DAY_S)

    assert reconcile(relay).found == 0
    assert relay.items.unfinished().jobs == []


def test_a_repeat_without_a_job_is_skipped_as_ever(relay: Harness) -> None:
    relay.deploy(repeats="skip")
    relay.upload(KEY, upload_of(2))
    relay.finish()
    relay.put("copy.jsonl", upload_of(2))
    relay.pass_time(2 * HOUR_S)
    run = reconcile(relay)
    relay.finish()

    assert (run.found, run.claimed) == (1, 0)
    assert paid_once(relay)
    relay.pass_time(DAY_S)
    assert reconcile(relay).found == 0


def paged(relay: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let S3 list two versions a page."""
    whole = relay.s3.list_object_versions
    monkeypatch.setattr(
        relay.s3, "list_object_versions", lambda **given: whole(**given, MaxKeys=2)
    )


def test_a_bounded_run_goes_on_where_the_last_one_stopped(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    paged(relay, monkeypatch)
    for number in range(5):
        relay.put(f"{number}.jsonl", upload_of(1, str(number)))
    relay.pass_time(2 * HOUR_S)
    runs = [reconcile(relay, pages=1) for _ in range(3)]

    assert [run.listed for run in runs] == [2, 2, 1]
    assert [run.complete for run in runs] == [False, False, True]
    assert [key for run in runs for key in run.keys] == [f"{n}.jsonl" for n in range(5)]
    assert reconcile(relay, pages=1).listed == 2


def test_a_run_stops_in_time(relay: Harness) -> None:
    relay.put(KEY, upload_of(1))
    relay.pass_time(2 * HOUR_S)
    run = reconcile_uploads.reconcile_uploads(relay.submit, 10, lambda: 59.0)

    assert (run.pages, run.complete) == (0, False)


def test_a_listing_that_fails_loses_nothing_that_was_found(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    paged(relay, monkeypatch)
    for number in range(3):
        relay.put(f"{number}.jsonl", upload_of(1, str(number)))
    relay.pass_time(2 * HOUR_S)
    pages = iter([relay.s3.list_object_versions])

    def fails(**given: Any) -> Any:
        for page in pages:
            return page(**given)
        raise ConnectionResetError

    with monkeypatch.context() as broken:
        broken.setattr(relay.s3, "list_object_versions", fails)
        with pytest.raises(ConnectionResetError):
            reconcile(relay)
    run = reconcile(relay)

    assert run.keys == ["2.jsonl"]
    assert [event["keys"] for event in told(relay)] == [["0.jsonl", "1.jsonl"], ["2.jsonl"]]


def test_two_runs_at_once_claim_an_upload_once_and_tell_of_what_they_found(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.put(KEY, upload_of(2))
    relay.pass_time(2 * HOUR_S)
    whole = relay.s3.list_object_versions
    others = iter([relay])

    def between(**given: Any) -> Any:
        for one in others:
            assert reconcile(one).found == 1
        return whole(**given)

    monkeypatch.setattr(relay.s3, "list_object_versions", between)
    assert reconcile(relay).found == 0
    relay.finish()

    assert paid_once(relay)
    assert len(told(relay)) == 1


def test_it_can_be_asked_for(relay: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    relay.put(KEY, upload_of(2))
    relay.pass_time(2 * HOUR_S)
    monkeypatch.setattr(submit, "_services", lambda: relay.submit)
    context: Any = relay.context
    context.function_name = context.memory_limit_in_mb = context.invoked_function_arn = "here"
    context.aws_request_id = "here"

    answer = submit.handler({"reconcile": 5}, context)

    assert answer is not None
    assert (answer["found"], answer["pages"]) == (1, 1)
    assert relay.s3.list_objects_v2(Bucket=RESULTS).get("Contents", []) == []
