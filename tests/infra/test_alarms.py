"""Every alarm says what to do, and has an entry in docs/operate.md."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.bundle import ROOT
from infra.synth import synthesize

type FindResources = Callable[..., dict[str, dict[str, Any]]]

OPERATORS_GUIDE = Path(ROOT, "docs", "operate.md")


@pytest.fixture(scope="session")
def alarms(resources_of: FindResources) -> dict[str, dict[str, Any]]:
    return {
        properties["AlarmName"].removeprefix("claude-batch-relay-"): properties
        for properties in resources_of("AWS::CloudWatch::Alarm").values()
    }


def test_the_alarms_are_exactly_these(
    alarms: dict[str, dict[str, Any]],
) -> None:
    assert set(alarms) == {
        "dead-results",
        "dead-uploads",
        "duplicate-batch",
        "missed-polls",
        "no-poll",
        "old-batch",
        "old-results-messages",
        "old-submit-messages",
        "paused",
        "results-errors",
        "silent-api",
        "stuck",
        "submit-errors",
    }


def test_each_alarm_notifies_the_alarm_topic_when_it_begins_and_ends(
    alarms: dict[str, dict[str, Any]],
) -> None:
    for properties in alarms.values():
        assert properties["AlarmActions"] == properties["OKActions"] == ["<AlarmsTopic>"]


def test_each_alarm_description_says_what_to_do(alarms: dict[str, dict[str, Any]]) -> None:
    for alarm in alarms.values():
        assert re.search(r"\b(read|look)\b", alarm["AlarmDescription"], re.IGNORECASE)


def test_each_alarm_is_in_the_operators_guide(alarms: dict[str, dict[str, Any]]) -> None:
    _, part = OPERATORS_GUIDE.read_text(encoding="utf-8").split("\n## Alarms\n")
    (part, *_) = part.split("\n## ")

    assert set(re.findall(r"^\| `([a-z-]+)` \| .+ \| .+ \|$", part, re.MULTILINE)) == set(alarms)


def test_each_alarm_has_a_query_that_filters_by_messages_which_the_code_logs(
    alarms: dict[str, dict[str, Any]],
) -> None:
    _, part = OPERATORS_GUIDE.read_text(encoding="utf-8").split(
        "\n## Find the cause of an alarm\n"
    )
    (part, *_) = part.split("\n## ")
    queries = dict(re.findall(r"^### (\S+)$.*?```text\n(.*?)```", part, re.MULTILINE | re.DOTALL))
    code = "".join(path.read_text("utf-8") for path in Path(ROOT, "functions").rglob("*.py"))

    assert set(queries) == set(alarms)
    for query in queries.values():
        conditions = re.findall(r"message (?:=|in) (\[.*?\]|\".*?\")", query, re.DOTALL)
        for message in re.findall(r'"(.*?)"', " ".join(conditions)):
            assert f'"{message}"' in code


def test_every_failure_queue_has_an_alarm(
    resources_of: FindResources, alarms: dict[str, dict[str, Any]]
) -> None:
    failure_queues = {
        properties["RedrivePolicy"]["deadLetterTargetArn"].strip("<>")
        for properties in resources_of("AWS::SQS::Queue").values()
        if "RedrivePolicy" in properties
    }
    for invoke_config in resources_of("AWS::Lambda::EventInvokeConfig").values():
        failure_queues.add(
            invoke_config["DestinationConfig"]["OnFailure"]["Destination"].strip("<>")
        )
    for schedule in resources_of("AWS::Scheduler::Schedule").values():
        failure_queues.add(schedule["Target"]["DeadLetterConfig"]["Arn"].strip("<>"))

    watched_queues = {
        properties["Dimensions"][0]["Value"]["Fn::GetAtt"][0]
        for properties in alarms.values()
        if properties.get("MetricName") == "ApproximateNumberOfMessagesVisible"
        and properties["Threshold"] == 0
    }

    assert failure_queues == {"StorageSubmitDead", "StorageResultsDead", "StoragePollMissed"}
    assert {re.sub(r"[0-9A-F]{8}$", "", name) for name in watched_queues} == failure_queues


def test_a_silent_poll_raises_an_alarm_after_five_minutes(
    alarms: dict[str, dict[str, Any]],
) -> None:
    alarm = alarms["no-poll"]

    assert alarm["TreatMissingData"] == "breaching"
    assert (alarm["Period"], alarm["EvaluationPeriods"]) == (300, 1)
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)


def test_the_no_poll_alarm_waits_for_three_intervals(resources_of: FindResources) -> None:
    slow_alarms = resources_of("AWS::CloudWatch::Alarm", synthesize(pollMinutes=10))

    assert slow_alarms["Alarmsnopoll"]["Period"] == 3 * 10 * 60


@pytest.mark.parametrize(
    ("alarm", "metric", "threshold"),
    [
        ("no-poll", "PollSucceeded", 1),
        ("silent-api", "SilentMinutes", 60),
        ("old-batch", "OldestBatchHours", 26),
        ("paused", "Paused", 0),
        ("stuck", "Stuck", 0),
        ("duplicate-batch", "Duplicate", 0),
    ],
)
def test_an_alarm_watches_the_metric_that_poll_writes_for_this_stack(
    alarms: dict[str, dict[str, Any]], alarm: str, metric: str, threshold: int
) -> None:
    properties = alarms[alarm]

    assert properties["Namespace"] == "claude-batch-relay"
    assert properties["MetricName"] == metric
    assert properties["Dimensions"] == [{"Name": "service", "Value": "claude-batch-relay"}]
    assert properties["Threshold"] == threshold


def test_only_cloudwatch_of_this_account_publishes_to_the_alarm_topic(
    resources_of: FindResources,
) -> None:
    policy = resources_of("AWS::SNS::TopicPolicy")["AlarmsTopicPolicy"]["PolicyDocument"]
    (allow_statement,) = [
        properties for properties in policy["Statement"] if properties["Effect"] == "Allow"
    ]

    assert allow_statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert allow_statement["Action"] == "sns:Publish"
    assert allow_statement["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "<AWS::AccountId>"}
    }


def test_alarms_are_sent_to_the_given_email_address(resources_of: FindResources) -> None:
    (subscription,) = resources_of(
        "AWS::SNS::Subscription", synthesize(alarmEmail="ops@example.com")
    ).values()

    assert subscription == {
        "Endpoint": "ops@example.com",
        "Protocol": "email",
        "TopicArn": "<AlarmsTopic>",
    }
    assert not resources_of("AWS::SNS::Subscription")
