"""The daily look through the uploads bucket: submit claims what S3's events never told of."""

from aws_cdk import Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.stage import allow

AGE = Duration.hours(6)
"""A look that comes late is still worth something, but the next day's does its work, too."""


class Reconciliation(Construct):
    """Wakes a function once a day, with the pages that it may list; its failures are kept."""

    def __init__(
        self, scope: Construct, *, function: lambda_.Function, missed: sqs.Queue, pages: int
    ) -> None:
        super().__init__(scope, "Reconciliation")
        self._keep_failures(function, missed)
        scheduler.CfnSchedule(
            self,
            "Schedule",
            description="Wakes claude-batch-relay's submit, to look for uploads without a job",
            schedule_expression="rate(1 day)",
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=function.function_arn,
                role_arn=self._clock(function, missed).role_arn,
                input=f'{{"reconcile": {pages}}}',
                dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(
                    arn=missed.queue_arn
                ),
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_event_age_in_seconds=int(AGE.to_seconds()), maximum_retry_attempts=2
                ),
            ),
        )

    def _keep_failures(self, function: lambda_.Function, missed: sqs.Queue) -> None:
        lambda_.CfnEventInvokeConfig(
            self,
            "Failures",
            function_name=function.function_name,
            qualifier="$LATEST",
            maximum_event_age_in_seconds=int(AGE.to_seconds()),
            maximum_retry_attempts=2,
            destination_config=lambda_.CfnEventInvokeConfig.DestinationConfigProperty(
                on_failure=lambda_.CfnEventInvokeConfig.OnFailureProperty(
                    destination=missed.queue_arn
                )
            ),
        )

    def _clock(self, function: lambda_.Function, missed: sqs.Queue) -> iam.Role:
        """Make the schedule's own role: it may wake this function, and say that it could not."""
        stack = Stack.of(self)
        group = stack.format_arn(
            service="scheduler", resource="schedule-group", resource_name="default"
        )
        of_this_account = {"aws:SourceAccount": stack.account, "aws:SourceArn": group}
        may = [
            allow(["lambda:InvokeFunction"], function.function_arn),
            allow(["sqs:SendMessage"], missed.queue_arn),
        ]
        return iam.Role(
            self,
            "Clock",
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com", conditions={"StringEquals": of_this_account}
            ),
            inline_policies={"may": iam.PolicyDocument(statements=may)},
        )
