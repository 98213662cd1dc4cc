"""`relay` against a stack in memory, whose real stages have run jobs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.deployment import Deployment
from tests.harness import RESULTS, TABLE, UPLOADS, Harness, make_upload, open_harness, s3_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result


KEY = "team/march.jsonl"
REJECTED = b'{"custom_id": "no-params"}'


@dataclass
class CommandLine:
    """Runs `relay` in this process; while it waits, time passes for the stages."""

    deployment: Deployment

    def __call__(self, *arguments: str, code: int = 0) -> Result:
        result: Any = CliRunner().invoke(app, list(arguments), obj=self.deployment)
        assert result.exit_code == code, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result  # type: ignore[no-any-return]

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code).stdout)

    def json_lines(self, *arguments: str, code: int = 0) -> list[Any]:
        output = self(*arguments, "--json", code=code).stdout
        return [json.loads(line) for line in output.splitlines()]


@pytest.fixture(autouse=True)
def no_local_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not find the local cloud that another test has started, or the developer."""
    monkeypatch.setattr("local.environment.peek", lambda _workspace: None)


@pytest.fixture(autouse=True)
def unlimited_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print whole lines: workers of pytest have the width of the terminal in their environment."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Harness]:
    with open_harness(tmp_path / "simulator") as harness:
        yield harness


def deployment_of(stack: Harness) -> Deployment:
    clients = {"s3": stack.s3, "sqs": stack.sqs, "sns": stack.sns, "dynamodb": stack.dynamodb}
    outputs = {
        "UploadsBucket": UPLOADS,
        "ResultsBucket": RESULTS,
        "TableName": TABLE,
        "EventsTopicArn": stack.topic,
    }
    return Deployment("test", outputs, clients.__getitem__)


@pytest.fixture
def relay(stack: Harness, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setattr("cli.progress.sleep", lambda _seconds: stack.tick())
    return CommandLine(deployment_of(stack))


def deliver(stack: Harness, key: str) -> None:
    """Deliver S3's event of an object that a command has created."""
    head = stack.s3.head_object(Bucket=UPLOADS, Key=key)
    moment = stack.moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    stack.submit_message(s3_event(UPLOADS, key, head["ContentLength"], head["VersionId"], moment))


def finished(stack: Harness, key: str = KEY, body: bytes = b"") -> str:
    """Run a job to its end; return its id."""
    stack.upload(key, body or make_upload(3))
    stack.finish()
    return str(stack.manifest(key)["job"])


def running(stack: Harness, key: str = KEY) -> str:
    """Claim and plan an upload; return the id of its job."""
    stack.simulator.processing_s = 36_000.0
    stack.upload(key, make_upload(3))
    stack.tick()
    [job] = [job for job in stack.items.unfinished().jobs if job.key == key]
    return job.job


def uploaded_keys(stack: Harness) -> list[str]:
    return [entry["Key"] for entry in stack.s3.list_objects_v2(Bucket=UPLOADS)["Contents"]]
