"""Poll: every minute, note which batches have ended, and wake whatever can go on."""

from pathlib import Path

from aws_cdk import Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from constructs import Construct

from functions.model.items import UNFINISHED
from functions.settings import PollSettings
from infra.settings import StackSettings
from infra.stage import Stage, allow, shared
from infra.storage import Storage, dead_letters

# A tick that fails is not retried, the next one does its work. One that is throttled waits: in an
# account with few invocations to spare, the next would be throttled as well.
TICK_AGE_S = 300


class Poll(Stage):
    """Woken by a schedule, and by a stage that has made something ready; needs nothing from its event."""

    def __init__(
        self, scope: Construct, *, settings: StackSettings, storage: Storage, bundle: Path
    ) -> None:
        # A failed tick holds nothing of value: it stays long enough for the alarm to be seen.
        self.failed_polls = dead_letters(storage, "PollMissed", retention=Duration.hours(1))
        super().__init__(
            scope,
            "Poll",
            settings=settings,
            function_settings=PollSettings(
                **shared(storage, settings),
                submit_queue_url=storage.submit_queue.queue_url,
                results_queue_url=storage.results_queue.queue_url,
                open_batches=settings.open_batches,
                queued_requests=settings.queued_requests,
                absent_listings=settings.absent_listings,
                absent_s=settings.absent_seconds,
                skew_s=settings.skew_seconds,
            ),
            bundle=bundle,
            timeout=Duration.minutes(2),
            memory_mb=512,
            grants=[
                allow(
                    [
                        "dynamodb:GetItem",
                        "dynamodb:PutItem",
                        "dynamodb:UpdateItem",
                        "dynamodb:DeleteItem",
                        "dynamodb:Query",
                    ],
                    storage.table.table_arn,
                ),
                allow(["dynamodb:Query"], f"{storage.table.table_arn}/index/{UNFINISHED}"),
                allow(["s3:PutObject"], storage.results.arn_for_objects("results/*/status.json")),
                allow(
                    ["sqs:SendMessage"],
                    storage.submit_queue.queue_arn,
                    storage.results_queue.queue_arn,
                    self.failed_polls.queue_arn,
                ),
                allow(["sns:Publish"], storage.events.topic_arn),
                allow(["secretsmanager:GetSecretValue"], storage.secret_arn),
            ],
        )
        self._acknowledge_wildcards(storage.results, "results/*/status.json")
        self._failures_are_kept()
        self._every(settings.poll_minutes)

    def _failures_are_kept(self) -> None:
        lambda_.CfnEventInvokeConfig(
            self,
            "Failures",
            function_name=self.function.function_name,
            qualifier="$LATEST",
            maximum_event_age_in_seconds=TICK_AGE_S,
            maximum_retry_attempts=0,
            destination_config=lambda_.CfnEventInvokeConfig.DestinationConfigProperty(
                on_failure=lambda_.CfnEventInvokeConfig.OnFailureProperty(
                    destination=self.failed_polls.queue_arn
                )
            ),
        )

    def _every(self, minutes: int) -> None:
        scheduler.CfnSchedule(
            self,
            "Schedule",
            description="Wakes claude-batch-relay's poll",
            schedule_expression=f"rate({minutes} {'minute' if minutes == 1 else 'minutes'})",
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=self.function.function_arn,
                role_arn=self._clock().role_arn,
                input="{}",
                dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(
                    arn=self.failed_polls.queue_arn
                ),
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_event_age_in_seconds=TICK_AGE_S, maximum_retry_attempts=0
                ),
            ),
        )

    def _clock(self) -> iam.Role:
        """Make the schedule's own role: it may wake this function, and say that it could not."""
        stack = Stack.of(self)
        group = stack.format_arn(
            service="scheduler", resource="schedule-group", resource_name="default"
        )
        return iam.Role(
            self,
            "Clock",
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com",
                conditions={
                    "StringEquals": {
                        "aws:SourceAccount": stack.account,
                        "aws:SourceArn": group,
                    }
                },
            ),
            inline_policies={
                "may": iam.PolicyDocument(
                    statements=[
                        allow(["lambda:InvokeFunction"], self.function.function_arn),
                        allow(["sqs:SendMessage"], self.failed_polls.queue_arn),
                    ]
                )
            },
        )
