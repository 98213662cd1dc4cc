"""A deployed stack as AWS describes it: our own template, resolved. Tests break it, part by part."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

from cli.deployment import Deployment
from functions.adapters.table import serialize
from infra.template import read_template
from infra.version import version

ACCOUNT, REGION, NAME = "111122223333", "eu-central-1", "claude-batch-relay"
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
SERVICES = {
    "AWS::S3::Bucket": "s3",
    "AWS::SQS::Queue": "sqs",
    "AWS::SNS::Topic": "sns",
    "AWS::Lambda::Function": "lambda",
    "AWS::DynamoDB::Table": "dynamodb",
    "AWS::Logs::LogGroup": "logs",
}


ACTIONS = {
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
}
"""Operation of S3 → the action that IAM knows it by, where the names differ."""


@cache
def template() -> dict[str, Any]:
    return read_template()


def physical_id(logical: str) -> str:
    match template()["Resources"][logical]["Type"]:
        case "AWS::SQS::Queue":
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{logical}"
        case "AWS::SNS::Topic":
            return f"arn:aws:sns:{REGION}:{ACCOUNT}:{logical}"
        case "AWS::S3::Bucket":
            return logical.lower()
    return logical


def arn(logical: str) -> str:
    service = SERVICES.get(template()["Resources"][logical]["Type"], "other")
    own = re.split("[/:]", physical_id(logical))[-1]
    return (
        f"arn:aws:{service}:{REGION}:{ACCOUNT}:{own}" if service != "s3" else f"arn:aws:s3:::{own}"
    )


def resolve(value: Any) -> Any:
    """Return a value of the template with its intrinsic functions resolved."""
    match value:
        case {"Ref": str(name)}:
            pseudo = {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT}
            return pseudo.get(name) or physical_id(name)
        case {"Fn::GetAtt": [str(name), attribute]}:
            return arn(name) if attribute == "Arn" else physical_id(name)
        case {"Fn::Join": [str(glue), [*parts]]}:
            return glue.join(map(resolve, parts))
        case dict():
            return {name: resolve(member) for name, member in value.items()}
        case list():
            return [resolve(element) for element in value]
    return value


@cache
def _client(service: str) -> Any:
    """Return the one client of a service: opening it takes long."""
    open_client: Any = boto3.client
    return open_client(
        service, region_name=REGION, aws_access_key_id="none", aws_secret_access_key="none"
    )


@dataclass
class Account:
    """The answers of AWS: operation → answer, by the name of a resource where it has one.

    An answer that is an error code refuses the call. `actions` are the permissions of all calls.
    """

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    actions: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.outputs = {
            name: resolve(output["Value"]) for name, output in template()["Outputs"].items()
        } | {"Version": version()}
        self.answers = {
            **_account_answers(), **_function_answers(), **_queue_answers(), **_role_answers(),
            **_bucket_answers(self.outputs),
        }  # fmt: skip

    def connect(self, service: str) -> Any:
        """Return a client whose calls are answered here. botocore validates their arguments."""
        client = _client(service)

        def call(operation: str, arguments: dict[str, Any]) -> Any:
            model = client.meta.service_model.operation_model(operation)
            validate_parameters(arguments, model.input_shape)
            self.actions.add(f"{service}:{ACTIONS.get(operation, operation)}")
            answer = self._answer(xform_name(operation), arguments)
            if isinstance(answer, str):
                raise ClientError({"Error": {"Code": answer, "Message": "refused"}}, operation)
            return answer

        client._make_api_call = call  # noqa: SLF001 - the one method that every API call goes through
        return client

    def _answer(self, operation: str, arguments: dict[str, Any]) -> Any:
        answers = self.answers[operation]
        if "" in answers:
            return answers[""]
        named = [
            value for value in arguments.values() if isinstance(value, str) and value in answers
        ]
        if operation == "get_item":
            named = [arguments["Key"]["item"]["S"]]
        return answers[named[0]]

    @property
    def deployment(self) -> Deployment:
        return Deployment(NAME, self.outputs, self.connect)


def resources(kind: str) -> dict[str, dict[str, Any]]:
    return {
        logical: resource.get("Properties", {})
        for logical, resource in template()["Resources"].items()
        if resource["Type"] == kind
    }


def _account_answers() -> dict[str, dict[str, Any]]:
    limits = {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}
    summaries = [
        {"LogicalResourceId": logical, "PhysicalResourceId": physical_id(logical)}
        for logical in template()["Resources"]
    ]
    subscription = {"SubscriptionArn": "arn:aws:sns:eu-central-1:1:events:2", "Protocol": "sqs"}
    topics = [physical_id(logical) for logical in resources("AWS::SNS::Topic")]
    alarms = [
        {"AlarmName": alarm["AlarmName"], "StateValue": "OK", "ActionsEnabled": True, "StateUpdatedTimestamp": NOW}
        for alarm in resources("AWS::CloudWatch::Alarm").values()
    ]  # fmt: skip
    schedules = {
        logical: {"Name": logical, "State": "ENABLED", "ScheduleExpression": schedule["ScheduleExpression"]}
        for logical, schedule in resources("AWS::Scheduler::Schedule").items()
    }  # fmt: skip
    sent = {"accepted_at": "2026-11-27T11:00:00.000Z"}
    return {
        "get_caller_identity": {"": {"Arn": "arn:aws:iam::111122223333:user/ada", "Account": ACCOUNT}},
        "describe_stacks": {"": {"Stacks": [{"StackStatus": "UPDATE_COMPLETE"}]}},
        "list_stack_resources": {"": {"StackResourceSummaries": summaries}},
        "get_template": {"": {"TemplateBody": json.dumps(template())}},
        "get_account_settings": {"": {"AccountLimit": limits}},
        "get_secret_value": {"": {"SecretString": "sk-ant-secret"}},
        "get_item": {
            "sending": {"Item": serialize({"job": "relay", "item": "sending", **sent})},
            "poll": {"Item": serialize({"job": "relay", "item": "poll", "ended_at": "2026-11-27T11:59:30.000Z"})},
        },
        "list_subscriptions_by_topic": {
            topic: {"Subscriptions": [subscription]} for topic in topics
        },
        "describe_alarms": {"": {"MetricAlarms": alarms}},
        "get_metric_statistics": {"": {"Datapoints": []}},
        "get_schedule": schedules,
    }  # fmt: skip


def _function_answers() -> dict[str, dict[str, Any]]:
    functions = resources("AWS::Lambda::Function")
    configurations = {
        logical: {
            "State": "Active", "LastUpdateStatus": "Successful", "LastModified": "2026-11-26T10:00:00.000+0000",
            "Environment": {"Variables": resolve(properties["Environment"]["Variables"])},
        }
        for logical, properties in functions.items()
    }  # fmt: skip
    mappings = {logical: {"EventSourceMappings": list[Any]()} for logical in functions}
    for mapping in map(resolve, resources("AWS::Lambda::EventSourceMapping").values()):
        described = {"EventSourceArn": mapping["EventSourceArn"], "State": "Enabled", "UUID": "1"}
        mappings[mapping["FunctionName"]]["EventSourceMappings"].append(described)
    return {
        "get_function_configuration": configurations,
        "get_function_concurrency": {logical: {} for logical in functions},
        "list_event_source_mappings": mappings,
    }


def _queue_answers() -> dict[str, dict[str, Any]]:
    queues = resources("AWS::SQS::Queue")
    attributes = {
        physical_id(logical): {
            "Attributes": {"QueueArn": arn(logical), "ApproximateNumberOfMessages": "0"}
        }
        for logical in queues
    }
    urls = {logical: {"QueueUrl": physical_id(logical)} for logical in queues}
    return {"get_queue_attributes": attributes, "get_queue_url": urls}


def _role_answers() -> dict[str, dict[str, Any]]:
    """Return the policies of all roles. A policy is named after its role, so that its name finds it."""
    roles = resources("AWS::IAM::Role")
    documents = {
        logical: [policy["PolicyDocument"] for policy in properties["Policies"]]
        for logical, properties in roles.items()
    }
    for policy in resources("AWS::IAM::Policy").values():
        for role in policy["Roles"]:
            documents[role["Ref"]].append(policy["PolicyDocument"])
    return {
        "list_role_policies": {
            logical: {"PolicyNames": [f"{logical}-{n}" for n in range(len(found))]}
            for logical, found in documents.items()
        },
        "get_role_policy": {
            f"{logical}-{n}": {"PolicyDocument": resolve(document)}
            for logical, found in documents.items()
            for n, document in enumerate(found)
        },
        "list_attached_role_policies": {logical: {"AttachedPolicies": []} for logical in roles},
    }


def _bucket_answers(outputs: dict[str, str]) -> dict[str, dict[str, Any]]:
    buckets = {
        physical_id(logical): properties
        for logical, properties in resources("AWS::S3::Bucket").items()
    }
    notified = [{"QueueArn": arn(outputs["SubmitQueueUrl"].rpartition("/")[2]), "Events": ["s3:ObjectCreated:*"]}]  # fmt: skip
    encrypted = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
    encryption = {"ServerSideEncryptionConfiguration": {"Rules": encrypted}}
    return {
        "get_bucket_notification_configuration": {"": {"QueueConfigurations": notified}},
        "get_bucket_encryption": dict.fromkeys(buckets, encryption),
        "get_bucket_versioning": {
            bucket: properties.get("VersioningConfiguration", {})
            for bucket, properties in buckets.items()
        },
        "get_bucket_lifecycle_configuration": {
            bucket: {
                "Rules": [_rule(rule) for rule in properties["LifecycleConfiguration"]["Rules"]]
            }
            for bucket, properties in buckets.items()
        },
        "get_public_access_block": {
            bucket: {
                "PublicAccessBlockConfiguration": properties["PublicAccessBlockConfiguration"]
            }
            for bucket, properties in buckets.items()
        },
    }


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a lifecycle rule as S3 describes it."""
    described = {"ID": rule["Id"], "Status": rule["Status"], "Filter": {"Prefix": ""}}
    if "TagFilters" in rule:
        described["Filter"] = {"And": {"Prefix": rule["Prefix"], "Tags": rule["TagFilters"]}}
    if "ExpirationInDays" in rule:
        described["Expiration"] = {"Days": rule["ExpirationInDays"]}
    if "ExpiredObjectDeleteMarker" in rule:
        described["Expiration"] = {"ExpiredObjectDeleteMarker": True}
    same = ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
    return described | {name: rule[name] for name in same if name in rule}
