"""Each role may do exactly what is written here: a change of either must change the other."""

from collections.abc import Callable
from typing import Any

import pytest

from infra.synth import synthesize

type Found = Callable[..., dict[str, dict[str, Any]]]
type Grants = dict[str, set[str]]

SECRET = (
    "arn:<AWS::Partition>:secretsmanager:<AWS::Region>:<AWS::AccountId>:"
    "secret:claude-batch-relay/anthropic-api-key-??????"
)

EXPECTED: dict[str, Grants] = {
    "SubmitRole": {
        "<SubmitLog>": {"logs:CreateLogStream", "logs:PutLogEvents"},
        "<StorageSubmitQueue>": {
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
        },
        "<StorageTable>": {
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
        },
        "<StorageUploads>": {"s3:ListBucket", "s3:ListBucketVersions"},
        "<StorageUploads>/*": {"s3:GetObject", "s3:GetObjectVersion"},
        "<StorageResults>": {"s3:ListBucket"},
        "<StorageResults>/work/*": {"s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"},
        "<StorageResults>/results/*": {"s3:GetObject"},
        "<StoragePollMissed>": {"sqs:SendMessage"},
        "<StorageEvents>": {"sns:Publish"},
        SECRET: {"secretsmanager:GetSecretValue"},
        "<PollFunction>": {"lambda:InvokeFunction"},
    },
    "PollRole": {
        "<PollLog>": {"logs:CreateLogStream", "logs:PutLogEvents"},
        "<StorageTable>": {
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
        },
        "<StorageTable>/index/unfinished": {"dynamodb:Query"},
        "<StorageResults>/results/*/status.json": {"s3:PutObject"},
        "<StorageSubmitQueue>": {"sqs:SendMessage"},
        "<StorageResultsQueue>": {"sqs:SendMessage"},
        "<StoragePollMissed>": {"sqs:SendMessage"},
        "<StorageEvents>": {"sns:Publish"},
        SECRET: {"secretsmanager:GetSecretValue"},
    },
    "PollClock": {
        "<PollFunction>": {"lambda:InvokeFunction"},
        "<StoragePollMissed>": {"sqs:SendMessage"},
    },
    "SubmitReconciliationClock": {
        "<SubmitFunction>": {"lambda:InvokeFunction"},
        "<StoragePollMissed>": {"sqs:SendMessage"},
    },
    "ResultsRole": {
        "<ResultsLog>": {"logs:CreateLogStream", "logs:PutLogEvents"},
        "<StorageResultsQueue>": {
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
        },
        "<StorageTable>": {
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
        },
        "<StorageUploads>": {"s3:ListBucket", "s3:ListBucketVersions"},
        "<StorageUploads>/*": {"s3:GetObject", "s3:GetObjectVersion"},
        "<StorageResults>": {"s3:ListBucket"},
        "<StorageResults>/work/*": {
            "s3:AbortMultipartUpload",
            "s3:GetObject",
            "s3:PutObject",
            "s3:PutObjectTagging",
        },
        "<StorageResults>/results/*": {"s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"},
        "<StorageEvents>": {"sns:Publish"},
        SECRET: {"secretsmanager:GetSecretValue"},
        "<PollFunction>": {"lambda:InvokeFunction"},
    },
}


def granted(roles: dict[str, dict[str, Any]]) -> dict[str, Grants]:
    """Read what each role may do: resource → actions, over all its policies."""
    return {name: _of_role(role) for name, role in roles.items()}


def _of_role(role: dict[str, Any]) -> Grants:
    grants: Grants = {}
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            assert set(statement) == {"Action", "Effect", "Resource"}
            assert statement["Effect"] == "Allow"
            for resource in _listed(statement["Resource"]):
                grants.setdefault(resource, set()).update(_listed(statement["Action"]))
    return grants


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_each_role_may_do_exactly_what_is_written_down(found: Found) -> None:
    assert granted(found("AWS::IAM::Role")) == EXPECTED


def test_nothing_is_granted_anywhere_but_in_the_roles_themselves(found: Found) -> None:
    assert not found("AWS::IAM::Policy")
    assert not found("AWS::IAM::ManagedPolicy")
    assert not found("AWS::Lambda::Permission")
    assert all("ManagedPolicyArns" not in role for role in found("AWS::IAM::Role").values())


@pytest.mark.parametrize("role", ["SubmitRole", "PollRole", "ResultsRole"])
def test_only_lambda_takes_a_functions_role(found: Found, role: str) -> None:
    trusted = found("AWS::IAM::Role")[role]["AssumeRolePolicyDocument"]["Statement"]

    assert trusted == [
        {
            "Action": "sts:AssumeRole",
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
        }
    ]


@pytest.mark.parametrize("clock", ["PollClock", "SubmitReconciliationClock"])
def test_only_this_accounts_schedules_take_a_clocks_role(found: Found, clock: str) -> None:
    (trusted,) = found("AWS::IAM::Role")[clock]["AssumeRolePolicyDocument"]["Statement"]

    assert trusted["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trusted["Condition"]["StringEquals"] == {
        "aws:SourceAccount": "<AWS::AccountId>",
        "aws:SourceArn": (
            "arn:<AWS::Partition>:scheduler:<AWS::Region>:<AWS::AccountId>:schedule-group/default"
        ),
    }


def test_traces_are_granted_only_where_they_are_asked_for(found: Found) -> None:
    traced = granted(found("AWS::IAM::Role", synthesize(tracing="true")))
    traces = {"*": {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}}

    assert traced == {
        name: grants if name.endswith("Clock") else grants | traces
        for name, grants in EXPECTED.items()
    }


def test_a_secret_named_by_the_user_is_the_one_that_may_be_read(found: Found) -> None:
    theirs = synthesize(secretName="their/key")
    grants = granted(found("AWS::IAM::Role", theirs))["SubmitRole"]

    assert SECRET.replace("claude-batch-relay/anthropic-api-key", "their/key") in grants
    assert not found("AWS::SecretsManager::Secret", theirs)


def test_only_s3_of_this_account_puts_uploads_into_the_submit_queue(found: Found) -> None:
    policy = found("AWS::SQS::QueuePolicy")["StorageSubmitQueuePolicy"]
    (allowed,) = [one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Allow"]

    assert allowed == {
        "Sid": "AllowS3Events",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": "<StorageSubmitQueue>",
        "Condition": {
            "StringEquals": {"aws:SourceAccount": "<AWS::AccountId>"},
            "ArnLike": {"aws:SourceArn": "arn:<AWS::Partition>:s3:::claude-batch-relay*"},
        },
    }
