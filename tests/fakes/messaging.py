"""In-memory SQS and SNS: queues keep their messages, and one queue is subscribed to the topic."""

import json
import uuid
from typing import Any

from tests.fakes.errors import FakeAwsError

MAX_ENTRIES = 10
MAX_MESSAGE = 256 * 1024
"""Maximum size in bytes: https://docs.aws.amazon.com/sns/latest/dg/large-message-payloads.html."""
MAX_SUBJECT = 100


class FakeSqs:
    """Queues by URL. A received message is gone: nothing is redelivered."""

    def __init__(self) -> None:
        self.queues: dict[str, list[str]] = {}

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> Any:  # noqa: N803 - AWS's names
        if not 1 <= len(Entries) <= MAX_ENTRIES:
            raise FakeAwsError("AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
        if len({entry["Id"] for entry in Entries}) < len(Entries):
            raise FakeAwsError("AWS.SimpleQueueService.BatchEntryIdsNotDistinct")
        if sum(len(entry["MessageBody"].encode()) for entry in Entries) > MAX_MESSAGE:
            raise FakeAwsError("AWS.SimpleQueueService.BatchRequestTooLong")
        self.queues.setdefault(QueueUrl, []).extend(entry["MessageBody"] for entry in Entries)
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def send_message(self, *, QueueUrl: str, MessageBody: str, **_: Any) -> Any:  # noqa: N803
        self.queues.setdefault(QueueUrl, []).append(MessageBody)
        return {"MessageId": str(uuid.uuid4())}

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int = 1, **_: Any) -> Any:  # noqa: N803
        waiting = self.queues.get(QueueUrl, [])
        received, self.queues[QueueUrl] = (
            waiting[:MaxNumberOfMessages],
            waiting[MaxNumberOfMessages:],
        )
        messages = [{"Body": body, "ReceiptHandle": str(uuid.uuid4())} for body in received]
        return {"Messages": messages} if messages else {}

    def delete_message(self, **_: Any) -> Any:
        return {}

    def change_message_visibility(self, **_: Any) -> Any:
        return {}


class FakeSns:
    """One topic with one subscriber."""

    def __init__(self, sqs: FakeSqs, topic: str, subscriber: str) -> None:
        self._sqs, self._topic, self._subscriber = sqs, topic, subscriber

    def publish(
        self,
        *,
        TopicArn: str,  # noqa: N803 - AWS's names
        Message: str,  # noqa: N803
        Subject: str = "",  # noqa: N803
        MessageAttributes: dict[str, Any] | None = None,  # noqa: N803
    ) -> Any:
        if TopicArn != self._topic:
            raise FakeAwsError("NotFound", "Topic does not exist", status=404)
        is_header = Subject.isascii() and Subject.isprintable() and len(Subject) <= MAX_SUBJECT
        if not is_header or len(Message.encode()) > MAX_MESSAGE:
            raise FakeAwsError("InvalidParameter", "Invalid parameter: Subject or Message")
        attributes = {
            name: {"Type": value["DataType"], "Value": value["StringValue"]}
            for name, value in (MessageAttributes or {}).items()
        }
        if not all(value["Value"] for value in attributes.values()):
            raise FakeAwsError("ParameterValueInvalid", "an attribute must not be empty")
        message_id = str(uuid.uuid4())
        envelope = {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": TopicArn,
            "Subject": Subject,
            "Message": Message,
            "MessageAttributes": attributes,
        }
        self._sqs.send_message(QueueUrl=self._subscriber, MessageBody=json.dumps(envelope))
        return {"MessageId": message_id}
