"""What several roles may do; what only one may do is in its stage's file."""

from collections.abc import Sequence

from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs

from infra.storage import Storage


def allow(actions: Sequence[str], *resources: str) -> iam.PolicyStatement:
    """Allow these actions, named one by one, on these resources."""
    return iam.PolicyStatement(actions=list(actions), resources=list(resources))


def of_every_stage(storage: Storage) -> list[iam.PolicyStatement]:
    """Allow what every stage does: keep the table, publish events, read the API key."""
    return [
        allow(
            [
                "dynamodb:GetItem",
                "dynamodb:PutItem",
                "dynamodb:UpdateItem",
                "dynamodb:DeleteItem",
                "dynamodb:Query",
            ],
            storage.table.table_arn,
        ),
        allow(["sns:Publish"], storage.events.topic_arn),
        allow(["secretsmanager:GetSecretValue"], storage.secret_arn),
    ]


def of_queued_stages(
    storage: Storage, queue: sqs.Queue, poll: lambda_.Function
) -> list[iam.PolicyStatement]:
    """Allow what submit and results do: take messages, read uploads, wake poll."""
    return [
        allow(
            [
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:GetQueueAttributes",
            ],
            queue.queue_arn,
        ),
        allow(["s3:GetObject", "s3:GetObjectVersion"], storage.uploads.arn_for_objects("*")),
        # Without them, S3 answers 403 for an object or a version that is not there, not 404.
        allow(["s3:ListBucket", "s3:ListBucketVersions"], storage.uploads.bucket_arn),
        allow(["s3:ListBucket"], storage.results.bucket_arn),
        allow(["lambda:InvokeFunction"], poll.function_arn),
    ]
