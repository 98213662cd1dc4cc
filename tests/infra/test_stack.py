"""The resources of the stack, and their limits."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.synth import synthesize

type FindResources = Callable[..., dict[str, dict[str, Any]]]
type Template = dict[str, Any]


def test_only_these_resource_types_are_deployed(template: Template) -> None:
    assert {resource["Type"] for resource in template["Resources"].values()} == {
        "AWS::CloudWatch::Alarm",
        "AWS::DynamoDB::Table",
        "AWS::IAM::Policy",
        "AWS::IAM::Role",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::EventSourceMapping",
        "AWS::Lambda::Function",
        "AWS::Lambda::LayerVersion",
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


def test_exactly_three_functions_run_our_code(resources_of: FindResources) -> None:
    functions = resources_of("AWS::Lambda::Function")

    assert {resource["Handler"] for resource in functions.values()} == {
        "functions.submit.handler",
        "functions.poll.handler",
        "functions.results.handler",
    }
    assert all(resource["Runtime"] == "python3.13" for resource in functions.values())
    assert all(resource["Architectures"] == ["arm64"] for resource in functions.values())


def test_the_functions_that_read_uploads_have_the_layer_with_duckdb(
    resources_of: FindResources,
) -> None:
    functions = resources_of("AWS::Lambda::Function")

    assert {name: function.get("Layers") for name, function in functions.items()} == {
        "SubmitFunction": ["<DuckDb>"],
        "PollFunction": None,
        "ResultsFunction": ["<DuckDb>"],
    }
    (layer,) = resources_of("AWS::Lambda::LayerVersion").values()
    assert layer["CompatibleArchitectures"] == ["arm64"]


def test_no_function_reserves_concurrency(resources_of: FindResources) -> None:
    # It fails in accounts with a limit of 10.
    for function in resources_of("AWS::Lambda::Function").values():
        assert "ReservedConcurrentExecutions" not in function


def test_no_environment_contains_a_key(resources_of: FindResources) -> None:
    for function in resources_of("AWS::Lambda::Function").values():
        names = set(function["Environment"]["Variables"])
        assert not {name for name in names if "KEY" in name or "TOKEN" in name}
        assert function["Environment"]["Variables"]["SECRET_NAME"].endswith("anthropic-api-key")


def test_only_a_stack_that_checks_its_ledger_knows_of_an_admin_key(
    resources_of: FindResources,
) -> None:
    checked = resources_of(
        "AWS::Lambda::Function", synthesize(adminSecretName="admin", workspaceId="default")
    )
    added = {
        name: dict(
            function["Environment"]["Variables"].items()
            - resources_of("AWS::Lambda::Function")[name]["Environment"]["Variables"].items()
        )
        for name, function in checked.items()
    }

    assert added == {
        "SubmitFunction": {},
        "PollFunction": {"ADMIN_SECRET_NAME": "admin", "WORKSPACE_ID": "default"},
        "ResultsFunction": {},
    }
    poll = resources_of("AWS::Lambda::Function")["PollFunction"]["Environment"]["Variables"]
    assert not {"ADMIN_SECRET_NAME", "WORKSPACE_ID"} & poll.keys()


def test_the_threads_of_a_function_share_one_malloc_arena(resources_of: FindResources) -> None:
    # Otherwise its memory grows with what its container has done before.
    for function in resources_of("AWS::Lambda::Function").values():
        assert function["Environment"]["Variables"]["MALLOC_ARENA_MAX"] == "1"


def test_the_key_is_a_placeholder_until_it_is_set(resources_of: FindResources) -> None:
    (secret,) = resources_of("AWS::SecretsManager::Secret").values()

    assert secret["Name"] == "claude-batch-relay/anthropic-api-key"
    assert secret["SecretString"] == "not-set-yet"


@pytest.mark.parametrize("stage", ["Submit", "Results"])
def test_a_message_is_hidden_for_longer_than_its_stage_may_run(
    resources_of: FindResources, stage: str
) -> None:
    queue = resources_of("AWS::SQS::Queue")[f"Storage{stage}Queue"]
    function = resources_of("AWS::Lambda::Function")[f"{stage}Function"]

    assert queue["VisibilityTimeout"] > function["Timeout"]


@pytest.mark.parametrize("stage", ["Submit", "Results"])
def test_a_stage_receives_one_message_at_a_time(resources_of: FindResources, stage: str) -> None:
    source = resources_of("AWS::Lambda::EventSourceMapping")[f"{stage}Source"]

    assert source == {
        "BatchSize": 1,
        "EventSourceArn": f"<Storage{stage}Queue>",
        "FunctionName": f"<{stage}Function>",
        "ScalingConfig": {"MaximumConcurrency": 4},
    }


@pytest.mark.parametrize("stage", ["Submit", "Results"])
def test_a_failing_message_is_kept_for_two_weeks(resources_of: FindResources, stage: str) -> None:
    queues = resources_of("AWS::SQS::Queue")

    assert queues[f"Storage{stage}Queue"]["RedrivePolicy"] == {
        "deadLetterTargetArn": f"<Storage{stage}Dead>",
        "maxReceiveCount": 1000,
    }
    assert queues[f"Storage{stage}Dead"]["MessageRetentionPeriod"] == 14 * 86_400
    assert queues[f"Storage{stage}Queue"]["MessageRetentionPeriod"] == 14 * 86_400


def test_every_invocation_of_poll_has_a_failure_destination(resources_of: FindResources) -> None:
    schedule = resources_of("AWS::Scheduler::Schedule")["PollSchedule"]
    invoke_config = resources_of("AWS::Lambda::EventInvokeConfig")["PollFailures"]

    assert schedule["Target"]["DeadLetterConfig"] == {"Arn": "<StoragePollMissed>"}
    assert invoke_config["FunctionName"] == "<PollFunction>"
    assert invoke_config["DestinationConfig"] == {
        "OnFailure": {"Destination": "<StoragePollMissed>"}
    }


def test_a_failed_poll_is_not_retried(resources_of: FindResources) -> None:
    schedule = resources_of("AWS::Scheduler::Schedule")["PollSchedule"]
    invoke_config = resources_of("AWS::Lambda::EventInvokeConfig")["PollFailures"]

    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert schedule["Target"]["RetryPolicy"] == {
        "MaximumEventAgeInSeconds": 300,
        "MaximumRetryAttempts": 0,
    }
    assert invoke_config["MaximumRetryAttempts"] == 0
    assert invoke_config["MaximumEventAgeInSeconds"] == 300


def test_the_poll_interval_can_be_longer(resources_of: FindResources) -> None:
    schedule = resources_of("AWS::Scheduler::Schedule", synthesize(pollMinutes="5"))[
        "PollSchedule"
    ]

    assert schedule["ScheduleExpression"] == "rate(5 minutes)"


def test_uploads_are_reconciled_once_a_day(resources_of: FindResources) -> None:
    schedule = resources_of("AWS::Scheduler::Schedule")["SubmitReconciliationSchedule"]
    invoke_config = resources_of("AWS::Lambda::EventInvokeConfig")["SubmitReconciliationFailures"]

    assert schedule["ScheduleExpression"] == "rate(1 day)"
    assert schedule["Target"]["Arn"] == "<SubmitFunction>"
    assert json.loads(schedule["Target"]["Input"]) == {"reconcile": 100}
    assert schedule["Target"]["DeadLetterConfig"] == {"Arn": "<StoragePollMissed>"}
    assert invoke_config["FunctionName"] == "<SubmitFunction>"
    assert invoke_config["DestinationConfig"] == {
        "OnFailure": {"Destination": "<StoragePollMissed>"}
    }


def test_reconciliation_is_limited_and_can_be_disabled(resources_of: FindResources) -> None:
    fewer_pages = resources_of("AWS::Scheduler::Schedule", synthesize(reconcilePages="7"))
    disabled = resources_of("AWS::Scheduler::Schedule", synthesize(reconcilePages="0"))

    assert json.loads(fewer_pages["SubmitReconciliationSchedule"]["Target"]["Input"]) == {
        "reconcile": 7
    }
    assert set(disabled) == {"PollSchedule"}


def test_each_function_has_a_log_with_retention(resources_of: FindResources) -> None:
    logs = resources_of("AWS::Logs::LogGroup")

    for function in resources_of("AWS::Lambda::Function").values():
        log = function["LoggingConfig"]["LogGroup"].strip("<>")
        assert logs[log] == {"RetentionInDays": 90}


def test_log_retention_is_rounded_up_to_a_value_of_cloudwatch(
    resources_of: FindResources,
) -> None:
    logs = resources_of("AWS::Logs::LogGroup", synthesize(retentionDays="100"))

    assert {resource["RetentionInDays"] for resource in logs.values()} == {120}


def test_s3_notifies_the_submit_queue_of_every_created_object(
    resources_of: FindResources, template: Template
) -> None:
    uploads = resources_of("AWS::S3::Bucket")["StorageUploads"]
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


def test_the_table_has_the_keys_that_the_functions_use(resources_of: FindResources) -> None:
    (table,) = resources_of("AWS::DynamoDB::Table").values()

    assert [key["AttributeName"] for key in table["KeySchema"]] == ["job", "item"]
    (index,) = table["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "unfinished"
    assert [key["AttributeName"] for key in index["KeySchema"]] == ["open", "status_key"]
    assert index["Projection"] == {"ProjectionType": "ALL"}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}


def test_the_outputs_contain_what_a_user_needs(template: Template) -> None:
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
        "Version",
    }


def test_two_stacks_share_no_name(template: Template) -> None:
    def fixed_names(template_: Template) -> set[str]:
        name_properties = {"Name", "AlarmName", "BucketName", "QueueName", "TopicName"}
        name_properties |= {"TableName", "RoleName", "FunctionName", "LogGroupName"}
        return {
            str(value)
            for resource in template_["Resources"].values()
            for key, value in resource.get("Properties", {}).items()
            if key in name_properties and isinstance(value, str)
        }

    first_names, second_names = fixed_names(template), fixed_names(synthesize(stackName="second"))

    assert len(first_names) == len(second_names) == 14  # thirteen alarms and the secret
    assert not first_names & second_names
    assert {name for name in second_names if not name.startswith("second")} == set()


def test_the_architecture_can_be_x86(resources_of: FindResources) -> None:
    functions = resources_of("AWS::Lambda::Function", synthesize(architecture="x86_64"))

    assert all(resource["Architectures"] == ["x86_64"] for resource in functions.values())


@pytest.mark.parametrize(("row_bytes", "memory_mb"), [(32_000_000, 512), (64_000_000, 1024)])
def test_longer_rows_have_more_memory(
    resources_of: FindResources, row_bytes: int, memory_mb: int
) -> None:
    functions = resources_of("AWS::Lambda::Function", synthesize(rowBytes=row_bytes)).values()

    memory = {resource["Handler"].split(".")[1]: resource["MemorySize"] for resource in functions}
    assert memory == {"submit": memory_mb, "results": memory_mb, "poll": 512}


def test_a_cloudformation_rule_rejects_a_stub(template: Template) -> None:
    (assertion,) = template["Rules"]["NoStub"]["Assertions"]

    assert assertion["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "Bundle"}, "stub"]}]}
    assert "leave out '-c bundle=stub'" in assertion["AssertDescription"]
    assert template["Parameters"]["Bundle"]["AllowedValues"] == ["stub"]
