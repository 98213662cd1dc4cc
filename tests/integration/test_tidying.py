"""A job that has ended is announced first; its work files are marked after that, whatever comes in between."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from functions.assembling import tidy
from functions.model.items import JobStatus
from tests.fakes.strict_s3 import S3ErrorResponse, reject_requests
from tests.harness import RESULTS, Harness, upload_of
from tests.verification.crash.crash_harness import CrashHarness, open_crash_harness

KEY = "in/march.jsonl"
DENIED = S3ErrorResponse(403, "AccessDenied", "an SCP denies s3:PutObjectTagging")
WEEK_S = 7 * 24 * 3600


@pytest.fixture
def mortals(tmp_path: Path) -> Iterator[CrashHarness]:
    with open_crash_harness(tmp_path) as relay:
        yield relay


def unmarked(relay: Harness) -> list[str]:
    found = relay.s3.list_objects_v2(Bucket=RESULTS, Prefix="work/")["Contents"]
    keys = [one["Key"] for one in found]
    return [
        key for key in keys if not relay.s3.get_object_tagging(Bucket=RESULTS, Key=key)["TagSet"]
    ]


def run(relay: Harness, seconds: float, ticks: int) -> None:
    for _ in range(ticks):
        relay.tick(seconds)


def ends(relay: Harness) -> list[dict[str, object]]:
    return [e["data"] for e in relay.events() if e["type"] in {"job.completed", "batch.stuck"}]


def test_a_job_that_succeeded_is_announced_so_though_tagging_is_denied(
    mortals: CrashHarness,
) -> None:
    mortals.upload(KEY, upload_of(3))
    with reject_requests(mortals.s3, "PutObjectTagging", DENIED):
        run(mortals, 60, 6)

    (ended,) = ends(mortals)
    assert ended["outcome"] == mortals.manifest(KEY)["outcome"] == "succeeded"
    assert ended["counts"] == {"succeeded": 3}
    assert ended["manifest"] is not None


def test_marking_goes_on_by_itself_once_it_is_allowed(mortals: CrashHarness) -> None:
    mortals.upload(KEY, upload_of(3))
    with reject_requests(mortals.s3, "PutObjectTagging", DENIED):
        run(mortals, 300, 12)
    assert len(unmarked(mortals)) == 5
    run(mortals, 600, 30)

    assert unmarked(mortals) == []
    assert mortals.items.unfinished().jobs == []
    assert [end["outcome"] for end in ends(mortals)] == ["succeeded"]


def test_a_denial_that_stays_ends_the_trying_after_a_week_and_nothing_else(
    mortals: CrashHarness,
) -> None:
    mortals.upload(KEY, upload_of(3))
    (job,) = mortals.items.unfinished().jobs
    with reject_requests(mortals.s3, "PutObjectTagging", DENIED):
        run(mortals, 3600, 7 * 24 - 2)
        waiting = mortals.items.unfinished().jobs
        run(mortals, 3600, 12)

    assert [one.next_step for one in waiting] == ["tidy"]
    assert mortals.items.unfinished().jobs == []
    done = mortals.items.job(job.job)
    assert done is not None
    assert (done.status, done.outcome, done.failure) == ("DONE", "succeeded", None)
    assert [end["outcome"] for end in ends(mortals)] == ["succeeded"]


def test_a_stage_that_dies_while_it_marks_is_followed_by_one_that_goes_on(
    mortals: CrashHarness,
) -> None:
    mortals.upload(KEY, upload_of(3))
    mortals.results.files.tag_done = lambda _keys: 1 / 0  # type: ignore[assignment]
    run(mortals, 60, 6)
    (done,) = mortals.items.unfinished().jobs
    mortals.deploy()
    run(mortals, 600, 6)

    assert (done.status, done.next_step) == ("DONE", "tidy")
    assert unmarked(mortals) == []
    assert mortals.items.unfinished().jobs == []


def test_marking_stops_in_time_and_goes_on_behind_the_last_file(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidy, "GROUP", 2)
    marked: list[str] = []
    finish = relay.results.files.tag_done

    def slowly(keys: tuple[str, ...]) -> None:
        relay.context.left_s -= 500
        marked.extend(keys)
        finish(keys)

    relay.results.files.tag_done = slowly  # type: ignore[method-assign, assignment]
    relay.upload(KEY, upload_of(3))
    while not marked:
        relay.tick()
    (job,) = relay.items.unfinished().jobs
    relay.context.left_s = 900.0
    relay.tick()
    relay.context.left_s = 900.0
    relay.finish()

    assert (job.next_step, job.tidied, job.owner, job.tries) == ("tidy", marked[3], None, 0)
    assert sorted({*marked}) == marked  # none of them twice
    assert unmarked(relay) == []


def test_work_files_of_a_job_that_ended_without_a_manifest_are_marked_too(
    mortals: CrashHarness,
) -> None:
    mortals.upload(KEY, upload_of(3))
    with reject_requests(mortals.s3, "PutObject", DENIED, "manifest.json"):
        run(mortals, 60, 4)
    (job,) = mortals.items.unfinished().jobs
    assert job.status == JobStatus.ASSEMBLING
    changes = {"status": JobStatus.DONE, "outcome": "failed", "failure": "given up"}
    assert mortals.items.transition(job, changes, expected={"status": job.status})
    run(mortals, 60, 2)

    assert unmarked(mortals) == []
    assert mortals.items.unfinished().jobs == []
