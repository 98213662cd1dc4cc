"""The example subscriber processes an event once, however often it is delivered."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws

SUBSCRIBER = Path(__file__).parents[2] / "examples" / "subscriber" / "subscriber.py"
RESULTS = b'{"row":1,"result":{"type":"succeeded"}}\n{"row":2,"result":{"type":"errored"}}\n'


@pytest.fixture
def subscriber(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A subscriber with its table, and the results that its event refers to."""
    monkeypatch.setenv("SEEN_TABLE", "seen")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    spec = importlib.util.spec_from_file_location("subscriber", SUBSCRIBER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with mock_aws():
        boto3.client("dynamodb").create_table(
            TableName="seen",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="results")
        s3.put_object(Bucket="results", Key="results/march/1/results.jsonl", Body=RESULTS)
        yield module


def sns_delivery(event_type: str = "job.completed") -> dict[str, Any]:
    """Return what Lambda gets from SNS."""
    data = {"name": "march-1", "outcome": "partial", "counts": {"succeeded": 1, "errored": 1}}
    event = {
        "id": "1/ended",
        "type": event_type,
        "data": {**data, "results": "s3://results/results/march/1/"},
    }
    return {"Records": [{"Sns": {"Message": json.dumps(event)}}]}


def test_a_finished_job_is_processed_once(
    subscriber: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        subscriber.handler(sns_delivery(), None)

    output = capsys.readouterr().out
    assert output.count("1 rows of s3://results/results/march/1/results.jsonl have no answer") == 1
    assert "1/ended came again" in output


def test_a_failed_event_is_processed_again_when_stale(
    subscriber: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = boto3.client("s3")
    body = s3.get_object(Bucket="results", Key="results/march/1/results.jsonl")["Body"].read()
    s3.delete_object(Bucket="results", Key="results/march/1/results.jsonl")
    with pytest.raises(s3.exceptions.NoSuchKey):
        subscriber.handler(sns_delivery(), None)
    s3.put_object(Bucket="results", Key="results/march/1/results.jsonl", Body=body)
    monkeypatch.setattr(subscriber, "STALE_S", -1)

    subscriber.handler(sns_delivery(), None)

    assert "have no answer" in capsys.readouterr().out


def test_other_events_are_ignored(
    subscriber: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    subscriber.handler(sns_delivery("job.planned"), None)

    assert capsys.readouterr().out == ""
