"""What the lifecycle rules of the results bucket remove, as our template has them."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from infra.synth import synthesize


@cache
def _rules() -> list[dict[str, Any]]:
    buckets = [
        one["Properties"]["LifecycleConfiguration"]["Rules"]
        for one in synthesize()["Resources"].values()
        if one["Type"] == "AWS::S3::Bucket"
    ]
    (rules,) = [rules for rules in buckets if "work-of-done-jobs" in json.dumps(rules)]
    return list(rules)


def removes(key: str, tags: Mapping[str, str]) -> bool:
    """Whether a rule removes an object."""
    return any(
        "ExpirationInDays" in rule
        and key.startswith(rule.get("Prefix", ""))
        and all(tags.get(tag["Key"]) == tag["Value"] for tag in rule.get("TagFilters", []))
        for rule in _rules()
    )


def aborts_uploads() -> bool:
    """Whether a rule ends uploads in parts that nobody completes."""
    return any("AbortIncompleteMultipartUpload" in rule for rule in _rules())
