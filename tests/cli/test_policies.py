"""The policies of docs/relay.md allow each call that its commands make, on what they call."""

from __future__ import annotations

import io
import json
import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from cli.deployment import Deployment
from tests.cli.conftest import CommandLine, deployment_of
from tests.harness import (
    RESULTS,
    TABLE,
    UPLOADS,
    Harness,
    make_row,
    make_upload,
    open_moto_harness,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.model import OperationModel

PAGE = (Path(__file__).parents[2] / "docs" / "relay.md").read_text("utf-8")
NAMES = {
    "REGION": "eu-central-1", "ACCOUNT": "123456789012", "STACK": "test", "TABLE": TABLE, "RESULTS": RESULTS,
    "UPLOADS": UPLOADS, "TOPIC": "events", "DEAD_UPLOADS": "DeadUploads", "DEAD_RESULTS": "DeadResults",
    "SUBMIT_QUEUE": "submit", "RESULTS_QUEUE": "results", "RESULTS_FUNCTION": "repair",
}  # fmt: skip
PLACE = f"{NAMES['REGION']}:{NAMES['ACCOUNT']}"
ACTIONS = {
    "CompleteMultipartUpload": ["PutObject"],
    "CopyObject": ["GetObject", "PutObject"],
    "CreateMultipartUpload": ["PutObject"],
    "HeadObject": ["GetObject"],
    "ListObjectsV2": ["ListBucket"],
    "UploadPart": ["PutObject"],
    "UploadPartCopy": ["GetObject", "PutObject"],
}
"""Operation → the actions that IAM knows it by, where the names differ."""
ENDED, HELD = "team/march.jsonl", "team/april.jsonl"
WITHOUT = {("s3:GetObject", f"arn:aws:s3:::{UPLOADS}/{key}") for key in (ENDED, HELD)}
"""Calls that may be denied: then, an upload is not found before it is claimed."""
LARGE = 9 << 20
"""More than boto3 copies or uploads in one request."""


@cache
def statements(policy: str) -> list[dict[str, Any]]:
    """Return the statements of a policy of the page, with the names of the test's stack."""
    block = re.search(rf"<!-- policy: {policy} -->\n```json\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    text = re.sub(r"\b[A-Z][A-Z_]+\b", lambda name: NAMES.get(name[0], name[0]), block[1])
    found: list[dict[str, Any]] = json.loads(text)["Statement"]
    return found


def is_allowed(granted: list[dict[str, Any]], action: str, resource: str) -> bool:
    return any(
        action in statement["Action"]
        and any(fnmatchcase(resource, pattern) for pattern in as_list(statement["Resource"]))
        for statement in granted
    )


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def calls(operation: str, service: str, arguments: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the actions of a call, each with the ARN of what it is for."""
    actions = ACTIONS.get(operation, [operation])
    match arguments:
        case {"CopySource": {"Bucket": bucket, "Key": key}}:
            yield "s3:GetObject", f"arn:aws:s3:::{bucket}/{key}"
            actions = ["PutObject"]
    for action in actions:
        yield f"{service}:{action}", resource_of(arguments)


def resource_of(arguments: dict[str, Any]) -> str:
    match arguments:
        case {"Bucket": bucket, "Key": key}:
            return f"arn:aws:s3:::{bucket}/{key}"
        case {"Bucket": bucket}:
            return f"arn:aws:s3:::{bucket}"
        case {"TableName": table, **others}:
            index = others.get("IndexName")
            return f"arn:aws:dynamodb:{PLACE}:table/{table}" + (f"/index/{index}" if index else "")
        case {"QueueUrl": name} | {"QueueName": name}:
            return f"arn:aws:sqs:{PLACE}:{name.rpartition('/')[2]}"
    return str(arguments.get("TopicArn") or arguments.get("SourceArn") or "*")


def no_move_task(**_arguments: str) -> None:
    """Refuse, so that messages are moved one by one: a task needs the same actions and its own."""
    raise ClientError({"Error": {"Code": "UnsupportedOperation"}}, "StartMessageMoveTask")


class Functions:
    """Lambda, where *results* answers that it has opened a job."""

    def __init__(self) -> None:
        self.invoked: list[str] = []

    def invoke(self, **arguments: Any) -> dict[str, Any]:
        self.invoked.append(arguments["FunctionName"])
        return {"Payload": io.BytesIO(b'{"accepted": true, "message": "it goes on"}')}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Harness]:
    with open_moto_harness(tmp_path / "simulator") as harness:
        yield harness


@pytest.fixture
def relay(stack: Harness, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line with an ended job that has a large retry file, and a held one."""
    monkeypatch.setattr("cli.commands.events.WAIT_S", 0)
    monkeypatch.setattr("signal.signal", lambda *_arguments: None)
    monkeypatch.setattr(stack.sqs, "start_message_move_task", no_move_task)
    stack.upload(ENDED, make_row(1) + b'\n{"custom_id": "no-params"}')
    stack.finish()
    options = {f"{HELD}.relay.toml": b"budget_usd = 0.000001", f"{ENDED}.relay.toml": b""}
    for key, body in options.items():
        stack.s3.put_object(Bucket=UPLOADS, Key=key, Body=body)
    stack.upload(HELD, make_upload(3))
    stack.tick()
    retry = stack.manifest(ENDED)["files"]["retry"]["uri"].removeprefix(f"s3://{RESULTS}/")
    stack.s3.put_object(Bucket=RESULTS, Key=retry, Body=b" " * LARGE)
    outputs = {"ResultsFunctionName": NAMES["RESULTS_FUNCTION"], **deployment_of(stack).outputs}
    for dead, output in (("DEAD_UPLOADS", "DeadUploads"), ("DEAD_RESULTS", "DeadResults")):
        url = stack.sqs.create_queue(QueueName=NAMES[dead])["QueueUrl"]
        stack.sqs.send_message(QueueUrl=url, MessageBody="x")
        outputs[f"{output}QueueArn"] = f"arn:aws:sqs:{PLACE}:{NAMES[dead]}"
    outputs |= {
        "SubmitQueueUrl": stack.queues["submit"],
        "ResultsQueueUrl": stack.queues["results"],
    }
    clients = {"s3": stack.s3, "sqs": stack.sqs, "sns": stack.sns, "dynamodb": stack.dynamodb, "lambda": Functions()}  # fmt: skip
    return CommandLine(Deployment("test", outputs, clients.__getitem__))


def test_the_policies_allow_each_call_of_every_command(
    stack: Harness, relay: CommandLine, tmp_path: Path
) -> None:
    large = tmp_path / "large.jsonl"
    large.write_bytes(make_row(1, "x" * LARGE))
    seen: set[tuple[str, str]] = set()

    def record(params: dict[str, Any], model: OperationModel, **_: Any) -> None:
        seen.update(calls(model.name, model.service_model.service_name, params))

    for client in (stack.s3, stack.sqs, stack.sns, stack.dynamodb):
        client.meta.events.register("before-parameter-build.*.*", record)
    denied, steering = {}, [*statements("read"), *statements("steer")]
    for policy, command, code in (
        ("read", "ls", 0), ("read", f"why {ENDED}", 0), ("read", f"watch {ENDED}", 1),
        ("read", f"get {ENDED} --into {tmp_path}", 1), ("read", "cost", 0), ("read", f"diagram {ENDED}", 0),
        ("steer", f"send {large} --as team/", 0), ("steer", f"cancel {HELD}", 0), ("steer", f"go {HELD}", 0),
        ("steer", f"retry {ENDED}", 0), ("steer", "redrive", 0), ("steer", "events --seconds 0.1", 0),
        ("steer", f"reassemble {ENDED}", 0), ("steer", f"recollect {ENDED}", 0),
    ):  # fmt: skip
        seen.clear()
        relay(*command.split(), code=code)
        assert seen
        granted = statements("read") if policy == "read" else steering
        denied[command] = {call for call in seen - WITHOUT if not is_allowed(granted, *call)}

    dead = [f"arn:aws:sqs:{PLACE}:{NAMES[name]}" for name in ("DEAD_UPLOADS", "DEAD_RESULTS")]
    assert all(is_allowed(steering, "sqs:StartMessageMoveTask", queue) for queue in dead)
    function = f"arn:aws:lambda:{PLACE}:function:{relay.deployment.functions.invoked[0]}"  # type: ignore[attr-defined]
    assert is_allowed(steering, "lambda:InvokeFunction", function)
    assert not {command: found for command, found in denied.items() if found}
