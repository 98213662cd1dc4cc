"""Settings are parsed from the CDK's context; a mistake is reported in one sentence."""

import json
import re
from dataclasses import fields
from typing import Any, get_type_hints

import pytest

from functions.settings import describe_range
from infra.bundle import ROOT
from infra.errors import ContextError
from infra.settings import StackSettings, key


def test_missing_settings_have_the_projects_defaults() -> None:
    settings = StackSettings.from_context({})

    assert settings == StackSettings()
    assert settings.poll_minutes == 1
    assert settings.requests_per_batch == 10_000
    assert settings.architecture == "arm64"


def test_cdk_json_contains_the_defaults() -> None:
    context = json.loads((ROOT / "cdk.json").read_text())["context"]

    assert StackSettings.from_context(context) == StackSettings()


@pytest.mark.parametrize(
    ("key", "written", "name", "read"),
    [
        ("pollMinutes", "5", "poll_minutes", 5),
        ("pollMinutes", 5, "poll_minutes", 5),
        ("tracing", "true", "tracing", True),
        ("tracing", False, "tracing", False),
        ("tracing", "False", "tracing", False),
        ("stackName", "relay-2", "stack_name", "relay-2"),
        ("baseUrl", "http://127.0.0.1:8080", "base_url", "http://127.0.0.1:8080"),
        (
            "baseUrl",
            "https://gateway.example/anthropic/",
            "base_url",
            "https://gateway.example/anthropic",
        ),
        ("alarmEmail", "ops@example.com", "alarm_email", "ops@example.com"),
        ("alarmEmail", None, "alarm_email", None),
        ("alarmEmail", "", "alarm_email", None),
        ("absentSeconds", "0", "absent_seconds", 0),
        ("adminSecretName", "their/admin-key", "admin_secret_name", "their/admin-key"),
        ("workspaceId", "default", "workspace_id", "default"),
        ("workspaceId", "", "workspace_id", None),
    ],
)
def test_a_setting_is_parsed(key: str, written: object, name: str, read: object) -> None:
    assert getattr(StackSettings.from_context({key: written}), name) == read


