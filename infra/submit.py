"""The submit stage: its function, queue, daily schedule and permissions."""

from pathlib import Path

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from functions.model.items.work_item import UNFINISHED_INDEX
from functions.settings import SubmitSettings
from infra.grants import allow, common_grants, queue_stage_grants
from infra.poll import Poll
from infra.reconciliation import Reconciliation
from infra.settings import StackSettings
from infra.stage import Stage, shared
from infra.storage import STAGE_TIMEOUT, Storage


class Submit(Stage):
    """Submit consumes its queue, to which S3 and poll send; a schedule also invokes it once a day."""

    def __init__(
        self,
        scope: Construct,
        *,
        settings: StackSettings,
        storage: Storage,
        poll: Poll,
        bundle: Path,
        duckdb: lambda_.ILayerVersion,
    ) -> None:
        super().__init__(
            scope,
            "Submit",
            settings=settings,
            function_settings=SubmitSettings(
                **shared(storage, settings),
                queue_url=storage.submit_queue.queue_url,
                poll_function_name=poll.function.function_name,
                requests_per_batch=settings.requests_per_batch,
                attempts=settings.attempts,
                row_bytes=settings.row_bytes,
                create_timeout_s=settings.create_timeout_seconds,
                repeats=settings.repeats,
                estimate_rows=settings.estimate_rows,
                job_budget_usd=settings.job_budget_usd,
                day_budget_usd=settings.day_budget_usd,
                month_budget_usd=settings.month_budget_usd,
                report=settings.report,
            ),
            bundle=bundle,
            timeout=STAGE_TIMEOUT,
            memory_mb=settings.stage_memory_mb,
            disk_mib=2048,  # the files of a chunk, and a row group of Parquet
            layers=[duckdb],
            grants=[
                *common_grants(storage),
                *queue_stage_grants(storage, storage.submit_queue, poll.function),
                allow(
                    ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
                    storage.results.arn_for_objects("work/*"),
                ),
                allow(["s3:GetObject"], storage.results.arn_for_objects("results/*")),
                allow(["sqs:SendMessage"], poll.failed_polls.queue_arn),
                # It finds the jobs that wait for options.
                allow(["dynamodb:Query"], f"{storage.table.table_arn}/index/{UNFINISHED_INDEX}"),
            ],
        )
        self._acknowledge_wildcards(storage.uploads, "*")
        self._acknowledge_wildcards(storage.results, "work/*", "results/*")
        self._consume(storage.submit_queue, max_concurrency=settings.submit_concurrency)
        if settings.reconcile_pages:
            Reconciliation(
                self,
                function=self.function,
                failures=poll.failed_polls,
                pages=settings.reconcile_pages,
            )
