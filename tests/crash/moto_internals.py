"""moto from behind: what lies in its S3, read in no time, and everything forgotten without making it anew."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest.mock import patch

from httpx2 import create_ssl_context
from httpx2._transports import default
from moto.backends import get_backend
from moto.core import serialize
from moto.core.model_instances import reset_model_data
from moto.core.models import DEFAULT_ACCOUNT_ID

from infra.synth import synthesized
from tests.harness import RESULTS


@dataclass(frozen=True)
class Stored:
    """An object of the results bucket."""

    key: str
    etag: str
    body: bytes
    tags: dict[str, str]


def forget() -> None:
    """Empty every service that holds something of a job; the topic may stay, its key takes long to make."""
    for service in ("s3", "sqs", "dynamodb"):
        for account in get_backend(service).values():
            account.reset()
    reset_model_data()


_TYPES = {"S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL"}


@contextmanager
def hasten() -> Iterator[None]:
    """Spare moto and the SDK what costs most here: each play makes hundreds of calls.

    moto looks for an attribute of a DynamoDB value under four names, eleven times for each; and certificates
    are read for each client of Claude's, which speaks plain HTTP here.
    """
    picker = serialize.XFormedAttributePicker
    search = picker.__call__

    def pick(self: Any, context: Any) -> Any:
        if type(context.obj) is dict and len(context.obj) == 1 and context.obj.keys() <= _TYPES:
            return context.obj.get(context.key)
        return search(self, context)

    contexts = patch.object(default, "create_ssl_context", cache(create_ssl_context))
    with patch.object(picker, "__call__", pick), contexts:
        yield


def objects(prefix: str, unless: dict[str, str]) -> dict[str, Stored]:
    """Give the objects under a prefix, but those whose ETag is known already."""
    return {
        name: Stored(name, key.etag, key.value, _tags(key))
        for name, key in _bucket().keys.items()
        if name.startswith(prefix) and unless.get(name) != key.etag
    }


def open_uploads() -> int:
    """Count multipart uploads that were neither completed nor aborted."""
    return len(_bucket().multiparts)


def _s3() -> Any:
    return get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]


def _bucket() -> Any:
    return _s3().buckets[RESULTS]


def _tags(key: Any) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in _s3().get_object_tagging(key)["Tags"]}


@cache
def _rules() -> list[dict[str, Any]]:
    """Give the lifecycle rules of the results bucket, as our template has them."""
    buckets = [
        one["Properties"]["LifecycleConfiguration"]["Rules"]
        for one in synthesized()["Resources"].values()
        if one["Type"] == "AWS::S3::Bucket"
    ]
    (rules,) = [one for one in buckets if "work-of-done-jobs" in json.dumps(one)]
    return list(rules)


def removed_in_time(stored: Stored) -> bool:
    """Whether a lifecycle rule removes an object."""
    return any(
        "ExpirationInDays" in rule
        and stored.key.startswith(rule.get("Prefix", ""))
        and all(stored.tags.get(tag["Key"]) == tag["Value"] for tag in rule.get("TagFilters", []))
        for rule in _rules()
    )


def aborted_in_time() -> bool:
    """Whether a lifecycle rule ends multipart uploads that nobody completes."""
    return any("AbortIncompleteMultipartUpload" in rule for rule in _rules())
