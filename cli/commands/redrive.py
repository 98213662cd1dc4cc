"""`relay redrive`: move dead letters back to the queues that they came from."""

import typer
from botocore.exceptions import ClientError

from cli import invocation
from cli.deployment import Deployment
from cli.output import table

QUEUES = {
    "submit": ("DeadUploadsQueueArn", "SubmitQueueUrl"),
    "results": ("DeadResultsQueueArn", "ResultsQueueUrl"),
}
"""Stage → the outputs with its dead-letter queue and its queue."""
_UNSUPPORTED = ("UnsupportedOperation", "InvalidAction", "NotImplemented", "UnknownOperation")


def redrive(context: typer.Context) -> None:
    """Move all dead letters back to their queues. Safe to repeat."""
    run = invocation.of(context)
    moved = {
        stage: _redrive(run.deployment, dead, source) for stage, (dead, source) in QUEUES.items()
    }
    rows = [(stage, f"{count:,}") for stage, count in moved.items()]
    run.output.show(moved, table(("QUEUE", "DEAD LETTERS MOVED"), rows))


def _redrive(deployment: Deployment, dead_output: str, source_output: str) -> int:
    """Start the move, and return how many messages there are, as SQS estimates it."""
    arn = deployment.output(dead_output)
    url = deployment.sqs.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"]
    answer = deployment.sqs.get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
    )
    count = int(answer["Attributes"]["ApproximateNumberOfMessages"])
    if not count:
        return 0
    try:
        deployment.sqs.start_message_move_task(SourceArn=arn)
    except ClientError as error:
        if not error.response["Error"]["Code"].rpartition(".")[2].startswith(_UNSUPPORTED):
            raise
        return _move(deployment, url, deployment.output(source_output))
    return count


def _move(deployment: Deployment, dead: str, source: str) -> int:
    """Move messages one by one, for an emulator without the task. A crash may duplicate one, which is harmless."""
    moved = 0
    while messages := deployment.sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10).get(
        "Messages", []
    ):
        for message in messages:
            deployment.sqs.send_message(QueueUrl=source, MessageBody=message["Body"])
            deployment.sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
            moved += 1
    return moved
