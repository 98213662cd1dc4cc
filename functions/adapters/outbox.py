"""The adapter for SNS: the webhook that Anthropic does not have."""

from typing import TYPE_CHECKING

import boto3
import msgspec
from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.clients import QUICK
from functions.adapters.store import Store
from functions.model.events import Event

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

logger = Logger(child=True)


class EventPublisher:
    """The topic of events."""

    def __init__(self, topic_arn: str, source: str, *, client: "SNSClient | None" = None) -> None:
        self._topic, self._source = topic_arn, source
        self._sns: SNSClient = client or boto3.client("sns", config=QUICK)

    def publish(self, event: Event) -> None:
        """Publish an event; delivered at least once, always under the same id."""
        self._sns.publish(
            TopicArn=self._topic,
            Subject=event.sns_subject,
            Message=msgspec.json.encode(event.cloud_event(self._source)).decode(),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": text}
                for name, text in event.message_attributes().items()
            },
        )

    def publish_pending(self, store: Store, pending: list[Event]) -> int:
        """Publish what is owed, oldest first; what SNS does not take now, poll brings later."""
        published = 0
        for event in sorted(pending, key=lambda one: one.time):
            try:
                self.publish(event)
            except (ClientError, BotoCoreError) as error:
                logger.warning(
                    "not published yet", extra={"event": event.id, "problem": type(error).__name__}
                )
                if _is_message_error(error):
                    continue
                return published
            store.delete_event(event)
            published += 1
        return published


def _is_message_error(error: Exception) -> bool:
    """Whether SNS takes offence at one message alone: the others must not wait behind it."""
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    return code in {"InvalidParameter", "InvalidParameterValue", "ParameterValueInvalid"}
