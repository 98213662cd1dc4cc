"""Uploads without an S3 event are found and claimed; anything else would cost money."""

from datetime import timedelta
from typing import Any

import pytest

from functions import submit
from functions.model import timestamps
from functions.planning import claim, reconcile_uploads
from functions.planning.reconcile_uploads import OLDEST, YOUNGEST, ReconciliationSummary
from functions.polling.status_file import MIN_RETENTION_DAYS
from functions.readers import SUFFIXES
from tests.harness import RESULTS, UPLOADS, Harness, every_row_accepted_once, make_upload

KEY = "in/march.jsonl"
HOUR_S, DAY_S = 3600.0, 86_400.0


@pytest.fixture
def relay(moto_relay: Harness) -> Harness:
    """Use moto: versions are listed in pages, with delete markers."""
    return moto_relay


@pytest.fixture(autouse=True)
def readers_recorded(relay: Harness) -> None:
    relay.submit.uploads.record_readers(
        SUFFIXES, timestamps.text(relay.now() - timedelta(hours=1))
    )


def reconcile(relay: Harness, pages: int = 10) -> ReconciliationSummary:
    return reconcile_uploads.reconcile_uploads(relay.submit, pages, lambda: 900.0)


def reconciled_events(relay: Harness) -> list[dict[str, Any]]:
    return [event["data"] for event in relay.events() if event["type"] == "uploads.reconciled"]


def test_an_upload_without_an_s3_event_is_claimed_and_announced(relay: Harness) -> None:
    relay.put(KEY, make_upload(2))
    relay.pass_time(2 * HOUR_S)
    summary = reconcile(relay)
    relay.finish()

    assert (summary.found, summary.claimed, summary.keys, summary.complete) == (1, 1, [KEY], True)
    assert relay.manifest(KEY)["outcome"] == "succeeded"
    (event,) = reconciled_events(relay)
    assert (event["found"], event["pages"], event["listed"], event["looked_up"]) == (1, 1, 1, 1)


def test_no_event_is_published_if_nothing_is_found(relay: Harness) -> None:
    relay.upload(KEY, make_upload(2))
    relay.finish()
    relay.pass_time(2 * HOUR_S)
    summary = reconcile(relay)

    assert (summary.found, summary.looked_up) == (0, 1)
    assert reconciled_events(relay) == []
    assert relay.items.unfinished().events == []


def test_a_late_s3_event_changes_nothing(relay: Harness) -> None:
    event = relay.put(KEY, make_upload(2))
    relay.pass_time(2 * HOUR_S)
    reconcile(relay)
    relay.submit_message(event)
    relay.finish()
    relay.submit_message(event)
    relay.finish()

    assert every_row_accepted_once(relay)


@pytest.mark.parametrize(
    "age_s", [YOUNGEST.total_seconds() - 1, OLDEST.total_seconds() + 1, MIN_RETENTION_DAYS * DAY_S]
)
def test_uploads_outside_the_age_limits_are_not_looked_up(relay: Harness, age_s: float) -> None:
    (relay.s3.put_object(Bucket=UPLOADS, Key=KEY, Body=make_upload(2)))
    (listed,), _ = relay.submit.files.versions(UPLOADS, None, None)
    relay.moment = listed.made_at + timedelta(seconds=age_s)

    assert reconcile(relay).looked_up == 0
    assert relay.items.unfinished().jobs == []


def test_jobs_are_kept_longer_than_reconciliation_looks_back() -> None:
    assert timedelta(days=MIN_RETENTION_DAYS) >= 4 * OLDEST


def test_uploads_older_than_the_relay_are_never_claimed(relay: Harness) -> None:
    relay.put(KEY, make_upload(2))
    relay.dynamodb.delete_item(
        TableName="relay", Key={"job": {"S": "relay"}, "item": {"S": "reads/.jsonl"}}
    )
    relay.pass_time(2 * HOUR_S)
    assert reconcile(relay).looked_up == 0

    relay.submit.uploads.record_readers(SUFFIXES, timestamps.text(relay.now()))
    relay.pass_time(2 * HOUR_S)
    assert reconcile(relay).looked_up == 0


def test_the_time_since_a_suffix_is_read_is_written_once(relay: Harness) -> None:
    before = relay.submit.uploads.accepted_since(".jsonl")
    relay.submit.uploads.record_readers(SUFFIXES, timestamps.text(relay.now()))

    assert relay.submit.uploads.accepted_since(".jsonl") == before


def test_an_upload_with_results_but_no_job_is_not_claimed(relay: Harness) -> None:
    relay.upload(KEY, make_upload(2))
    relay.finish()
    name = relay.results_folder(KEY).rpartition("/")[2]
    for item in ("#", "00001-1"):
        key: Any = {"job": {"S": name}, "item": {"S": item}}
        relay.dynamodb.delete_item(TableName="relay", Key=key)
    relay.pass_time(2 * HOUR_S)
    summary = reconcile(relay)

    assert (summary.looked_up, summary.found) == (1, 0)
    assert every_row_accepted_once(relay)


