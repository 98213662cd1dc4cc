"""What the results bucket's lifecycle rules remove, read from the synthesized template."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from infra.template import read_template


@cache
def _lifecycle_rules() -> list[dict[str, Any]]:
    rule_lists = [
        resource["Properties"]["LifecycleConfiguration"]["Rules"]
        for resource in read_template()["Resources"].values()
        if resource["Type"] == "AWS::S3::Bucket"
    ]
    (rules,) = [rules for rules in rule_lists if "work-of-done-jobs" in json.dumps(rules)]
    return list(rules)


def removes(key: str, tags: Mapping[str, str]) -> bool:
    """Return whether a rule removes an object."""
    return any(
        "ExpirationInDays" in rule
        and key.startswith(rule.get("Prefix", ""))
        and all(tags.get(tag["Key"]) == tag["Value"] for tag in rule.get("TagFilters", []))
        for rule in _lifecycle_rules()
    )


def aborts_uploads() -> bool:
    """Return whether a rule aborts incomplete multipart uploads."""
    return any("AbortIncompleteMultipartUpload" in rule for rule in _lifecycle_rules())
