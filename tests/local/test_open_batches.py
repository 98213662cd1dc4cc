"""What an interrupted command says about the real API. The simulator is in its place."""

import io
import uuid
from pathlib import Path

import pytest
from anthropic import Anthropic
from rich.console import Console

from local import open_batches
from local.api_endpoint import ApiEndpoint
from local.cloud import Cloud
from local.environment import LocalEnvironment
from local.simulator import Simulator, serving
from local.started_job import StartedJob

JOB = StartedJob(
    file=Path("march.jsonl"), key="in/march.jsonl", id="3f9a", folder="results/in/march/3f9a"
)
ROW = {
    "custom_id": "a",
    "params": {
        "model": "claude-haiku-5-5",
        "max_tokens": 16,
        "messages": [{"role": "user", "content": "Hi"}],
    },
}


@pytest.fixture
def environment(cloud: Cloud) -> LocalEnvironment:
    """A local cloud whose table has what a job has at Anthropic."""
    table = f"table-{uuid.uuid4().hex[:8]}"
    cloud.tables.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[
            {"AttributeName": "job", "KeyType": "HASH"},
            {"AttributeName": "item", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "job", "AttributeType": "S"},
            {"AttributeName": "item", "AttributeType": "S"},
        ],
    )
    return LocalEnvironment(
        kind="run",
        owner_pid=1,
        owner_started_at="",
        endpoint=cloud.endpoint,
        claude="real",
        outputs={"TableName": table},
    )


def put(
    environment: LocalEnvironment, item: str, status: str, batch_id: str | None = None
) -> None:
    attributes = {"job": {"S": JOB.id}, "item": {"S": item}, "status": {"S": status}}
    if batch_id:
        attributes["batch_id"] = {"S": batch_id}
    environment.cloud.tables.put_item(
        TableName=environment.outputs["TableName"], Item={**attributes, "requests": {"N": "7"}}
    )


def test_what_is_open_is_named_and_canceled_on_request(
    environment: LocalEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = Simulator(tmp_path / "simulator", keys={"sk": "default"}, processing_s=60.0)
    with serving(simulator) as url, Anthropic(api_key="sk", base_url=url) as client:
        batch = client.messages.batches.create(requests=[ROW])  # type: ignore[list-item]
        put(environment, "00001-1", "IN_PROGRESS", batch.id)
        put(environment, "00002-1", "COLLECTED", "msgbatch_done")
        put(environment, "00003-1", "UNCONFIRMED")
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr(open_batches, "agrees", lambda *_: True)
        screen = io.StringIO()

        claude = ApiEndpoint("real", url, "sk")
        open_batches.offer_to_cancel(Console(file=screen, width=200), claude, environment, [JOB])

        assert f"still open at Anthropic: {batch.id}, 7 requests\n" in screen.getvalue()
        assert "a batch whose id is not known yet, 7 requests\n" in screen.getvalue()
        assert f"{batch.id}: canceling\n" in screen.getvalue()
        assert "msgbatch_done" not in screen.getvalue()
        assert client.messages.batches.retrieve(batch.id).processing_status == "canceling"
