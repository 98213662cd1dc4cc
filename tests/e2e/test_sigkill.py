"""A Lambda's process is killed by the system, in the middle of what costs: nothing is lost, nothing is sent again."""

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
"""How long the simulator keeps an answer back, so that there is a middle to be killed in."""
PATIENCE_S = 60.0
ONLY = "00001-1"
"""The one batch of a small job."""


@pytest.fixture
def mortal(relay: Relay) -> Iterator[Relay]:
    """A relay whose queues are emptied at the end: what a dead function was at stays hidden for long."""
    yield relay
    for queue in ("SubmitQueueUrl", "ResultsQueueUrl"):
        relay.cloud.sqs.purge_queue(QueueUrl=relay.outputs[queue])


def test_jobs_complete_after_functions_are_killed_while_sending_and_collecting(
    mortal: Relay, emulated: Emulator
) -> None:
    relay, creates = mortal, mortal.simulator.calls().get("create", 0)
    relay.simulator.arm("slow_answer", endpoint="create", delay_s=ANSWER_S)
    upload = relay.upload("killed.jsonl", jsonl(rows(5, "killed")))
    until(lambda: polled(relay, bool(accepted(relay, upload))), "the create to be accepted")
    kill(relay, emulated, "Submit")
    assert status(relay, upload) == "SENDING"

    outlive_the_lease(relay, upload.job, ONLY)
    until(lambda: polled(relay, status(relay, upload) == "IN_PROGRESS"), "its adoption")
    reads = relay.simulator.calls()["results"]
    relay.simulator.arm("slow_answer", endpoint="results", delay_s=ANSWER_S)
    until(
        lambda: polled(relay, relay.simulator.calls()["results"] > reads), "the results to be read"
    )
    kill(relay, emulated, "Results")
    assert status(relay, upload) == "ENDED"

    outlive_the_lease(relay, upload.job, ONLY)
    until(lambda: polled(relay, bool(relay.told(upload, "job.completed"))), "its end")
    assert kinds(relay.lines(upload)) == ["succeeded"] * 5
    assert sorted(accepted(relay, upload).values()) == [1] * 5
    assert relay.simulator.calls()["create"] - creates == 1


def test_a_job_completes_after_a_function_is_killed_while_planning(
    mortal: Relay, emulated: Emulator
) -> None:
    relay, count = mortal, 30_000
    rejected = [b'{"custom_id": "no params"}'] * (count - 5)
    upload = relay.upload("planned.jsonl", jsonl([*rows(5, "planned"), *rejected]))
    until(
        lambda: item(relay, upload.job, "#").get("checkpoint", {}).get("chunk"),
        "the first chunk",
        every_s=0.01,
    )
    kill(relay, emulated, "Submit")
    killed = item(relay, upload.job, "#")
    assert (killed["status"], killed["checkpoint"]["row"] < count) == ("PLANNING", True)

    outlive_the_lease(relay, upload.job, "#")
    relay.finish(upload)
    assert kinds(relay.lines(upload)) == ["succeeded"] * 5 + ["rejected"] * (count - 5)
    assert sorted(accepted(relay, upload).values()) == [1] * 5


def test_a_job_completes_after_a_poll_is_killed_while_calling_the_api(
    mortal: Relay, emulated: Emulator
) -> None:
    relay = mortal
    relay.simulator.processing_s = 3600  # what has ended is not listed again
    upload = relay.upload("polled.jsonl", jsonl(rows(5, "polled")))
    until(lambda: polled(relay, bool(accepted(relay, upload))), "the create to be accepted")
    lists = relay.simulator.calls().get("list", 0)
    relay.simulator.arm("slow_answer", endpoint="list", delay_s=ANSWER_S / 3)
    polls: list[Future[None]] = []
    with ThreadPoolExecutor(1) as pool:

        def asks() -> bool:
            """Poll again where a poll that a stage requested was at work, which need not list."""
            if not polls or polls[-1].done():
                polls.append(pool.submit(relay.poll))
            return relay.simulator.calls().get("list", 0) > lists

        until(asks, "the list to be asked for")
        kill(relay, emulated, "Poll")
        with suppress(LocalError):
            polls[-1].result()
    for batch in relay.open_batches():
        relay.simulator.end(str(batch["id"]))

    outlive_the_lease(relay, "relay", "poll")
    relay.finish(upload)
    assert kinds(relay.lines(upload)) == ["succeeded"] * 5
    assert sorted(accepted(relay, upload).values()) == [1] * 5


def accepted(relay: Relay, upload: Upload) -> dict[str, int]:
    """Give how often each request of a job was accepted."""
    found = relay.simulator.accepted().items()
    return {name: count for name, count in found if name.startswith(upload.job)}


def polled(relay: Relay, done: bool) -> bool:  # noqa: FBT001 - what was to be seen before this poll
    """Poll once more, if that is not so yet."""
    if not done:
        relay.poll()
        relay.listen()
    return done


def until(done: Callable[[], object], what: str, every_s: float = 0.2) -> None:
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end, f"waited {PATIENCE_S:.0f} s for {what}"
        time.sleep(every_s)


def kill(relay: Relay, emulated: Emulator, stage: str) -> None:
    """End a function's processes as the system does when memory runs out: they are the emulator's children."""
    name = relay.outputs[f"{stage}FunctionName"]
    killed = [pid for pid in children(emulated.program.pid) if is_function(pid, name)]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert killed, f"no process of {name}"


def children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(pid) for file in found for pid in file.read_text(encoding="utf-8").split()]


def is_function(pid: int, name: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it has gone meanwhile
    return f"AWS_LAMBDA_FUNCTION_NAME={name}".encode() in environment


def status(relay: Relay, upload: Upload) -> str:
    """Say where a small job's batch stands."""
    return str(item(relay, upload.job, ONLY)["status"])


def item(relay: Relay, job: str, name: str) -> dict[str, Any]:
    """Read an item of the table; empty where there is none yet."""
    key = {"job": {"S": job}, "item": {"S": name}}
    found = relay.cloud.tables.get_item(TableName=relay.outputs["TableName"], Key=key)
    read = TypeDeserializer().deserialize
    return {attribute: read(value) for attribute, value in found.get("Item", {}).items()}


def outlive_the_lease(relay: Relay, job: str, name: str) -> None:
    """Let the time pass that a dead function still holds its item."""
    assert "lease" in item(relay, job, name)
    relay.end_lease(job, name)