def test_only_the_latest_version_is_claimed(relay: Harness) -> None:
    relay.put(KEY, make_upload(2, "old"))
    relay.put(KEY, make_upload(2, "new"))
    relay.put("gone.jsonl", make_upload(1, "gone"))
    relay.s3.delete_object(Bucket=UPLOADS, Key="gone.jsonl")
    relay.pass_time(2 * HOUR_S)
    summary = reconcile(relay)

    assert (summary.listed, summary.found) == (3, 1)


def test_markers_and_other_objects_are_not_looked_up(relay: Harness) -> None:
    for key in (
        "in/",
        "in/march.xml",
        "in/_relay.json",
        f"{KEY}.relay.toml",
        f"{KEY}.cancel",
        f"{KEY}.again",
    ):
        relay.put(key, b"")
    relay.pass_time(2 * HOUR_S)

    assert reconcile(relay).looked_up == 0


def test_an_upload_beside_its_cancel_marker_is_not_claimed(relay: Harness) -> None:
    relay.put(KEY, make_upload(2))
    relay.put(KEY + claim.CANCEL, b"")
    relay.pass_time(2 * DAY_S)

    assert reconcile(relay).found == 0
    assert relay.items.unfinished().jobs == []


def test_a_repeated_upload_without_a_job_is_skipped(relay: Harness) -> None:
    relay.deploy(repeats="skip")
    relay.upload(KEY, make_upload(2))
    relay.finish()
    relay.put("copy.jsonl", make_upload(2))
    relay.pass_time(2 * HOUR_S)
    summary = reconcile(relay)
    relay.finish()

    assert (summary.found, summary.claimed) == (1, 0)
    assert every_row_accepted_once(relay)
    relay.pass_time(DAY_S)
    assert reconcile(relay).found == 0


def list_two_versions_a_page(relay: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let S3 list two versions a page."""
    list_versions = relay.s3.list_object_versions
    monkeypatch.setattr(
        relay.s3, "list_object_versions", lambda **arguments: list_versions(**arguments, MaxKeys=2)
    )


def test_a_limited_run_continues_where_the_last_one_stopped(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_two_versions_a_page(relay, monkeypatch)
    for number in range(5):
        relay.put(f"{number}.jsonl", make_upload(1, str(number)))
    relay.pass_time(2 * HOUR_S)
    summaries = [reconcile(relay, pages=1) for _ in range(3)]

    assert [summary.listed for summary in summaries] == [2, 2, 1]
    assert [summary.complete for summary in summaries] == [False, False, True]
    assert [key for summary in summaries for key in summary.keys] == [
        f"{n}.jsonl" for n in range(5)
    ]
    assert reconcile(relay, pages=1).listed == 2


def test_a_run_stops_before_its_timeout(relay: Harness) -> None:
    relay.put(KEY, make_upload(1))
    relay.pass_time(2 * HOUR_S)
    summary = reconcile_uploads.reconcile_uploads(relay.submit, 10, lambda: 59.0)

    assert (summary.pages, summary.complete) == (0, False)


def test_a_failing_listing_loses_no_upload_found_before(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_two_versions_a_page(relay, monkeypatch)
    for number in range(3):
        relay.put(f"{number}.jsonl", make_upload(1, str(number)))
    relay.pass_time(2 * HOUR_S)
    pages = iter([relay.s3.list_object_versions])

    def list_once_then_fail(**arguments: Any) -> Any:
        for page in pages:
            return page(**arguments)
        raise ConnectionResetError

    with monkeypatch.context() as failing:
        failing.setattr(relay.s3, "list_object_versions", list_once_then_fail)
        with pytest.raises(ConnectionResetError):
            reconcile(relay)
    summary = reconcile(relay)

    assert summary.keys == ["2.jsonl"]
    assert [event["keys"] for event in reconciled_events(relay)] == [
        ["0.jsonl", "1.jsonl"],
        ["2.jsonl"],
    ]


def test_two_concurrent_runs_claim_and_announce_an_upload_once(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.put(KEY, make_upload(2))
    relay.pass_time(2 * HOUR_S)
    list_versions = relay.s3.list_object_versions
    other_relays = iter([relay])

    def reconcile_first(**arguments: Any) -> Any:
        for other_relay in other_relays:
            assert reconcile(other_relay).found == 1
        return list_versions(**arguments)

    monkeypatch.setattr(relay.s3, "list_object_versions", reconcile_first)
    assert reconcile(relay).found == 0
    relay.finish()

    assert every_row_accepted_once(relay)
    assert len(reconciled_events(relay)) == 1


def test_reconciliation_can_be_invoked_by_hand(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.put(KEY, make_upload(2))
    relay.pass_time(2 * HOUR_S)
    monkeypatch.setattr(submit, "_services", lambda: relay.submit)
    context: Any = relay.context
    context.function_name = context.memory_limit_in_mb = context.invoked_function_arn = "here"
    context.aws_request_id = "here"

    answer = submit.handler({"reconcile": 5}, context)

    assert answer is not None
    assert (answer["found"], answer["pages"]) == (1, 1)
    assert relay.s3.list_objects_v2(Bucket=RESULTS).get("Contents", []) == []
