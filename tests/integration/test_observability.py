"""Stalled work is visible in poll's metrics, and the log quotes no user."""

import json
import traceback
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from functions.errors import ApiUnavailableError
from functions.model import timestamps
from functions.planning.claim import S3EventRecord, handle_created_object
from local.workspace import free_port
from tests.harness import Harness, make_upload

KEY = "in/march.jsonl"


def test_a_poll_fails_with_a_wrong_base_url(relay: Harness) -> None:
    correct_url, relay.url = relay.url, f"http://127.0.0.1:{free_port()}"
    relay.deploy()
    relay.upload(KEY, make_upload(2))
    relay.tick()

    assert not relay.tick().succeeded

    relay.url = correct_url
    relay.deploy()
    assert relay.tick().succeeded
    relay.finish()


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
