"""`relay cancel`, `go`, `retry`, `reassemble` and `recollect` change a job, or say why they do not."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from functions.assembling.reopen import reopen
from tests.cli.conftest import (
    KEY,
    REJECTED,
    CommandLine,
    deliver,
    finished,
    running,
    uploaded_keys,
)
from tests.harness import RESULTS, UPLOADS, Harness, make_row, make_upload

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_canceled_job_ends(stack: Harness, relay: CommandLine) -> None:
    job = running(stack)

    relay("cancel", job)
    deliver(stack, f"{KEY}.cancel")
    stack.finish()

    assert stack.manifest(KEY)["outcome"] == "canceled"


def test_go_releases_a_held_job(stack: Harness, relay: CommandLine) -> None:
    stack.s3.put_object(Bucket=UPLOADS, Key=f"{KEY}.relay.toml", Body=b"budget_usd = 0.000001")
    stack.upload(KEY, make_upload(3))
    stack.tick()
    [job] = stack.items.unfinished().jobs
    assert job.waiting_for == "budget"

    relay("go", job.job)
    deliver(stack, f"{KEY}.go")
    stack.finish()

    assert stack.manifest(KEY)["counts"] == {"succeeded": 3}


def without_template(stack: Harness) -> str:
    """Upload records that wait for a template; return the id of their job."""
    stack.upload(KEY, b'{"question": "Why?"}')
    [job] = stack.items.unfinished().jobs
    assert job.waiting_for == "template"
    return job.job


@pytest.mark.parametrize(
    ("command", "state"),
    [("go", running), ("go", finished), ("go", without_template), ("cancel", finished)],
)
def test_a_job_that_cannot_be_changed_says_why(
    stack: Harness, relay: CommandLine, command: str, state: Callable[[Harness], str]
) -> None:
    job = state(stack)

    relay(command, job, code=2)

    assert f"{KEY}.{command}" not in uploaded_keys(stack)


def test_retry_sends_the_failed_rows_with_the_same_options(
    stack: Harness, relay: CommandLine
) -> None:
    stack.s3.put_object(Bucket=UPLOADS, Key=f"{KEY}.relay.toml", Body=b'priority = "high"')
    job = finished(stack, body=make_row(1) + b"\n" + REJECTED)

    sent = relay.json("retry", job)
    deliver(stack, sent["key"])
    stack.finish()

    assert sent["key"] == f"team/march-retry-{job[:8]}.jsonl"
    assert stack.s3.get_object(Bucket=UPLOADS, Key=sent["key"])["Body"].read().strip() == REJECTED
    assert stack.manifest(sent["key"])["settings"]["priority"] == "high"


def test_retry_says_which_rows_may_be_billed_already(stack: Harness, relay: CommandLine) -> None:
    job = finished(stack, body=REJECTED)
    manifest = stack.manifest(KEY) | {"errors": {"results_gone": 2, "result_lost": 1}}
    key = f"results/team/march/{job}/manifest.json"
    stack.s3.put_object(Bucket=RESULTS, Key=key, Body=json.dumps(manifest).encode())

    note = relay("retry", job).stderr

    assert "3 of these rows may be billed already" in note
    assert f"relay recollect {job[:8]}" in note


def test_retry_without_failed_rows_says_so(stack: Harness, relay: CommandLine) -> None:
    job = finished(stack)

    assert "every row succeeded" in relay("retry", job, code=1).stderr


# -- reassemble and recollect


class ResultsFunction:
    """Lambda with one function, which reopens jobs; or which fails, as an earlier version does."""

    def __init__(self, stack: Harness, *, is_old: bool = False) -> None:
        self._stack, self._is_old = stack, is_old

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - AWS's names
        assert FunctionName == "results"
        if self._is_old:
            return {
                "FunctionError": "Unhandled",
                "Payload": io.BytesIO(b'{"errorType": "KeyError"}'),
            }
        [(verb, job)] = json.loads(Payload).items()
        answer = reopen(self._stack.results, verb, job)
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}


def with_function(relay: CommandLine, function: ResultsFunction) -> CommandLine:
    deployment = relay.deployment
    outputs = {**deployment.outputs, "ResultsFunctionName": "results"}
    clients = {"lambda": function}
    connect = lambda name: clients.get(name) or deployment.connect(name)  # noqa: E731
    return CommandLine(replace(deployment, outputs=outputs, connect=connect))


def test_a_job_is_assembled_again(stack: Harness, relay: CommandLine) -> None:
    job = finished(stack)

    answer = with_function(relay, ResultsFunction(stack)).json("reassemble", job)

    assert (answer["job"], answer["accepted"]) == (job, True)
    assert relay.json("why", job)["status"] == "RUNNING"


def test_a_job_that_lacks_nothing_stays_as_it_is(stack: Harness, relay: CommandLine) -> None:
    job = finished(stack)

    result = with_function(relay, ResultsFunction(stack))("recollect", job, code=1)

    assert "stays as it is: no batch lacks results" in result.stderr


def test_a_stack_that_cannot_reopen_jobs_is_reported(stack: Harness, relay: CommandLine) -> None:
    job = finished(stack)

    result = with_function(relay, ResultsFunction(stack, is_old=True))("recollect", job, code=1)

    assert "it was deployed by an earlier version" in result.stderr
