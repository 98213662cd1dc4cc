"""Checks of what was changed by hand: what the roles and the buckets have, against the deployed template."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from cli.doctor.stack import Diagnosis, last_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cli.doctor.stack import Stack

_RESTORE = "put it back as the template has it"
type _Grants = set[tuple[str, str]]
"""Actions, each with a resource: its ARN, or in the template a pattern of it."""


def permissions(stack: Stack) -> Diagnosis:
    """Check that each role may do what the template grants, and nothing else."""
    roles = list(stack.resources("AWS::IAM::Role"))
    problems = [problem for role in roles for problem in _of_role(stack, *role[:2], role[2])]
    return Diagnosis(f"{len(roles)} roles have what the template grants", problems)


def _of_role(
    stack: Stack, logical: str, role: str, properties: Mapping[str, Any]
) -> Iterator[str]:
    expected = _grants_of_template(stack, logical, properties)
    found = _grants_of_role(stack, role)
    for action, pattern in sorted(expected):
        if not any(_matches(action, pattern, *grant) for grant in found):
            yield f"the role {role} lacks {action} on {_readable(pattern)}: {_RESTORE}"
    for action, resource in sorted(found):
        if not any(_matches(*grant, action, resource) for grant in expected):
            yield f"the role {role} also has {action} on {resource}, which the template does not grant: remove it"
    attached = stack.iam.list_attached_role_policies(RoleName=role)
    for policy in attached["AttachedPolicies"]:
        yield f"the role {role} also has the policy {policy['PolicyName']}: detach it"


def _matches(action: str, pattern: str, found_action: str, resource: str) -> bool:
    return action == found_action and re.fullmatch(pattern, resource) is not None


def _grants_of_template(stack: Stack, logical: str, properties: Mapping[str, Any]) -> _Grants:
    documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    for _, _, policy in stack.resources("AWS::IAM::Policy"):
        if {"Ref": logical} in policy["Roles"]:
            documents.append(policy["PolicyDocument"])
    return {
        (action, _pattern(resource, stack.physical_ids))
        for document in documents
        for action, resource in _allowed(document)
    }


def _grants_of_role(stack: Stack, role: str) -> _Grants:
    names = stack.iam.list_role_policies(RoleName=role)["PolicyNames"]
    policies = [stack.iam.get_role_policy(RoleName=role, PolicyName=name) for name in names]
    return {grant for policy in policies for grant in _allowed(policy["PolicyDocument"])}


def _allowed(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each action of a policy with each of its resources. A denial counts as an action of its own."""
    for statement in _listed(document["Statement"]):
        prefix = "" if statement["Effect"] == "Allow" else "Deny "
        for action in _listed(statement["Action"]):
            for resource in _listed(statement["Resource"]):
                yield prefix + action, resource


def _listed(value: Any) -> Sequence[Any]:  # noqa: ANN401 - policies write one element without its list
    return value if isinstance(value, list) else [value]


def _pattern(resource: Any, physical_ids: Mapping[str, str]) -> str:  # noqa: ANN401 - any intrinsic
    """Return a pattern of the ARN that CloudFormation makes of a resource in the template."""
    match resource:
        case str():
            return re.escape(resource)
        case {"Fn::Join": [str(glue), [*parts]]}:
            return re.escape(glue).join(_pattern(part, physical_ids) for part in parts)
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), _]} if name in physical_ids:
            return f".*{re.escape(last_part(physical_ids[name]))}.*"
    return ".*"


def _readable(pattern: str) -> str:
    return re.sub(r"\\(.)", r"\1", pattern.replace(".*", ""))


def buckets(stack: Stack) -> Diagnosis:
    """Check that encryption, lifecycle, versioning and the block of public access are as deployed."""
    found = list(stack.resources("AWS::S3::Bucket"))
    problems = [
        f"{what} of {bucket} was changed: {_RESTORE}"
        for _, bucket, properties in found
        for what in _changed(stack, bucket, properties)
    ]
    return Diagnosis(f"{len(found)} have the encryption and lifecycle of the template", problems)


def _changed(stack: Stack, bucket: str, properties: Mapping[str, Any]) -> Iterator[str]:
    s3 = stack.deployment.s3
    expected = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]
    encryption = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    default = encryption["Rules"][0]["ApplyServerSideEncryptionByDefault"]
    if default["SSEAlgorithm"] != expected["ServerSideEncryptionByDefault"]["SSEAlgorithm"]:
        yield "the encryption"
    versioning = properties.get("VersioningConfiguration", {}).get("Status")
    if s3.get_bucket_versioning(Bucket=bucket).get("Status") != versioning:
        yield "the versioning"
    rules: Any = _or_none(s3.get_bucket_lifecycle_configuration, bucket, "Rules") or []
    own = {rule["ID"]: rule for rule in map(_flat, rules)}
    for rule in properties["LifecycleConfiguration"]["Rules"]:
        if own.get(rule["Id"]) != _flat_of_template(rule):
            yield f"the lifecycle rule {rule['Id']}"
    block = _or_none(s3.get_public_access_block, bucket, "PublicAccessBlockConfiguration")
    if block != properties["PublicAccessBlockConfiguration"]:
        yield "the block of public access"


def _or_none(read: Any, bucket: str, member: str) -> Any:  # noqa: ANN401 - an operation of boto3
    """Return a configuration of a bucket; None if it has none, which S3 reports as an error."""
    try:
        return read(Bucket=bucket)[member]
    except ClientError as error:
        if not error.response["Error"]["Code"].startswith("NoSuch"):
            raise
        return None


def _flat(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a lifecycle rule of S3, without the nesting that differs from CloudFormation's."""
    both = rule.get("Filter", {}).get("And", rule.get("Filter", {}))
    tags = both.get("Tags", [both["Tag"]] if "Tag" in both else [])
    return {
        "ID": rule["ID"],
        "Status": rule["Status"],
        "Prefix": both.get("Prefix") or rule.get("Prefix") or "",
        "Tags": {tag["Key"]: tag["Value"] for tag in tags},
        "Days": rule.get("Expiration", {}).get("Days"),
        "Marker": rule.get("Expiration", {}).get("ExpiredObjectDeleteMarker", False),
        "Old": rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays"),
        "Abort": rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation"),
    }


def _flat_of_template(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ID": rule["Id"],
        "Status": rule["Status"],
        "Prefix": rule.get("Prefix", ""),
        "Tags": {tag["Key"]: tag["Value"] for tag in rule.get("TagFilters", [])},
        "Days": rule.get("ExpirationInDays"),
        "Marker": rule.get("ExpiredObjectDeleteMarker", False),
        "Old": rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays"),
        "Abort": rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation"),
    }
