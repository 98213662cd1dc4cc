"""A message whose work fails is soon there again."""

from typing import Any

import boto3
import pytest
from moto import mock_aws

from functions.adapters.redelivery import MAX_PAUSE_S, PAUSE_S, Redelivery


@pytest.mark.parametrize(
    ("receives", "retry_delay_s"), [(1, PAUSE_S), (3, 3 * PAUSE_S), (999, MAX_PAUSE_S)]
)
def test_a_message_that_fails_comes_again_after_a_pause_that_grows(
    receives: int, retry_delay_s: int
) -> None:
    with mock_aws():
        sqs = boto3.client("sqs", region_name="eu-central-1")
        asked: list[int] = []
        sqs.meta.events.register(
            "before-parameter-build.sqs.ChangeMessageVisibility",
            lambda params, **_: asked.append(params["VisibilityTimeout"]),
        )
        url, message = received(sqs, receives)

        with (
            pytest.raises(ZeroDivisionError),
            Redelivery(url, client=sqs).redelivering_on_error(message),
        ):
            _ = 1 / 0

        assert asked == [retry_delay_s]


def test_a_message_that_succeeds_is_left_alone() -> None:
    with mock_aws():
        sqs = boto3.client("sqs", region_name="eu-central-1")
        url, message = received(sqs, 1)
        with Redelivery(url, client=sqs).redelivering_on_error(message):
            pass

        hidden = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert hidden["ApproximateNumberOfMessagesNotVisible"] == "1"


def test_where_sqs_refuses_the_first_error_is_the_one_that_counts() -> None:
    with mock_aws():
        sqs = boto3.client("sqs", region_name="eu-central-1")
        url, _ = received(sqs, 1)
        message = {"receiptHandle": "none", "attributes": {}}

        with (
            pytest.raises(ZeroDivisionError),
            Redelivery(url, client=sqs).redelivering_on_error(message),
        ):
            _ = 1 / 0


def received(sqs: Any, receives: int) -> tuple[str, dict[str, Any]]:
    """Send a message and receive it; gives the queue and the record that Lambda would be given."""
    url = sqs.create_queue(QueueName="submit")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    count = {"ApproximateReceiveCount": str(receives)}
    return url, {"receiptHandle": message["ReceiptHandle"], "attributes": count}
