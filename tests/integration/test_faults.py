"""Other faults of the API: creates rejected for a row, and incorrect results."""

from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from tests.harness import Harness, every_row_accepted_once, make_row, make_upload, open_harness

KEY = "in/march.jsonl"


def test_a_refused_chunk_is_split_down_to_the_row_at_fault(relay: Harness) -> None:
    rows = [make_row(n, "refuse-me" if n == 6 else "fine") for n in range(1, 11)]
    relay.simulator.arm("refuse_matching", times=0, contains="refuse-me")
    relay.upload(KEY, b"\n".join(rows))

    relay.finish()

    lines = relay.lines(KEY)
    assert [line["row"] for line in lines] == list(range(1, 11))
    rejected = [line for line in lines if line["result"]["type"] == "rejected"]
    assert [line["custom_id"] for line in rejected] == ["row-6"]
    assert rejected[0]["result"]["error"]["message"].startswith(
        "line 6: refused by the API (400): "
    )
    assert relay.read(KEY, "retry.jsonl") == rows[5] + b"\n"
    assert every_row_accepted_once(relay)


def test_a_create_that_is_too_large_is_split(relay: Harness) -> None:
    relay.simulator.arm("too_large", times=0, more_than=3)
    relay.upload(KEY, make_upload(10))

    relay.finish()

    assert [line["row"] for line in relay.lines(KEY)] == list(range(1, 11))
    assert max(relay.simulator.accepted_params().values()) == 1


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("fault", ["cut_at_line", "cut_inside_line"])
def test_a_truncated_download_is_repeated(relay: Harness, fault: str, framing: str) -> None:
    relay.simulator.arm(fault, times=2, framing=framing)
    relay.upload(KEY, make_upload(20))

    relay.finish(60)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 20}


@pytest.mark.parametrize(
    "fault", ["row_missing", "row_doubled", "row_unreadable", "row_foreign", "results_not_found"]
)
def test_results_that_do_not_match_the_rows_sent_are_downloaded_again(
    relay: Harness, fault: str
) -> None:
    relay.simulator.arm(fault, times=2)
    relay.upload(KEY, make_upload(20))

    relay.finish(60)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 20}
    assert every_row_accepted_once(relay)


@pytest.mark.parametrize(
    ("fault", "errors"), [("unknown_result_type", {}), ("unknown_error_type", None)]
)
def test_an_unknown_result_passes_through(relay: Harness, fault: str, errors: Any) -> None:
    relay.simulator.arm(fault)
    relay.upload(KEY, make_upload(5))

    relay.finish()

    counts = relay.manifest(KEY)["counts"]
    assert (counts["succeeded"], sum(counts.values())) == (4, 5)
    assert every_row_accepted_once(relay)
    assert (relay.manifest(KEY)["errors"] == {}) is (errors == {})


@pytest.mark.parametrize("fault", ["deleted_before_collection", "archived_before_collection"])
def test_rows_of_a_deleted_batch_end_with_an_error(relay: Harness, fault: str) -> None:
    relay.simulator.arm(fault)
    relay.upload(KEY, make_upload(5))
    for _ in range(5):
        relay.tick()
    relay.pass_time(26 * 3600)

    relay.finish(60)

    assert relay.manifest(KEY)["errors"] == {"results_gone": 5}
    assert "deleted or archived" in relay.lines(KEY)[0]["result"]["error"]["error"]["message"]
    assert every_row_accepted_once(relay)


def test_repeated_404s_do_not_end_a_batch(relay: Harness) -> None:
    relay.simulator.arm("results_not_found", times=10)
    relay.upload(KEY, make_upload(5))

    relay.finish(60)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 5}


def test_a_batch_canceled_in_the_console_is_delivered_as_canceled(tmp_path: Path) -> None:
    with open_harness(tmp_path, processing_s=600.0) as relay:
        relay.simulator.arm("canceled_in_console", done=0.5)
        relay.upload(KEY, make_upload(20))
        relay.finish(60)

        counts = relay.manifest(KEY)["counts"]
        assert counts["canceled"] + counts["succeeded"] == 20
        assert counts["canceled"] > 0
        assert every_row_accepted_once(relay)


def test_a_poll_without_an_answer_from_claude_reports_failure(relay: Harness) -> None:
    relay.upload(KEY, make_upload(5))
    relay.tick()
    relay.simulator.arm("server_error", times=0, endpoint="any")

    summary = relay.tick()
    relay.simulator.reset()

    assert summary.silent_since is not None


def test_a_missing_batch_ends_its_rows_once_it_must_have_expired(
    relay: Harness,
) -> None:
    relay.upload(KEY, make_upload(5))
    relay.tick()
    relay.simulator.delete(relay.simulator.batches()[0]["id"])  # type: ignore[arg-type]
    for _ in range(10):
        relay.tick()
    (waiting_batch,) = relay.items.unfinished().batches
    relay.pass_time(26 * 3600)
    relay.finish(60)

    assert waiting_batch.status == "IN_PROGRESS"
    assert relay.manifest(KEY)["errors"] == {"results_gone": 5}


def test_a_job_that_cannot_be_assembled_is_announced_once_and_recovers(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    relay.simulator.arm("results_not_found")
    relay.tick()
    put, error = relay.results.files.put, ClientError({"Error": {"Code": "AccessDenied"}}, "Put")
    relay.results.files.put = Mock(side_effect=error)  # type: ignore[method-assign]
    for _ in range(40):
        with suppress(ClientError):
            relay.tick(7200)
    events = [event["type"] for event in relay.events()]
    (job,) = relay.items.unfinished().jobs
    relay.results.files.put = put  # type: ignore[method-assign]

    relay.finish(60)

    assert (events.count("batch.stuck"), events.count("job.completed")) == (1, 0)
    assert (job.status, job.last_error) == ("ASSEMBLING", "AccessDenied")
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}
