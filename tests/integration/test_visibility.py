"""What goes nowhere shows: in what poll measures, and in a log that quotes nobody."""

import json
import traceback
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from functions.errors import ApiUnavailableError
from functions.model import timestamps
from functions.planning.claim import S3EventRecord, receive
from local.workspace import free_port
from tests.harness import Harness, upload_of

KEY = "in/march.jsonl"


def test_a_wrong_address_is_no_successful_poll(relay: Harness) -> None:
    right, relay.url = relay.url, f"http://127.0.0.1:{free_port()}"
    relay.deploy()
    relay.upload(KEY, upload_of(2))
    relay.tick()

    assert not relay.tick().succeeded

    relay.url = right
    relay.deploy()
    assert relay.tick().succeeded
    relay.finish()


def test_a_create_that_is_never_accepted_grows_old(relay: Harness) -> None:
    relay.simulator.arm("server_error", times=0, endpoint="create")
    relay.upload(KEY, upload_of(2))
    ages = [relay.tick(1800).oldest_hours for _ in range(60)]

    assert max(ages) > 26
    assert relay.simulator.calls()["create"] > 3


def test_what_the_api_says_stays_out_of_a_traceback(relay: Harness) -> None:
    secret = "my prompt, quoted"
    relay.simulator.arm("server_error", times=0, endpoint="list", message=secret)

    with pytest.raises(ApiUnavailableError) as caught:
        relay.poll.claude.listing(datetime.now(UTC))

    assert secret not in "".join(traceback.format_exception(caught.value))


def test_each_pause_after_a_failure_is_longer_and_none_is_longer_than_six_hours(
    relay: Harness,
) -> None:
    event = json.loads(relay.put(KEY, upload_of(2)))
    work_message = receive(relay.submit, msgspec.convert(event["Records"][0], S3EventRecord))
    assert work_message is not None
    waits: list[timedelta] = []
    for _ in range(6):
        job = relay.items.acquire(work_message, 60)
        assert job is not None
        relay.items.record_failure(job, relay.submit.settings.retry_s, "AccessDenied")
        (failed,) = relay.items.unfinished().jobs
        waits.append(timestamps.parse(failed.not_before or "") - relay.now())
        relay.pass_time(waits[-1].total_seconds() + 1)

    minutes = [round(wait.total_seconds() / 60) for wait in waits]
    assert minutes == [1, 6, 36, 216, 360, 360]