@pytest.mark.parametrize(
    ("context", "sentence"),
    [
        (
            {"stackName": "1st"},
            "stackName is '1st', but must be 1 to 40 letters, digits and hyphens, a letter first.",
        ),
        ({"stackName": "r" * 41}, "1 to 40 letters, digits and hyphens, a letter first."),
        (
            {"pollMinutes": "often"},
            "pollMinutes is 'often', but must be a whole number from 1 to 60.",
        ),
        ({"pollMinutes": 0}, "pollMinutes is 0, but must be a whole number from 1 to 60."),
        ({"pollMinutes": 1.5}, "pollMinutes is 1.5, but must be a whole number from 1 to 60."),
        ({"pollMinutes": True}, "pollMinutes is True, but must be a whole number from 1 to 60."),
        ({"pollMinutes": [1]}, "pollMinutes is [1], but must be a whole number from 1 to 60."),
        ({"requestsPerBatch": 100_001}, "must be a whole number from 1 to 100000."),
        (
            {"openBatches": "-1"},
            "openBatches is '-1', but must be a whole number from 1 to 10000.",
        ),
        ({"attempts": 10}, "attempts is 10, but must be a whole number from 1 to 9."),
        (
            {"queuedRequests": 9_999},
            (
                "queuedRequests is 9999, less than one batch of requestsPerBatch, so that nothing "
                "would ever be sent: put 10000 or more."
            ),
        ),
        (
            {"apiVersion": "latest"},
            "apiVersion is 'latest', but must be a version of the API such as '2026-10-21'.",
        ),
        ({"baseUrl": "api.anthropic.com"}, "baseUrl is 'api.anthropic.com', but must be an https"),
        ({"baseUrl": "http://proxy.example"}, "because plain http:// would expose the API key"),
        (
            {"baseUrl": "http://localhost.evil.example"},
            "because plain http:// would expose the API key",
        ),
        ({"baseUrl": "https://key@api.anthropic.com"}, "must be an https:// address"),
        (
            {"retentionDays": 29},
            "retentionDays is 29, but must be a whole number from 30 to 3653.",
        ),
        ({"removalPolicy": "keep"}, "removalPolicy is 'keep', but must be 'retain' or 'destroy'."),
        ({"alarmEmail": "ops"}, "alarmEmail is 'ops', but must be one e-mail address."),
        (
            {"secretName": "arn:aws:secretsmanager:us-east-1:1:secret:key"},
            "but must be the name of a secret in Secrets Manager, not its ARN.",
        ),
        (
            {"workspaceId": "wrkspc-1"},
            "workspaceId is 'wrkspc-1', but must be 'default', or the id of a workspace such as 'wrkspc_",
        ),
        ({"architecture": "arm"}, "architecture is 'arm', but must be 'arm64' or 'x86_64'."),
        ({"tracing": "yes"}, "tracing is 'yes', but must be true or false."),
        ({"createTimeoutSeconds": 900}, "must be a whole number from 1 to 840."),
        ({"bundle": "none"}, "bundle is 'none', but must be 'real' or 'stub'."),
        (
            {"pollMinute": 1},
            "pollMinute is not a setting of claude-batch-relay: did you mean pollMinutes?",
        ),
        (
            {"poll_minutes": 1},
            "poll_minutes is not a setting of claude-batch-relay: did you mean pollMinutes?",
        ),
        ({"removal-policy": "retain"}, "did you mean removalPolicy?"),
        ({"color\n": "red"}, r"'color\n' is not a setting of claude-batch-relay: put one of"),
        (
            {"color": "red"},
            "color is not a setting of claude-batch-relay: put one of absentListings,",
        ),
    ],
)
def test_an_invalid_setting_raises_one_sentence_with_the_allowed_values(
    context: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ContextError) as caught:
        StackSettings.from_context(context)

    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_cdks_own_context_is_ignored() -> None:
    cdk_context = {
        "@aws-cdk/core:newStyleStackSynthesis": True,
        "aws:cdk:version-reporting": False,
        "availability-zones:account=1:region=us-east-1": ["us-east-1a"],
        "cli-telemetry": False,
        "acknowledged-issue-numbers": [1],
    }

    assert StackSettings.from_context(cdk_context) == StackSettings()


def settings_table() -> dict[str, tuple[str, str]]:
    """Return default and description by key, from the table "Settings" in the docs."""
    pages = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))]
    (part,) = (
        part
        for page in pages
        for part in re.split(r"^(?=#+ )", page, flags=re.MULTILINE)
        if re.match(r"#+ Settings\n", part)
    )
    table: dict[str, tuple[str, str]] = {}
    for row in re.findall(r"^\| `.+\|$", part, re.MULTILINE):
        keys, defaults, description = (cell.strip() for cell in row.strip("|").split("|", 2))
        names, values = re.findall(r"`(\w+)`", keys), [defaults]
        if len(names) > 1:
            values = [value.strip() for value in defaults.split(",")]
        table |= {name: (value, description) for name, value in zip(names, values, strict=True)}
    return table


def default_text(default: object) -> str:
    return "none" if default is None else str(default).lower()


def test_the_docs_list_each_setting_and_its_default() -> None:
    documented_defaults = {
        name: default.strip("`").replace(",", "")
        for name, (default, _) in settings_table().items()
    }
    actual_defaults = {
        key(setting): default_text(setting.default) for setting in fields(StackSettings)
    }

    assert documented_defaults | {"bundle": "real"} == actual_defaults


def test_a_range_in_the_docs_is_the_range_of_the_setting() -> None:
    hints = get_type_hints(StackSettings, include_extras=True)
    ranges = {
        key(setting): describe_range(hints[setting.name]) for setting in fields(StackSettings)
    }
    documented = {
        name: match
        for name, (_, description) in settings_table().items()
        if (match := re.search(r", (\d[\d,]*) to (\d[\d,]*)", description))
    }

    assert documented
    for name, match in documented.items():
        low, high = (text.rstrip(",").replace(",", "") for text in match.groups())
        assert ranges[name] == f"a whole number from {low} to {high}"
