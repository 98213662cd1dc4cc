"""Invoke a function on a schedule, and keep failed invocations in a queue."""

from dataclasses import dataclass

from aws_cdk import Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.grants import allow


@dataclass(frozen=True)
class Schedule:
    """When a function is invoked, with which payload, and how failures are retried."""

    description: str
    rate: str
    payload: str
    max_age: Duration
    retries: int


def invoke_on_schedule(
    scope: Construct, schedule: Schedule, *, function: lambda_.Function, failures: sqs.Queue
) -> None:
    """Invoke a function on a schedule. Invocations that fail or cannot start go to `failures`."""
    max_age_s = int(schedule.max_age.to_seconds())
    lambda_.CfnEventInvokeConfig(
        scope,
        "Failures",
        function_name=function.function_name,
        qualifier="$LATEST",
        maximum_event_age_in_seconds=max_age_s,
        maximum_retry_attempts=schedule.retries,
        destination_config=lambda_.CfnEventInvokeConfig.DestinationConfigProperty(
            on_failure=lambda_.CfnEventInvokeConfig.OnFailureProperty(
                destination=failures.queue_arn
            )
        ),
    )
    scheduler.CfnSchedule(
        scope,
        "Schedule",
        description=schedule.description,
        schedule_expression=f"rate({schedule.rate})",
        flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
        target=scheduler.CfnSchedule.TargetProperty(
            arn=function.function_arn,
            role_arn=_scheduler_role(scope, function, failures).role_arn,
            input=schedule.payload,
            dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(
                arn=failures.queue_arn
            ),
            retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                maximum_event_age_in_seconds=max_age_s, maximum_retry_attempts=schedule.retries
            ),
        ),
    )


def _scheduler_role(scope: Construct, function: lambda_.Function, failures: sqs.Queue) -> iam.Role:
    """Create the schedule's role: it may invoke this function, and send failures to the queue."""
    stack = Stack.of(scope)
    group = stack.format_arn(
        service="scheduler", resource="schedule-group", resource_name="default"
    )
    of_this_account = {"aws:SourceAccount": stack.account, "aws:SourceArn": group}
    statements = [
        allow(["lambda:InvokeFunction"], function.function_arn),
        allow(["sqs:SendMessage"], failures.queue_arn),
    ]
    return iam.Role(
        scope,
        "Clock",
        assumed_by=iam.ServicePrincipal(
            "scheduler.amazonaws.com", conditions={"StringEquals": of_this_account}
        ),
        inline_policies={"may": iam.PolicyDocument(statements=statements)},
    )
