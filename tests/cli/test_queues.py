"""Commands that use queues of their own, against moto's SQS and SNS."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from cli.deployment import Deployment
from tests.cli.conftest import CommandLine

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION = "eu-central-1"


@pytest.fixture
def relay() -> Iterator[CommandLine]:
    """A stack with queues, their dead-letter queues and a topic."""
    with mock_aws():
        clients: dict[str, Any] = {name: boto3.client(name, region_name=REGION) for name in ("sqs", "sns")}  # fmt: skip
        sqs, outputs = clients["sqs"], {}
        for dead, queue in (("DeadUploads", "Submit"), ("DeadResults", "Results")):
            dead_url = sqs.create_queue(QueueName=dead)["QueueUrl"]
            arn = sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
            outputs[f"{dead}QueueArn"] = arn["Attributes"]["QueueArn"]
            outputs[f"{queue}QueueUrl"] = sqs.create_queue(QueueName=queue)["QueueUrl"]
        outputs["EventsTopicArn"] = clients["sns"].create_topic(Name="events")["TopicArn"]
        yield CommandLine(Deployment("test", outputs, clients.__getitem__))


def test_dead_letters_are_moved_by_sqs(
    relay: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = relay.deployment.sqs
    moved: list[dict[str, str]] = []
    monkeypatch.setattr(sqs, "start_message_move_task", lambda **task: moved.append(task))
    sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName="DeadUploads")["QueueUrl"], MessageBody="x")  # fmt: skip

    assert relay.json("redrive") == {"submit": 1, "results": 0}
    assert moved == [{"SourceArn": relay.deployment.output("DeadUploadsQueueArn")}]


def test_dead_letters_are_moved_one_by_one_where_sqs_cannot(
    relay: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = relay.deployment.sqs

    def unsupported(**_task: str) -> None:
        raise ClientError({"Error": {"Code": "InvalidAction"}}, "StartMessageMoveTask")

    monkeypatch.setattr(sqs, "start_message_move_task", unsupported)
    dead = sqs.get_queue_url(QueueName="DeadResults")["QueueUrl"]
    sqs.send_message(QueueUrl=dead, MessageBody="x")

    assert relay.json("redrive") == {"submit": 0, "results": 1}
    [message] = sqs.receive_message(QueueUrl=relay.deployment.output("ResultsQueueUrl"))[
        "Messages"
    ]
    assert message["Body"] == "x"
    assert "Messages" not in sqs.receive_message(QueueUrl=dead)


@pytest.mark.parametrize("interrupted", [True, False])
def test_events_are_printed_and_their_queue_is_removed(
    relay: CommandLine, monkeypatch: pytest.MonkeyPatch, *, interrupted: bool
) -> None:
    sqs, sns = relay.deployment.sqs, relay.deployment.sns
    receive, topic = sqs.receive_message, relay.deployment.topic
    monkeypatch.setattr("cli.commands.events.WAIT_S", 0)
    monkeypatch.setattr("signal.signal", lambda *_arguments: None)
    event = {"id": "1", "type": "io.relay.job.completed", "time": "2026-11-27T10:00:00.123456Z"}
    publish = [json.dumps(event)]

    def receiving(**arguments: Any) -> Any:
        if publish:
            sns.publish(TopicArn=topic, Message=publish.pop(), Subject="march: succeeded")
        elif interrupted:
            raise KeyboardInterrupt
        return receive(**arguments)

    monkeypatch.setattr(sqs, "receive_message", receiving)

    assert relay.json_lines("events", "--seconds", "0.2") == [event]
    publish.append(json.dumps(event))
    assert "2026-11-27T10:00:00.123Z  job.completed       march" in relay("events", "--seconds", "0.2").stdout  # fmt: skip
    assert "relay-events" not in str(sqs.list_queues()["QueueUrls"])
    assert not sns.list_subscriptions()["Subscriptions"]
