"""Results: collects what batches gave, joins a job's parts, announces it."""

from pathlib import Path

from constructs import Construct

from functions.settings import ResultsSettings
from infra.poll import Poll
from infra.settings import StackSettings
from infra.stage import Stage, allow, shared
from infra.storage import STAGE_TIMEOUT, Storage


class Results(Stage):
    """Woken by its queue, by poll alone."""

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
            "Results",
            settings=settings,
            function_settings=ResultsSettings(
                **shared(storage, settings),
                queue_url=storage.results_queue.queue_url,
                poll_function_name=poll.function.function_name,
                fetches=settings.fetches,
                fetch_s=settings.fetch_seconds,
                disk_bytes=settings.results_disk_mib << 20,
            ),
            bundle=bundle,
            timeout=STAGE_TIMEOUT,
            memory_mb=settings.stage_memory_mb,
            disk_mib=settings.results_disk_mib,
            grants=[
                allow(
                    [
                        "sqs:ReceiveMessage",
                        "sqs:DeleteMessage",
                        "sqs:ChangeMessageVisibility",
                        "sqs:GetQueueAttributes",
                    ],
                    storage.results_queue.queue_arn,
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
                    [
                        "s3:GetObject",
                        "s3:PutObject",
                        "s3:AbortMultipartUpload",
                        "s3:PutObjectTagging",
                    ],
                    storage.results.arn_for_objects("work/*"),
                ),
                allow(
                    ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
                    storage.results.arn_for_objects("results/*"),
                ),
                allow(["sns:Publish"], storage.events.topic_arn),
                allow(["secretsmanager:GetSecretValue"], storage.secret_arn),
                allow(["lambda:InvokeFunction"], poll.function.function_arn),
            ],
        )
        self._acknowledge_wildcards(storage.uploads, "*")
        self._acknowledge_wildcards(storage.results, "work/*", "results/*")
        self._consume(storage.results_queue, max_concurrency=settings.results_concurrency)
