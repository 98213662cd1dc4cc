"""The results stage: its function, queue and permissions."""

from pathlib import Path

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from functions.settings import ResultsSettings
from infra.grants import allow, common_grants, queue_stage_grants
from infra.poll import Poll
from infra.settings import StackSettings
from infra.stage import Stage, shared
from infra.storage import STAGE_TIMEOUT, Storage


class Results(Stage):
    """Results consumes its queue, to which only poll sends."""

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
            "Results",
            settings=settings,
            function_settings=ResultsSettings(
                **shared(storage, settings),
                queue_url=storage.results_queue.queue_url,
                poll_function_name=poll.function.function_name,
                incomplete_downloads=settings.incomplete_downloads,
                incomplete_s=settings.incomplete_seconds,
                disk_bytes=settings.results_disk_mib << 20,
            ),
            bundle=bundle,
            timeout=STAGE_TIMEOUT,
            memory_mb=settings.stage_memory_mb,
            disk_mib=settings.results_disk_mib,
            layers=[duckdb],
            grants=[
                *common_grants(storage),
                *queue_stage_grants(storage, storage.results_queue, poll.function),
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
            ],
        )
        self._acknowledge_wildcards(storage.uploads, "*")
        self._acknowledge_wildcards(storage.results, "work/*", "results/*")
        self._consume(storage.results_queue, max_concurrency=settings.results_concurrency)
