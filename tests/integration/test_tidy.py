"""An ended job is announced first; its work files are tagged afterwards."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from functions.assembling import tidy
from functions.model.items.job import JobStatus
from tests.fakes.strict_s3 import S3ErrorResponse, reject_requests
from tests.harness import RESULTS, Harness, make_upload
from tests.verification.crash.crash_harness import CrashHarness, open_crash_harness

KEY = "in/march.jsonl"
DENIED = S3ErrorResponse(403, "AccessDenied", "an SCP denies s3:PutObjectTagging")
WEEK_S = 7 * 24 * 3600


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[CrashHarness]:
    with open_crash_harness(tmp_path) as relay:
        yield relay


def untagged_keys(relay: Harness) -> list[str]:
    work_objects = relay.s3.list_objects_v2(Bucket=RESULTS, Prefix="work/")["Contents"]
    keys = [stored_object["Key"] for stored_object in work_objects]
    return [
        key for key in keys if not relay.s3.get_object_tagging(Bucket=RESULTS, Key=key)["TagSet"]
    ]


def tick_repeatedly(relay: Harness, seconds: float, ticks: int) -> None:
    for _ in range(ticks):
        relay.tick(seconds)


def end_events(relay: Harness) -> list[dict[str, object]]:
    return [
        event["data"]
        for event in relay.events()
        if event["type"] in {"job.completed", "batch.stuck"}
    ]


def test_a_successful_job_is_announced_even_if_tagging_is_denied(
    relay: CrashHarness,
) -> None:
    relay.upload(KEY, make_upload(3))
    with reject_requests(relay.s3, "PutObjectTagging", DENIED):
        tick_repeatedly(relay, 60, 6)

    (ended,) = end_events(relay)
    assert ended["outcome"] == relay.manifest(KEY)["outcome"] == "succeeded"
    assert ended["counts"] == {"succeeded": 3}
    assert ended["manifest"] is not None


def test_tagging_resumes_once_it_is_allowed(relay: CrashHarness) -> None:
    relay.upload(KEY, make_upload(3))
    with reject_requests(relay.s3, "PutObjectTagging", DENIED):
        tick_repeatedly(relay, 300, 12)
    assert len(untagged_keys(relay)) == 4
    tick_repeatedly(relay, 600, 30)

    assert untagged_keys(relay) == []
    assert relay.items.unfinished().jobs == []
    assert [event_data["outcome"] for event_data in end_events(relay)] == ["succeeded"]


def test_tagging_is_given_up_after_a_week_of_denials(
    relay: CrashHarness,
) -> None:
    relay.upload(KEY, make_upload(3))
    (job,) = relay.items.unfinished().jobs
    with reject_requests(relay.s3, "PutObjectTagging", DENIED):
        tick_repeatedly(relay, 3600, 7 * 24 - 2)
        waiting_jobs = relay.items.unfinished().jobs
        tick_repeatedly(relay, 3600, 12)

    assert [stored_object.next_step for stored_object in waiting_jobs] == ["tidy"]
    assert relay.items.unfinished().jobs == []
    final_job = relay.items.job(job.job)
    assert final_job is not None
    assert (final_job.status, final_job.outcome, final_job.failure) == ("DONE", "succeeded", None)
    assert [event_data["outcome"] for event_data in end_events(relay)] == ["succeeded"]


def test_tagging_continues_after_a_crash(
    relay: CrashHarness,
) -> None:
    relay.upload(KEY, make_upload(3))
    relay.results.files.tag_done = lambda _keys, **_: 1 / 0  # type: ignore[assignment]
    tick_repeatedly(relay, 60, 6)
    (final_job,) = relay.items.unfinished().jobs
    relay.deploy()
    tick_repeatedly(relay, 600, 6)

    assert (final_job.status, final_job.next_step) == ("DONE", "tidy")
    assert untagged_keys(relay) == []
    assert relay.items.unfinished().jobs == []


def test_tagging_stops_before_the_timeout_and_continues_after_the_last_file(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidy, "GROUP", 2)
    tagged_keys: list[str] = []
    tag_done = relay.results.files.tag_done

    def tag_slowly(keys: tuple[str, ...]) -> None:
        relay.context.left_s -= 500
        tagged_keys.extend(keys)
        tag_done(keys)

    relay.results.files.tag_done = tag_slowly  # type: ignore[method-assign, assignment]
    relay.upload(KEY, make_upload(3) + b"{broken")  # so that there is a retry file, too
    while not tagged_keys:
        relay.tick()
    (job,) = relay.items.unfinished().jobs
    relay.context.left_s = 900.0
    relay.tick()
    relay.context.left_s = 900.0
    relay.finish()

    assert (job.next_step, job.tidied, job.owner, job.tries) == ("tidy", tagged_keys[3], None, 0)
    assert sorted({*tagged_keys}) == tagged_keys  # none of them twice
    assert untagged_keys(relay) == []


def test_work_files_of_a_job_without_a_manifest_are_tagged_too(
    relay: CrashHarness,
) -> None:
    relay.upload(KEY, make_upload(3))
    with reject_requests(relay.s3, "PutObject", DENIED, "manifest.json"):
        tick_repeatedly(relay, 60, 4)
    (job,) = relay.items.unfinished().jobs
    assert job.status == JobStatus.ASSEMBLING
    changes = {"status": JobStatus.DONE, "outcome": "replaced"}
    assert relay.items.transition(job, changes, expected={"status": job.status})
    tick_repeatedly(relay, 60, 2)

    assert untagged_keys(relay) == []
    assert relay.items.unfinished().jobs == []
