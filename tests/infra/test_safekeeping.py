"""What is stored is private, encrypted, and kept for as long as it should be."""

from collections.abc import Callable
from typing import Any

import pytest

from infra.synth import synthesize

type Found = Callable[..., dict[str, dict[str, Any]]]
type Template = dict[str, Any]


def denies_plain_http(policy: dict[str, Any]) -> bool:
    return any(
        one["Effect"] == "Deny" and one["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for one in policy["PolicyDocument"]["Statement"]
    )


@pytest.mark.parametrize(
    ("kind", "policies", "of"),
    [
        ("AWS::S3::Bucket", "AWS::S3::BucketPolicy", "Bucket"),
        ("AWS::SQS::Queue", "AWS::SQS::QueuePolicy", "Queues"),
        ("AWS::SNS::Topic", "AWS::SNS::TopicPolicy", "Topics"),
    ],
)
def test_every_bucket_queue_and_topic_refuses_plain_http(
    found: Found, kind: str, policies: str, of: str
) -> None:
    guarded = {
        str(one[of]).strip("[]'<>") for one in found(policies).values() if denies_plain_http(one)
    }

    assert guarded == set(found(kind))


def test_every_queue_is_encrypted(found: Found) -> None:
    assert all(one["SqsManagedSseEnabled"] is True for one in found("AWS::SQS::Queue").values())


def test_every_bucket_is_encrypted_and_private(found: Found) -> None:
    for bucket in found("AWS::S3::Bucket").values():
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["OwnershipControls"] == {
            "Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]
        }


def test_uploads_are_versioned_and_old_versions_outlive_the_retention(found: Found) -> None:
    uploads = found("AWS::S3::Bucket", synthesize(retentionDays=365))["StorageUploads"]
    rules = {rule["Id"]: rule for rule in uploads["LifecycleConfiguration"]["Rules"]}

    assert uploads["VersioningConfiguration"] == {"Status": "Enabled"}
    assert rules["old-versions"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 365}
    assert "ExpirationInDays" not in rules["old-versions"]


@pytest.mark.parametrize(("bucket", "days"), [("StorageUploads", 7), ("StorageResults", 1)])
def test_unfinished_multipart_uploads_go_after_days_that_nothing_of_theirs_takes(
    found: Found, bucket: str, days: int
) -> None:
    rules = found("AWS::S3::Bucket")[bucket]["LifecycleConfiguration"]["Rules"]

    assert {
        "Id": "unfinished-multipart",
        "Status": "Enabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
    } in rules


def test_work_files_go_only_once_their_job_is_done(found: Found) -> None:
    rules = found("AWS::S3::Bucket")["StorageResults"]["LifecycleConfiguration"]["Rules"]

    assert [rule for rule in rules if "ExpirationInDays" in rule] == [
        {
            "Id": "work-of-done-jobs",
            "Status": "Enabled",
            "Prefix": "work/",
            "TagFilters": [{"Key": "done", "Value": "true"}],
            "ExpirationInDays": 7,
        }
    ]


@pytest.mark.parametrize(("said", "policy"), [("retain", "Retain"), ("destroy", "Delete")])
def test_buckets_and_table_are_kept_or_not_as_the_user_says(said: str, policy: str) -> None:
    resources = synthesize(removalPolicy=said)["Resources"].values()
    kept = {"AWS::S3::Bucket", "AWS::DynamoDB::Table"}

    assert {one["DeletionPolicy"] for one in resources if one["Type"] in kept} == {policy}


def test_what_has_a_fixed_name_is_not_left_behind_to_be_in_the_way(template: Template) -> None:
    (secret,) = [
        one
        for one in template["Resources"].values()
        if one["Type"] == "AWS::SecretsManager::Secret"
    ]

    assert secret["DeletionPolicy"] == "Delete"
