"""Submit: claims uploads, cuts them into chunks, sends batches."""

from pathlib import Path

from constructs import Construct

from functions.settings import SubmitSettings
from infra.poll import Poll
from infra.reconciliation import Reconciliation
from infra.settings import StackSettings
from infra.stage import Stage, allow, shared
from infra.storage import STAGE_TIMEOUT, Storage


class Submit(Stage):
    """Woken by its queue: by S3 for each upload, by poll for whatever can go on. And once a day, by a schedule."""

    def __init__(
        self,
        scope: Construct,
        *,
        settings: StackSettings,
        storage: Storage,
        poll: Poll,
        bundle: Path,
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
            ),
            bundle=bundle,
            timeout=STAGE_TIMEOUT,
            memory_mb=settings.stage_memory_mb,
            disk_mib=1024,
            grants=[
                allow(
                    [
                        "sqs:ReceiveMessage",
                        "sqs:DeleteMessage",
                        "sqs:ChangeMessageVisibility",
                        "sqs:GetQueueAttributes",
                    ],
                    storage.submit_queue.queue_arn,
                ),
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
                allow(
                    ["s3:GetObject", "s3:GetObjectVersion"], storage.uploads.arn_for_objects("*")
                ),
                # Without them, S3 answers 403 for an object or a version that is not there, not 404.
                allow(["s3:ListBucket", "s3:ListBucketVersions"], storage.uploads.bucket_arn),
                allow(["s3:ListBucket"], storage.results.bucket_arn),
                allow(
                    ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
                    storage.results.arn_for_objects("work/*"),
                ),
                allow(["s3:GetObject"], storage.results.arn_for_objects("results/*")),
                allow(["sns:Publish"], storage.events.topic_arn),
                allow(["sqs:SendMessage"], poll.failed_polls.queue_arn),
                allow(["secretsmanager:GetSecretValue"], storage.secret_arn),
                allow(["lambda:InvokeFunction"], poll.function.function_arn),
            ],
        )
        self._acknowledge_wildcards(storage.uploads, "*")
        self._acknowledge_wildcards(storage.results, "work/*", "results/*")
        self._consume(storage.submit_queue, max_concurrency=settings.submit_concurrency)
        if settings.reconcile_pages:
            Reconciliation(
                self,
                function=self.function,
                missed=poll.failed_polls,
                pages=settings.reconcile_pages,
            )
