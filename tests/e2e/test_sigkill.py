"""The process of a function is killed with SIGKILL during a step: nothing is lost, nothing is sent twice."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer

from local.emulator import Emulator
from local.errors import LocalError
from tests.e2e.relay import Relay, Upload, jsonl, kinds, rows

ANSWER_S = 15.0
"""The delay of the simulator's answer, during which a function is killed."""
TIMEOUT_S = 60.0
FIRST_BATCH = "00001-1"
"""The only batch of a small job."""


@pytest.fixture
def crash_relay(relay: Relay) -> Iterator[Relay]:
    """A relay whose queues are purged at the end: a killed function's message stays invisible for long."""
    yield relay
    for queue in ("SubmitQueueUrl", "ResultsQueueUrl"):
        relay.cloud.sqs.purge_queue(QueueUrl=relay.outputs[queue])


def test_jobs_complete_after_functions_are_killed_while_sending_and_collecting(
    crash_relay: Relay, emulator_with_iam: Emulator
) -> None:
    relay, creates = crash_relay, crash_relay.simulator.calls().get("create", 0)
    relay.simulator.arm("slow_answer", endpoint="create", delay_s=ANSWER_S)
    upload = relay.upload("killed.jsonl", jsonl(rows(5, "killed")))
    wait_until(
        lambda: poll_unless(relay, bool(accepted_counts(relay, upload))),
        "the create to be accepted",
    )
    kill(relay, emulator_with_iam, "Submit")
    assert status(relay, upload) == "SENDING"

    end_lease_of_killed(relay, upload.job, FIRST_BATCH)
    wait_until(lambda: poll_unless(relay, status(relay, upload) == "IN_PROGRESS"), "its adoption")
    reads = relay.simulator.calls()["results"]
    relay.simulator.arm("slow_answer", endpoint="results", delay_s=ANSWER_S)
    wait_until(
        lambda: poll_unless(relay, relay.simulator.calls()["results"] > reads),
        "the results to be read",
    )
    kill(relay, emulator_with_iam, "Results")
    assert status(relay, upload) == "ENDED"

    end_lease_of_killed(relay, upload.job, FIRST_BATCH)
    wait_until(
        lambda: poll_unless(relay, bool(relay.deliveries_of(upload, "job.completed"))), "its end"
    )
    assert kinds(relay.lines(upload)) == ["succeeded"] * 5
    assert sorted(accepted_counts(relay, upload).values()) == [1] * 5
    assert relay.simulator.calls()["create"] - creates == 1


def test_a_job_completes_after_a_function_is_killed_while_planning(
    crash_relay: Relay, emulator_with_iam: Emulator
) -> None:
    relay, count = crash_relay, 30_000
    rejected = [b'{"custom_id": "no params"}'] * (count - 5)
    upload = relay.upload("planned.jsonl", jsonl([*rows(5, "planned"), *rejected]))
    wait_until(
        lambda: item(relay, upload.job, "#").get("checkpoint", {}).get("chunk"),
        "the first chunk",
        interval_s=0.01,
    )
    kill(relay, emulator_with_iam, "Submit")
    killed = item(relay, upload.job, "#")
    assert (killed["status"], killed["checkpoint"]["row"] < count) == ("PLANNING", True)

    end_lease_of_killed(relay, upload.job, "#")
    relay.finish(upload)
    assert kinds(relay.lines(upload)) == ["succeeded"] * 5 + ["rejected"] * (count - 5)
    assert sorted(accepted_counts(relay, upload).values()) == [1] * 5


def test_a_job_completes_after_a_poll_is_killed_while_calling_the_api(
    crash_relay: Relay, emulator_with_iam: Emulator
) -> None:
    relay = crash_relay
    relay.simulator.processing_s = 3600  # ended batches are not listed again
    upload = relay.upload("polled.jsonl", jsonl(rows(5, "polled")))
    wait_until(
        lambda: poll_unless(relay, bool(accepted_counts(relay, upload))),
        "the create to be accepted",
    )
    lists = relay.simulator.calls().get("list", 0)
    relay.simulator.arm("slow_answer", endpoint="list", delay_s=ANSWER_S / 3)
    polls: list[Future[None]] = []
    with ThreadPoolExecutor(1) as pool:

        def list_was_called() -> bool:
            """Poll again where a poll that a stage requested was at work, which need not list."""
            if not polls or polls[-1].done():
                polls.append(pool.submit(relay.poll))
            return relay.simulator.calls().get("list", 0) > lists

        wait_until(list_was_called, "the list call")
        kill(relay, emulator_with_iam, "Poll")
        with suppress(LocalError):
            polls[-1].result()
    for batch in relay.open_batches():
        relay.simulator.end(str(batch["id"]))

    end_lease_of_killed(relay, "relay", "poll")
    relay.finish(upload)
    assert kinds(relay.lines(upload)) == ["succeeded"] * 5
    assert sorted(accepted_counts(relay, upload).values()) == [1] * 5


def accepted_counts(relay: Relay, upload: Upload) -> dict[str, int]:
    """Return how often each request of a job was accepted."""
    counts = relay.simulator.accepted().items()
    return {name: count for name, count in counts if name.startswith(upload.job)}


def poll_unless(relay: Relay, condition: bool) -> bool:  # noqa: FBT001 - the condition before this poll
    """Poll once if the condition does not hold yet; return it."""
    if not condition:
        relay.poll()
        relay.listen()
    return condition


def wait_until(condition: Callable[[], object], description: str, interval_s: float = 0.2) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {TIMEOUT_S:.0f} s for {description}"
        time.sleep(interval_s)


def kill(relay: Relay, emulator_with_iam: Emulator, stage: str) -> None:
    """Kill the processes of a function, which are children of the emulator, as an out-of-memory kill does."""
    name = relay.outputs[f"{stage}FunctionName"]
    killed = [pid for pid in children(emulator_with_iam.program.pid) if is_function(pid, name)]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert killed, f"no process of {name}"


def children(parent: int) -> list[int]:
    files = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(pid) for file in files for pid in file.read_text(encoding="utf-8").split()]


def is_function(pid: int, name: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it has ended
    return f"AWS_LAMBDA_FUNCTION_NAME={name}".encode() in environment


def status(relay: Relay, upload: Upload) -> str:
    """Return the status of a small job's batch."""
    return str(item(relay, upload.job, FIRST_BATCH)["status"])


def item(relay: Relay, job: str, name: str) -> dict[str, Any]:
    """Read an item of the table; empty if there is none."""
    key = {"job": {"S": job}, "item": {"S": name}}
    answer = relay.cloud.tables.get_item(TableName=relay.outputs["TableName"], Key=key)
    deserialize = TypeDeserializer().deserialize
    return {attribute: deserialize(value) for attribute, value in answer.get("Item", {}).items()}


def end_lease_of_killed(relay: Relay, job: str, name: str) -> None:
    """End the lease of a killed function."""
    assert "lease" in item(relay, job, name)
    relay.end_lease(job, name)
