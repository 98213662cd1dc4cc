"""The frozen options of a job are deleted while its upload is planned."""

from typing import Any

import pytest

from tests.harness import RESULTS, UPLOADS, Harness

KEY, OPTIONS = "in/a.csv", "in/_relay.toml"
TEMPLATE = b"""[request]
custom_id = "{{id}}"
[request.params]
model = "claude-haiku-5-5"
max_tokens = 64
messages = [{ role = "user", content = "{{text}}" }]
"""
ROWS = 9


@pytest.fixture
def half_planned(relay: Harness) -> Harness:
    """A relay with a job that is planned in part, and whose options are deleted."""
    relay.deploy(requests_per_batch=2)
    remaining_ms = iter([900_000] * 3)
    context: Any = relay.context
    context.get_remaining_time_in_millis = lambda: next(remaining_ms, 1000)
    relay.upload(OPTIONS, TEMPLATE)
    relay.upload(KEY, b"id,text\n" + b"".join(b"%d,hello\n" % row for row in range(ROWS)))
    context.get_remaining_time_in_millis = lambda: 900_000
    [job] = relay.items.unfinished().jobs
    assert job.options_key is not None
    assert 0 < job.checkpoint.row < ROWS
    relay.s3.delete_object(Bucket=RESULTS, Key=job.options_key)
    return relay


def test_deleted_options_are_rebuilt_from_the_frozen_versions(half_planned: Harness) -> None:
    half_planned.put(OPTIONS, TEMPLATE.replace(b"{{id}}", b"newer"))  # it does not count

    half_planned.finish()

    assert half_planned.manifest(KEY)["counts"] == {"succeeded": ROWS}
    ids = [line["custom_id"] for line in half_planned.lines(KEY)]
    assert ids == [str(row) for row in range(ROWS)]


def test_if_they_cannot_be_rebuilt_the_job_ends_with_a_sentence_about_them(
    half_planned: Harness,
) -> None:
    versions = half_planned.s3.list_object_versions(Bucket=UPLOADS, Prefix=OPTIONS)["Versions"]
    half_planned.s3.delete_object(Bucket=UPLOADS, Key=OPTIONS, VersionId=versions[0]["VersionId"])

    half_planned.finish()

    manifest = half_planned.manifest(KEY)
    assert 0 < manifest["counts"]["succeeded"] < ROWS
    assert "options.json, were deleted, and cannot be rebuilt: s3://uploads/in/_relay.toml" in manifest["reason"]  # fmt: skip
    assert "upload the file again" in manifest["reason"]
