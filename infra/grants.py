"""Permissions that several roles share. Permissions of one role are in the file of its stage."""

from collections.abc import Sequence

from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs

from infra.storage import Storage


def allow(actions: Sequence[str], *resources: str) -> iam.PolicyStatement:
    """Return a statement that allows the named actions on the resources."""
    return iam.PolicyStatement(actions=list(actions), resources=list(resources))


def common_grants(storage: Storage) -> list[iam.PolicyStatement]:
    """Return what every stage may do: use the table, publish events, read the API key."""
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


def queue_stage_grants(
    storage: Storage, queue: sqs.Queue, poll: lambda_.Function
) -> list[iam.PolicyStatement]:
    """Return what submit and results may do: receive messages, read uploads, invoke poll."""
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
        # Without these, S3 answers 403 instead of 404 for an object or a version that does not exist.
        allow(["s3:ListBucket", "s3:ListBucketVersions"], storage.uploads.bucket_arn),
        allow(["s3:ListBucket"], storage.results.bucket_arn),
        allow(["lambda:InvokeFunction"], poll.function_arn),
    ]
