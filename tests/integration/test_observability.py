"""Stalled work is visible in poll's metrics, and the log quotes no user."""

import io
import json
import re
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Barrier

import msgspec
import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError

from functions import poll
from functions.adapters.log_context import log_context
from functions.errors import ApiUnavailableError
from functions.model import timestamps
from functions.model.items.batch import Batch
from functions.model.items.job import Job
from functions.planning.claim import S3EventRecord, handle_created_object
from local.workspace import free_port
from tests.fakes.strict_s3 import S3ErrorResponse, reject_requests
from tests.harness import TABLE, Harness, make_upload
from tests.integration.deployed_functions import run
from tests.unit.factories import batch, job

KEY = "in/march.jsonl"
DENIED = S3ErrorResponse(403, "AccessDenied", "Access Denied")
ABOUT_JOBS = {"step failed"}
"""Messages about a job, which may have no batch."""
logger = Logger(child=True)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Return what the functions log; one handler has the lines of all loggers here."""
    stream, handler = io.StringIO(), poll.logger.registered_handler
    before = handler.setStream(stream)  # type: ignore[attr-defined]
    yield stream
    handler.setStream(before)  # type: ignore[attr-defined]


def job_ids(relay: Harness) -> set[str]:
    items = relay.dynamodb.scan(TableName=TABLE)["Items"]
    return {item["job"]["S"] for item in items if item["item"]["S"] == "#"}


def test_poll_measures_how_long_the_api_has_been_silent(relay: Harness) -> None:
    correct_url, relay.url = relay.url, f"http://127.0.0.1:{free_port()}"
    relay.deploy()
    relay.upload(KEY, make_upload(2))
    relay.tick()
    first = relay.tick().silent_since
    assert first == timestamps.text(relay.now())
    assert relay.tick(3600).silent_since == first

    relay.url = correct_url
    relay.deploy()
    assert relay.tick().silent_since is None
    relay.finish()


def test_a_refused_key_is_not_silence(relay: Harness) -> None:
    relay.upload(KEY, make_upload(2))
    relay.tick()
    relay.key = "sk-revoked"
    relay.deploy()

    summary = relay.tick()

    assert (summary.paused, summary.silent_since) == (True, None)


def test_the_age_of_an_unaccepted_create_is_measured(relay: Harness) -> None:
    relay.simulator.arm("server_error", times=0, endpoint="create")
    relay.upload(KEY, make_upload(2))
    ages = [relay.tick(1800).oldest_hours for _ in range(60)]

    assert max(ages) > 26
    assert relay.simulator.calls()["create"] > 3


def test_api_messages_are_not_in_tracebacks(relay: Harness) -> None:
    secret = "my prompt, quoted"
    relay.simulator.arm("server_error", times=0, endpoint="list", message=secret)

    with pytest.raises(ApiUnavailableError) as caught:
        relay.poll.claude.list_batches(datetime.now(UTC))

    assert secret not in "".join(traceback.format_exception(caught.value))


def test_retry_delays_grow_to_six_hours(
    relay: Harness,
) -> None:
    event = json.loads(relay.put(KEY, make_upload(2)))
    work_message = handle_created_object(
        relay.submit, msgspec.convert(event["Records"][0], S3EventRecord)
    )
    assert work_message is not None
    delays: list[timedelta] = []
    for _ in range(6):
        job = relay.items.acquire(work_message, 60)
        assert job is not None
        relay.items.record_failure(job, relay.submit.settings.retry_s, "AccessDenied")
        (failed,) = relay.items.unfinished().jobs
        delays.append(timestamps.parse(failed.not_before or "") - relay.now())
        relay.pass_time(delays[-1].total_seconds() + 1)

    minutes = [round(delay.total_seconds() / 60) for delay in delays]
    assert minutes == [1, 6, 36, 216, 360, 360]


def test_each_log_line_names_the_job_and_the_batch_that_are_worked_on(
    relay: Harness, log: io.StringIO
) -> None:
    """Also those of code that does not know them; only lines about all jobs have neither."""
    relay.deploy(requests_per_batch=2)
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("cut_inside_line", times=3, framing="close", rows=1)
    relay.upload(KEY, make_upload(6))
    relay.tick()
    with reject_requests(relay.s3, "PutObject", DENIED, "work/"), suppress(ClientError):
        relay.upload("in/april.jsonl", make_upload(3, "april"))
    relay.finish()

    jobs = {job.job for job in map(relay.items.job, job_ids(relay)) if job}
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {line["message"] for line in lines} >= {"create answered", "step failed", "collected"}
    assert [line for line in lines if line.get("job") not in jobs] == []
    about_batches = [line for line in lines if line["message"] not in ABOUT_JOBS]
    assert all(re.fullmatch(rf"{line['job']}/\d{{5}}-\d", line["batch"]) for line in about_batches)


def test_each_log_line_names_lambdas_request(deployed_relay: Harness, log: io.StringIO) -> None:
    run(deployed_relay, KEY, make_upload(2))

    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    requests = {(line["message"], line["function_request_id"]) for line in lines}
    assert requests >= {
        ("create answered", "submit"),
        ("poll finished", "poll"),
        ("collected", "results"),
    }


@pytest.mark.parametrize(
    ("endpoint", "fault", "call", "status"),
    [
        ("create", None, "create", 200),
        ("create", "rate_limited", "create", 429),
        ("create", "server_error", "create", 500),
        ("create", "billing", "create", 402),
        ("list", "server_error", "list_batches", 500),
        ("list", "unauthorized", "list_batches", 401),
        ("results", "results_not_found", "results", 404),
        ("count_tokens", "server_error", "count_tokens", 500),
        ("cancel", None, "cancel", 200),
        ("cancel", "conflict", "cancel", 409),
    ],
)
def test_a_call_that_creates_cancels_or_fails_logs_anthropics_request_id(
    relay: Harness, log: io.StringIO, endpoint: str, fault: str | None, call: str, status: int
) -> None:
    relay.simulator.processing_s = 36_000.0 if call == "cancel" else 0.0
    if fault is not None:
        relay.simulator.arm(fault, endpoint=endpoint)
    relay.upload(KEY, make_upload(2))
    relay.tick()
    if call == "cancel":
        relay.upload(KEY + ".cancel", b"")
    relay.tick()
    relay.tick()

    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (line, *_) = [
        line for line in lines if (line.get("call"), line.get("status")) == (call, status)
    ]
    assert re.fullmatch(r"req_[0-9a-f]{24}", line["anthropic_request_id"])
    assert line["level"] == ("INFO" if status == 200 else "WARNING")
    assert line["message"] == f"call to Anthropic {'answered' if status == 200 else 'failed'}"
    assert ("job" in line) == (call != "list_batches")


def test_a_call_without_an_answer_is_logged_with_its_error(
    relay: Harness, log: io.StringIO
) -> None:
    relay.simulator.arm("lost_answer")
    relay.upload(KEY, make_upload(2))
    relay.tick()

    (line,) = [json.loads(line) for line in log.getvalue().splitlines() if '"create"' in line]
    assert (line["message"], line.get("status")) == ("call to Anthropic failed", None)
    assert line["problem"].endswith("Error")


def test_the_reason_of_a_pause_and_of_a_stuck_batch_name_the_request(relay: Harness) -> None:
    relay.simulator.arm("billing", message="Your card expired")
    relay.upload(KEY, make_upload(2))
    relay.tick()
    (paused,) = [e for e in relay.events() if e["type"].endswith("sending.paused")]
    assert re.search(
        r"Anthropic says: Your card expired\. Request: req_[0-9a-f]{24}\.$",
        paused["data"]["message"],
    )

    relay.simulator.arm("server_error", times=0, endpoint="results")
    for _ in range(12):
        relay.tick(7200)
    (stuck,) = [e for e in relay.events() if e["type"].endswith("batch.stuck")]
    assert re.search(r"status 500 \(request req_[0-9a-f]{24}\)", json.dumps(stuck["data"]))


def test_log_keys_of_two_threads_do_not_mix(log: io.StringIO) -> None:
    both_have_begun = Barrier(2)

    def write(item: Job | Batch) -> None:
        with log_context(item):
            both_have_begun.wait()
            logger.info("inside")
        logger.info("outside")

    with ThreadPoolExecutor(2) as pool:
        [*pool.map(write, [job(job="a" * 20), batch("b" * 20)])]

    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    inside = {
        (line.get("job"), line.get("batch")) for line in lines if line["message"] == "inside"
    }
    assert inside == {("a" * 20, None), ("b" * 20, f"{'b' * 20}/00001-1")}
    assert not any("job" in line for line in lines if line["message"] == "outside")
