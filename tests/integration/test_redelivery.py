"""A message whose handler fails is redelivered soon."""

from typing import Any

import boto3
import pytest
from moto import mock_aws

from functions.adapters.redelivery import MAX_PAUSE_S, PAUSE_S, Redelivery


@pytest.mark.parametrize(
    ("receive_count", "retry_delay_s"), [(1, PAUSE_S), (3, 3 * PAUSE_S), (999, MAX_PAUSE_S)]
)
def test_a_failed_message_is_redelivered_with_growing_delays(
    receive_count: int, retry_delay_s: int
) -> None:
    with mock_aws():
        sqs = boto3.client("sqs", region_name="eu-central-1")
        timeouts: list[int] = []
        sqs.meta.events.register(
            "before-parameter-build.sqs.ChangeMessageVisibility",
            lambda params, **_: timeouts.append(params["VisibilityTimeout"]),
        )
        url, message = receive_message(sqs, receive_count)

        with (
            pytest.raises(ZeroDivisionError),
            Redelivery(url, client=sqs).redelivering_on_error(message),
        ):
            _ = 1 / 0

        assert timeouts == [retry_delay_s]


def test_the_visibility_of_a_handled_message_is_not_changed() -> None:
    with mock_aws():
        sqs = boto3.client("sqs", region_name="eu-central-1")
        url, message = receive_message(sqs, 1)
        with Redelivery(url, client=sqs).redelivering_on_error(message):
            pass

        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert attributes["ApproximateNumberOfMessagesNotVisible"] == "1"


def test_an_error_of_sqs_does_not_hide_the_original_error() -> None:
    with mock_aws():
        sqs = boto3.client("sqs", region_name="eu-central-1")
        url, _ = receive_message(sqs, 1)
        message = {"receiptHandle": "none", "attributes": {}}

        with (
            pytest.raises(ZeroDivisionError),
            Redelivery(url, client=sqs).redelivering_on_error(message),
        ):
            _ = 1 / 0


def receive_message(sqs: Any, receive_count: int) -> tuple[str, dict[str, Any]]:
    """Send and receive a message; return the queue, and the record that Lambda would get."""
    url = sqs.create_queue(QueueName="submit")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    attributes_ = {"ApproximateReceiveCount": str(receive_count)}
    return url, {"receiptHandle": message["ReceiptHandle"], "attributes": attributes_}
