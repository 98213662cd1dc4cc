"""Stored data is private, encrypted, and kept as long as configured."""

from collections.abc import Callable
from typing import Any

import pytest

from infra.synth import synthesize

type FindResources = Callable[..., dict[str, dict[str, Any]]]
type Template = dict[str, Any]


def denies_plain_http(policy: dict[str, Any]) -> bool:
    return any(
        resource["Effect"] == "Deny"
        and resource["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for resource in policy["PolicyDocument"]["Statement"]
    )


@pytest.mark.parametrize(
    ("resource_type", "policies", "attribute"),
    [
        ("AWS::S3::Bucket", "AWS::S3::BucketPolicy", "Bucket"),
        ("AWS::SQS::Queue", "AWS::SQS::QueuePolicy", "Queues"),
        ("AWS::SNS::Topic", "AWS::SNS::TopicPolicy", "Topics"),
    ],
)
def test_every_bucket_queue_and_topic_denies_plain_http(
    resources_of: FindResources, resource_type: str, policies: str, attribute: str
) -> None:
    protected = {
        str(resource[attribute]).strip("[]'<>")
        for resource in resources_of(policies).values()
        if denies_plain_http(resource)
    }

    assert protected == set(resources_of(resource_type))


def test_every_queue_is_encrypted(resources_of: FindResources) -> None:
    assert all(
        resource["SqsManagedSseEnabled"] is True
        for resource in resources_of("AWS::SQS::Queue").values()
    )


def test_every_bucket_is_encrypted_and_private(resources_of: FindResources) -> None:
    for bucket in resources_of("AWS::S3::Bucket").values():
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["OwnershipControls"] == {
            "Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]
        }


def test_uploads_are_versioned_and_old_versions_outlive_the_retention(
    resources_of: FindResources,
) -> None:
    uploads = resources_of("AWS::S3::Bucket", synthesize(retentionDays=365))["StorageUploads"]
    rules = {rule["Id"]: rule for rule in uploads["LifecycleConfiguration"]["Rules"]}

    assert uploads["VersioningConfiguration"] == {"Status": "Enabled"}
    assert rules["old-versions"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 365}
    assert "ExpirationInDays" not in rules["old-versions"]


@pytest.mark.parametrize(("bucket", "days"), [("StorageUploads", 7), ("StorageResults", 1)])
def test_unfinished_multipart_uploads_are_aborted_after_days(
    resources_of: FindResources, bucket: str, days: int
) -> None:
    rules = resources_of("AWS::S3::Bucket")[bucket]["LifecycleConfiguration"]["Rules"]

    assert {
        "Id": "unfinished-multipart",
        "Status": "Enabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
    } in rules


def test_work_files_expire_only_after_their_job_is_done(resources_of: FindResources) -> None:
    rules = resources_of("AWS::S3::Bucket")["StorageResults"]["LifecycleConfiguration"]["Rules"]

    assert [rule for rule in rules if "ExpirationInDays" in rule] == [
        {
            "Id": "work-of-done-jobs",
            "Status": "Enabled",
            "Prefix": "work/",
            "TagFilters": [{"Key": "done", "Value": "true"}],
            "ExpirationInDays": 7,
        }
    ]


@pytest.mark.parametrize(
    ("removal_policy", "policy"), [("retain", "Retain"), ("destroy", "Delete")]
)
def test_the_removal_policy_applies_to_buckets_and_table(removal_policy: str, policy: str) -> None:
    resources = synthesize(removalPolicy=removal_policy)["Resources"].values()
    stateful_types = {"AWS::S3::Bucket", "AWS::DynamoDB::Table"}

    assert {
        resource["DeletionPolicy"] for resource in resources if resource["Type"] in stateful_types
    } == {policy}


def test_the_secret_with_its_fixed_name_is_always_deleted(template: Template) -> None:
    (secret,) = [
        resource
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::SecretsManager::Secret"
    ]

    assert secret["DeletionPolicy"] == "Delete"
