"""Subscribe a temporary queue to the relay's events."""

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient


class Messaging(Protocol):
    """An AWS account with queues and topics: `local.cloud.Cloud`, or another one."""

    @property
    def sqs(self) -> "SQSClient":
        """Queues."""

    @property
    def sns(self) -> "SNSClient":
        """Topics."""


@dataclass(frozen=True)
class Delivery:
    """One delivery of an event; the same event may be delivered again.

    Attributes:
        event: the CloudEvent.
        subject: the subject line for people.
        attributes: the message attributes, for filters.
    """

    event: Mapping[str, Any]
    subject: str
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class Subscriber:
    """A queue that receives every event of a topic."""

    cloud: Messaging
    queue_url: str

    def receive(self, wait_s: int = 0) -> Iterator[Delivery]:
        """Yield new deliveries; wait up to ``wait_s`` for the first."""
        while True:
            answer = self.cloud.sqs.receive_message(
                QueueUrl=self.queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=wait_s
            )
            messages = answer.get("Messages", [])
            for message in messages:
                yield _read(message["Body"])
                self.cloud.sqs.delete_message(
                    QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"]
                )
            if not messages:
                return
            wait_s = 0


@contextmanager
def subscribe(cloud: Messaging, topic: str) -> Iterator[Subscriber]:
    """Subscribe a new queue to the topic; delete queue and subscription at exit, whatever happens before."""
    url = cloud.sqs.create_queue(QueueName=f"relay-events-{uuid.uuid4().hex[:12]}")["QueueUrl"]
    with ExitStack() as exits:
        exits.callback(lambda: cloud.sqs.delete_queue(QueueUrl=url))
        arn = cloud.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        queue = arn["Attributes"]["QueueArn"]
        cloud.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": _policy(queue, topic)})
        subscription = cloud.sns.subscribe(
            TopicArn=topic, Protocol="sqs", Endpoint=queue, ReturnSubscriptionArn=True
        )
        arn_of_subscription = subscription["SubscriptionArn"]
        exits.callback(lambda: cloud.sns.unsubscribe(SubscriptionArn=arn_of_subscription))
        yield Subscriber(cloud, url)


def _policy(queue: str, topic: str) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _read(body: str) -> Delivery:
    notification = json.loads(body)
    message_attributes = notification.get("MessageAttributes", {})
    return Delivery(
        event=json.loads(notification["Message"]),
        subject=notification.get("Subject", ""),
        attributes={name: attribute["Value"] for name, attribute in message_attributes.items()},
    )
