"""What the stack is made of, and the walls it must keep to."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.synth import synthesize

type Found = Callable[..., dict[str, dict[str, Any]]]
type Template = dict[str, Any]


def test_nothing_but_what_is_named_here_is_deployed(template: Template) -> None:
    assert {one["Type"] for one in template["Resources"].values()} == {
        "AWS::CloudWatch::Alarm",
        "AWS::DynamoDB::Table",
        "AWS::IAM::Role",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::EventSourceMapping",
        "AWS::Lambda::Function",
        "AWS::Logs::LogGroup",
        "AWS::S3::Bucket",
        "AWS::S3::BucketPolicy",
        "AWS::SNS::Topic",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::Queue",
        "AWS::SQS::QueuePolicy",
        "AWS::Scheduler::Schedule",
        "AWS::SecretsManager::Secret",
    }


def test_three_functions_and_no_more_run_our_code(found: Found) -> None:
    functions = found("AWS::Lambda::Function")

    assert {one["Handler"] for one in functions.values()} == {
        "functions.submit.handler",
        "functions.poll.handler",
        "functions.results.handler",
    }
    assert all(one["Runtime"] == "python3.13" for one in functions.values())
    assert all(one["Architectures"] == ["arm64"] for one in functions.values())


def test_no_function_reserves_concurrency(found: Found) -> None:
    # It fails in accounts with a limit of 10.
    for function in found("AWS::Lambda::Function").values():
        assert "ReservedConcurrentExecutions" not in function


def test_no_key_is_in_an_environment(found: Found) -> None:
    for function in found("AWS::Lambda::Function").values():
        names = set(function["Environment"]["Variables"])
        assert not {name for name in names if "KEY" in name or "TOKEN" in name}
        assert function["Environment"]["Variables"]["SECRET_NAME"].endswith("anthropic-api-key")


def test_the_threads_of_a_function_share_a_heap(found: Found) -> None:
    # Else its memory grows with what its container has done before.
    for function in found("AWS::Lambda::Function").values():
        assert function["Environment"]["Variables"]["MALLOC_ARENA_MAX"] == "1"


def test_the_key_is_a_placeholder_until_somebody_sets_it(found: Found) -> None:
    (secret,) = found("AWS::SecretsManager::Secret").values()

    assert secret["Name"] == "claude-batch-relay/anthropic-api-key"
    assert secret["SecretString"] == "not-set-yet"


@pytest.mark.parametrize("stage", ["Submit", "Results"])
def test_a_message_is_hidden_for_longer_than_its_stage_may_run(found: Found, stage: str) -> None:
    queue = found("AWS::SQS::Queue")[f"Storage{stage}Queue"]
    function = found("AWS::Lambda::Function")[f"{stage}Function"]

    assert queue["VisibilityTimeout"] > function["Timeout"]


@pytest.mark.parametrize("stage", ["Submit", "Results"])
def test_a_stage_takes_its_queues_messages_one_by_one(found: Found, stage: str) -> None:
    source = found("AWS::Lambda::EventSourceMapping")[f"{stage}Source"]

    assert source == {
        "BatchSize": 1,
        "EventSourceArn": f"<Storage{stage}Queue>",
        "FunctionName": f"<{stage}Function>",
        "ScalingConfig": {"MaximumConcurrency": 4},
    }


@pytest.mark.parametrize("stage", ["Submit", "Results"])
def test_what_fails_five_times_is_kept_for_two_weeks(found: Found, stage: str) -> None:
    queues = found("AWS::SQS::Queue")

    assert queues[f"Storage{stage}Queue"]["RedrivePolicy"] == {
        "deadLetterTargetArn": f"<Storage{stage}Dead>",
        "maxReceiveCount": 1000,
    }
    assert queues[f"Storage{stage}Dead"]["MessageRetentionPeriod"] == 14 * 86_400
    assert queues[f"Storage{stage}Queue"]["MessageRetentionPeriod"] == 14 * 86_400


def test_every_way_to_call_poll_says_where_a_failure_goes(found: Found) -> None:
    schedule = found("AWS::Scheduler::Schedule")["PollSchedule"]
    invoked = found("AWS::Lambda::EventInvokeConfig")["PollFailures"]

    assert schedule["Target"]["DeadLetterConfig"] == {"Arn": "<StoragePollMissed>"}
    assert invoked["FunctionName"] == "<PollFunction>"
    assert invoked["DestinationConfig"] == {"OnFailure": {"Destination": "<StoragePollMissed>"}}


def test_a_tick_that_failed_is_not_repeated(found: Found) -> None:
    schedule = found("AWS::Scheduler::Schedule")["PollSchedule"]
    invoked = found("AWS::Lambda::EventInvokeConfig")["PollFailures"]

    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert schedule["Target"]["RetryPolicy"] == {
        "MaximumEventAgeInSeconds": 300,
        "MaximumRetryAttempts": 0,
    }
    assert invoked["MaximumRetryAttempts"] == 0
    assert invoked["MaximumEventAgeInSeconds"] == 300


def test_poll_can_be_asked_to_come_more_seldom(found: Found) -> None:
    schedule = found("AWS::Scheduler::Schedule", synthesize(pollMinutes="5"))["PollSchedule"]

    assert schedule["ScheduleExpression"] == "rate(5 minutes)"


def test_uploads_without_a_job_are_looked_for_once_a_day(found: Found) -> None:
    schedule = found("AWS::Scheduler::Schedule")["SubmitReconciliationSchedule"]
    invoked = found("AWS::Lambda::EventInvokeConfig")["SubmitReconciliationFailures"]

    assert schedule["ScheduleExpression"] == "rate(1 day)"
    assert schedule["Target"]["Arn"] == "<SubmitFunction>"
    assert json.loads(schedule["Target"]["Input"]) == {"reconcile": 100}
    assert schedule["Target"]["DeadLetterConfig"] == {"Arn": "<StoragePollMissed>"}
    assert invoked["FunctionName"] == "<SubmitFunction>"
    assert invoked["DestinationConfig"] == {"OnFailure": {"Destination": "<StoragePollMissed>"}}


def test_the_look_for_uploads_is_bounded_and_can_be_switched_off(found: Found) -> None:
    less = found("AWS::Scheduler::Schedule", synthesize(reconcilePages="7"))
    off = found("AWS::Scheduler::Schedule", synthesize(reconcilePages="0"))

    assert json.loads(less["SubmitReconciliationSchedule"]["Target"]["Input"]) == {"reconcile": 7}
    assert set(off) == {"PollSchedule"}


def test_each_function_writes_to_a_log_that_forgets(found: Found) -> None:
    logs = found("AWS::Logs::LogGroup")

    for function in found("AWS::Lambda::Function").values():
        log = function["LoggingConfig"]["LogGroup"].strip("<>")
        assert logs[log] == {"RetentionInDays": 90}


def test_a_log_forgets_at_the_first_time_cloudwatch_knows_after_the_retention(
    found: Found,
) -> None:
    logs = found("AWS::Logs::LogGroup", synthesize(retentionDays="100"))

    assert {one["RetentionInDays"] for one in logs.values()} == {120}


def test_s3_tells_the_submit_queue_of_every_created_object(
    found: Found, template: Template
) -> None:
    uploads = found("AWS::S3::Bucket")["StorageUploads"]
    (logical_id,) = [name for name in template["Resources"] if name.startswith("StorageUploadsB")]
    (policy,) = [
        name for name in template["Resources"] if name.startswith("StorageSubmitQueuePolicy")
    ]

    assert uploads["NotificationConfiguration"] == {
        "QueueConfigurations": [
            {"Event": "s3:ObjectCreated:*", "Queue": "<StorageSubmitQueue>"},
        ]
    }
    assert template["Resources"][logical_id]["DependsOn"] == [policy]


def test_the_table_has_the_keys_that_the_functions_use(found: Found) -> None:
    (table,) = found("AWS::DynamoDB::Table").values()

    assert [key["AttributeName"] for key in table["KeySchema"]] == ["job", "item"]
    (index,) = table["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "unfinished"
    assert [key["AttributeName"] for key in index["KeySchema"]] == ["open", "status_key"]
    assert index["Projection"] == {"ProjectionType": "ALL"}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}


def test_a_user_is_told_what_they_need(template: Template) -> None:
    assert set(template["Outputs"]) == {
        "AlarmsTopicArn",
        "DeadResultsQueueArn",
        "DeadUploadsQueueArn",
        "EventsTopicArn",
        "PollFunctionName",
        "ResultsBucket",
        "ResultsFunctionName",
        "ResultsQueueUrl",
        "SecretName",
        "SubmitFunctionName",
        "SubmitQueueUrl",
        "TableName",
        "UploadsBucket",
    }


def test_two_stacks_share_no_name(template: Template) -> None:
    def names(of: Template) -> set[str]:
        fixed = {"Name", "AlarmName", "BucketName", "QueueName", "TopicName"}
        fixed |= {"TableName", "RoleName", "FunctionName", "LogGroupName"}
        return {
            str(value)
            for one in of["Resources"].values()
            for key, value in one.get("Properties", {}).items()
            if key in fixed and isinstance(value, str)
        }

    one, other = names(template), names(synthesize(stackName="second"))

    assert len(one) == len(other) == 13  # twelve alarms and the secret
    assert not one & other
    assert {name for name in other if not name.startswith("second")} == set()


def test_an_x86_function_can_be_asked_for(found: Found) -> None:
    functions = found("AWS::Lambda::Function", synthesize(architecture="x86_64"))

    assert all(one["Architectures"] == ["x86_64"] for one in functions.values())


@pytest.mark.parametrize(("row_bytes", "memory_mb"), [(32_000_000, 512), (64_000_000, 1024)])
def test_longer_rows_have_more_memory(found: Found, row_bytes: int, memory_mb: int) -> None:
    functions = found("AWS::Lambda::Function", synthesize(rowBytes=row_bytes)).values()

    memory = {one["Handler"].split(".")[1]: one["MemorySize"] for one in functions}
    assert memory == {"submit": memory_mb, "results": memory_mb, "poll": 512}


def test_cloudformation_itself_refuses_to_deploy_a_stub(template: Template) -> None:
    (assertion,) = template["Rules"]["NoStub"]["Assertions"]

    assert assertion["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "Bundle"}, "stub"]}]}
    assert "leave out '-c bundle=stub'" in assertion["AssertDescription"]
    assert template["Parameters"]["Bundle"]["AllowedValues"] == ["stub"]
