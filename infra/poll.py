"""The poll stage: its function, schedule and permissions."""

from pathlib import Path

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from constructs import Construct

from functions.model.items.work_item import UNFINISHED_INDEX
from functions.settings import PollSettings
from infra.grants import allow, common_grants
from infra.schedule import Schedule, invoke_on_schedule
from infra.settings import StackSettings
from infra.stage import Stage, shared
from infra.storage import Storage, dead_letters

# A failed run is not retried, because the next run does its work. A throttled run waits: in an
# account with little concurrency, the next run would be throttled too.
MAX_AGE = Duration.minutes(5)


class Poll(Stage):
    """Poll is invoked by a schedule, by submit and results, and by itself when its time is short."""

    def __init__(
        self, scope: Construct, *, settings: StackSettings, storage: Storage, bundle: Path
    ) -> None:
        # A failed invocation holds no data; it is kept just long enough to raise the alarm.
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
                day_budget_usd=settings.day_budget_usd,
                month_budget_usd=settings.month_budget_usd,
                admin_secret_name=settings.admin_secret_name or "",
                workspace_id=settings.workspace_id or "",
            ),
            bundle=bundle,
            timeout=Duration.minutes(2),
            memory_mb=512,
            grants=[
                *common_grants(storage),
                allow(["dynamodb:Query"], f"{storage.table.table_arn}/index/{UNFINISHED_INDEX}"),
                allow(["s3:PutObject"], storage.results.arn_for_objects("results/*/status.json")),
                allow(
                    ["s3:PutObject", "s3:AbortMultipartUpload", "s3:GetObject"],
                    storage.results.arn_for_objects("ledger/*.csv"),
                ),
                allow(
                    ["s3:PutObject", "s3:GetObject"], storage.results.arn_for_objects("jobs.json")
                ),
                # Without it, S3 answers 403 instead of 404 for an object that does not exist.
                allow(["s3:ListBucket"], storage.results.bucket_arn),
                allow(
                    ["sqs:SendMessage"],
                    storage.submit_queue.queue_arn,
                    storage.results_queue.queue_arn,
                    self.failed_polls.queue_arn,
                ),
                *_admin_key_grants(storage, settings.admin_secret_name),
            ],
        )
        # Not in the role itself: the function needs its role, so the role cannot name the function.
        iam.Policy(
            self,
            "Again",
            statements=[allow(["lambda:InvokeFunction"], self.function.function_arn)],
            roles=[self.role],
        )
        self._acknowledge_wildcards(storage.results, "results/*/status.json", "ledger/*.csv")
        invoke_on_schedule(
            self,
            _schedule(settings.poll_minutes),
            function=self.function,
            failures=self.failed_polls,
        )


def _admin_key_grants(storage: Storage, secret_name: str | None) -> list[iam.PolicyStatement]:
    """Return what the check of the ledger may do: read the admin key, if the user named its secret."""
    if secret_name is None:
        return []
    return [allow(["secretsmanager:GetSecretValue"], storage.arn_of_secret(secret_name))]


def _schedule(minutes: int) -> Schedule:
    return Schedule(
        description="Invokes poll of claude-batch-relay",
        rate=f"{minutes} {'minute' if minutes == 1 else 'minutes'}",
        payload="{}",
        max_age=MAX_AGE,
        retries=0,
    )
