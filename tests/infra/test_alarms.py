"""Every alarm says what to do, and says it in docs/operate.md too."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.bundle import ROOT
from infra.synth import synthesize

type Found = Callable[..., dict[str, dict[str, Any]]]

OPERATING = Path(ROOT, "docs", "operate.md")


@pytest.fixture(scope="session")
def alarms(found: Found) -> dict[str, dict[str, Any]]:
    return {
        one["AlarmName"].removeprefix("claude-batch-relay-"): one
        for one in found("AWS::CloudWatch::Alarm").values()
    }


def test_these_are_the_alarms(
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
        "stuck",
        "submit-errors",
    }


def test_each_alarm_speaks_to_the_alarm_topic(alarms: dict[str, dict[str, Any]]) -> None:
    assert all(one["AlarmActions"] == ["<AlarmsTopic>"] for one in alarms.values())


def test_each_alarm_says_what_to_do(alarms: dict[str, dict[str, Any]]) -> None:
    for alarm in alarms.values():
        assert re.search(r"\b(read|look)\b", alarm["AlarmDescription"], re.IGNORECASE)


def test_each_alarm_has_its_line_in_the_operators_guide(alarms: dict[str, dict[str, Any]]) -> None:
    _, part = OPERATING.read_text(encoding="utf-8").split("\n## Alarms\n")
    (part, *_) = part.split("\n## ")

    assert set(re.findall(r"^\| `([a-z-]+)` \| .+ \| .+ \|$", part, re.MULTILINE)) == set(alarms)


def test_every_queue_where_failures_wait_has_an_alarm(
    found: Found, alarms: dict[str, dict[str, Any]]
) -> None:
    failures = {
        one["RedrivePolicy"]["deadLetterTargetArn"].strip("<>")
        for one in found("AWS::SQS::Queue").values()
        if "RedrivePolicy" in one
    }
    for invoked in found("AWS::Lambda::EventInvokeConfig").values():
        failures.add(invoked["DestinationConfig"]["OnFailure"]["Destination"].strip("<>"))
    for schedule in found("AWS::Scheduler::Schedule").values():
        failures.add(schedule["Target"]["DeadLetterConfig"]["Arn"].strip("<>"))

    watched = {
        one["Dimensions"][0]["Value"]["Fn::GetAtt"][0]
        for one in alarms.values()
        if one.get("MetricName") == "ApproximateNumberOfMessagesVisible" and one["Threshold"] == 0
    }

    assert failures == {"StorageSubmitDead", "StorageResultsDead", "StoragePollMissed"}
    assert {re.sub(r"[0-9A-F]{8}$", "", name) for name in watched} == failures


def test_silence_of_poll_is_an_alarm_after_five_minutes(
    alarms: dict[str, dict[str, Any]],
) -> None:
    silent = alarms["no-poll"]

    assert silent["TreatMissingData"] == "breaching"
    assert (silent["Period"], silent["EvaluationPeriods"]) == (300, 1)
    assert (silent["ComparisonOperator"], silent["Threshold"]) == ("LessThanThreshold", 1)


def test_a_poll_that_comes_seldom_is_given_three_chances(found: Found) -> None:
    seldom = found("AWS::CloudWatch::Alarm", synthesize(pollMinutes=10))

    assert seldom["Alarmsnopoll"]["Period"] == 3 * 10 * 60


@pytest.mark.parametrize(
    ("alarm", "metric", "above"),
    [
        ("no-poll", "PollSucceeded", 1),
        ("old-batch", "OldestBatchHours", 26),
        ("paused", "Paused", 0),
        ("stuck", "Stuck", 0),
        ("duplicate-batch", "Duplicate", 0),
    ],
)
def test_an_alarm_watches_the_figure_that_poll_writes_for_this_stack(
    alarms: dict[str, dict[str, Any]], alarm: str, metric: str, above: int
) -> None:
    watched = alarms[alarm]

    assert watched["Namespace"] == "claude-batch-relay"
    assert watched["MetricName"] == metric
    assert watched["Dimensions"] == [{"Name": "service", "Value": "claude-batch-relay"}]
    assert watched["Threshold"] == above


def test_only_cloudwatch_of_this_account_speaks_on_the_alarm_topic(found: Found) -> None:
    policy = found("AWS::SNS::TopicPolicy")["AlarmsTopicPolicy"]["PolicyDocument"]
    (allowed,) = [one for one in policy["Statement"] if one["Effect"] == "Allow"]

    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert allowed["Action"] == "sns:Publish"
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceAccount": "<AWS::AccountId>"}}


def test_alarms_come_by_e_mail_where_one_is_given(found: Found) -> None:
    (mail,) = found("AWS::SNS::Subscription", synthesize(alarmEmail="ops@example.com")).values()

    assert mail == {
        "Endpoint": "ops@example.com",
        "Protocol": "email",
        "TopicArn": "<AlarmsTopic>",
    }
    assert not found("AWS::SNS::Subscription")
