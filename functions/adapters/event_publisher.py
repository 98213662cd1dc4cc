"""The adapter for SNS, which publishes the events."""

from typing import TYPE_CHECKING

import boto3
import msgspec
from botocore.exceptions import ClientError

from functions.adapters.clients import QUICK
from functions.model.events import Event

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


class EventPublisher:
    """The topic for events."""

    def __init__(self, topic_arn: str, source: str, *, client: "SNSClient | None" = None) -> None:
        self._topic, self._source = topic_arn, source
        self._sns: SNSClient = client or boto3.client("sns", config=QUICK)

    def publish(self, event: Event) -> None:
        """Publish an event. It is delivered at least once, always with the same id."""
        self._sns.publish(
            TopicArn=self._topic,
            Subject=event.sns_subject,
            Message=msgspec.json.encode(event.cloud_event(self._source)).decode(),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": text}
                for name, text in event.message_attributes().items()
            },
        )


def is_message_error(error: Exception) -> bool:
    """Return whether SNS rejects this one message, in which case other messages can still be published."""
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    return code in {"InvalidParameter", "InvalidParameterValue", "ParameterValueInvalid"}
