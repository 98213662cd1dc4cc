"""Each role has exactly the permissions listed here; a change must update both."""

from collections.abc import Callable
from typing import Any

import pytest

from infra.synth import synthesize

type FindResources = Callable[..., dict[str, dict[str, Any]]]
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
        "<StorageTable>/index/unfinished": {"dynamodb:Query"},
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
        "<StorageResults>/jobs.json": {"s3:GetObject", "s3:PutObject"},
        "<StorageResults>": {"s3:ListBucket"},
        "<StorageResults>/ledger/*.csv": {
            "s3:AbortMultipartUpload",
            "s3:GetObject",
            "s3:PutObject",
        },
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
    """Return what each role may do, over all its policies: resource → actions."""
    return {name: _grants_of(role) for name, role in roles.items()}


def _grants_of(role: dict[str, Any]) -> Grants:
    grants: Grants = {}
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            assert set(statement) == {"Action", "Effect", "Resource"}
            assert statement["Effect"] == "Allow"
            for resource in _as_list(statement["Resource"]):
                grants.setdefault(resource, set()).update(_as_list(statement["Action"]))
    return grants


def _as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_each_role_has_exactly_these_permissions(resources_of: FindResources) -> None:
    assert granted(resources_of("AWS::IAM::Role")) == EXPECTED


def test_permissions_outside_of_the_roles_only_let_poll_invoke_itself(
    resources_of: FindResources,
) -> None:
    """The function refers to its role, so the role itself cannot refer to the function."""
    policies = resources_of("AWS::IAM::Policy")

    assert granted({name: {"Policies": [policy]} for name, policy in policies.items()}) == {
        "PollAgain": {"<PollFunction>": {"lambda:InvokeFunction"}}
    }
    assert policies["PollAgain"]["Roles"] == ["<PollRole>"]
    assert not resources_of("AWS::IAM::ManagedPolicy")
    assert not resources_of("AWS::Lambda::Permission")
    assert all("ManagedPolicyArns" not in role for role in resources_of("AWS::IAM::Role").values())


@pytest.mark.parametrize("role", ["SubmitRole", "PollRole", "ResultsRole"])
def test_only_lambda_can_assume_a_functions_role(resources_of: FindResources, role: str) -> None:
    trust_statement = resources_of("AWS::IAM::Role")[role]["AssumeRolePolicyDocument"]["Statement"]

    assert trust_statement == [
        {
            "Action": "sts:AssumeRole",
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
        }
    ]


@pytest.mark.parametrize("clock", ["PollClock", "SubmitReconciliationClock"])
def test_only_schedules_of_this_account_can_assume_a_clocks_role(
    resources_of: FindResources, clock: str
) -> None:
    (trust_statement,) = resources_of("AWS::IAM::Role")[clock]["AssumeRolePolicyDocument"][
        "Statement"
    ]

    assert trust_statement["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trust_statement["Condition"]["StringEquals"] == {
        "aws:SourceAccount": "<AWS::AccountId>",
        "aws:SourceArn": (
            "arn:<AWS::Partition>:scheduler:<AWS::Region>:<AWS::AccountId>:schedule-group/default"
        ),
    }


def test_tracing_is_granted_only_if_enabled(resources_of: FindResources) -> None:
    traced_grants = granted(resources_of("AWS::IAM::Role", synthesize(tracing="true")))
    trace_grants = {"*": {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}}

    assert traced_grants == {
        name: grants if name.endswith("Clock") else grants | trace_grants
        for name, grants in EXPECTED.items()
    }


def test_only_the_secret_named_by_the_user_can_be_read(resources_of: FindResources) -> None:
    template_with_own_secret = synthesize(secretName="their/key")
    grants = granted(resources_of("AWS::IAM::Role", template_with_own_secret))["SubmitRole"]

    assert SECRET.replace("claude-batch-relay/anthropic-api-key", "their/key") in grants
    assert not resources_of("AWS::SecretsManager::Secret", template_with_own_secret)


def test_poll_alone_reads_the_admin_key_and_only_if_its_secret_is_named(
    resources_of: FindResources,
) -> None:
    checked_grants = granted(
        resources_of("AWS::IAM::Role", synthesize(adminSecretName="their/admin-key"))
    )
    admin_secret = SECRET.replace("claude-batch-relay/anthropic-api-key", "their/admin-key")

    assert checked_grants == EXPECTED | {
        "PollRole": EXPECTED["PollRole"] | {admin_secret: {"secretsmanager:GetSecretValue"}}
    }


def test_only_s3_of_this_account_can_send_to_the_submit_queue(resources_of: FindResources) -> None:
    policy = resources_of("AWS::SQS::QueuePolicy")["StorageSubmitQueuePolicy"]
    (allow_statement,) = [
        policy_statement
        for policy_statement in policy["PolicyDocument"]["Statement"]
        if policy_statement["Effect"] == "Allow"
    ]

    assert allow_statement == {
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
