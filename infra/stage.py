"""A stage: one function with its own log and a role that allows only what its file grants."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from aws_cdk import Duration, RemovalPolicy, Size, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from functions.settings import PROCESS, Settings
from infra.grants import allow
from infra.nag import acknowledge
from infra.settings import StackSettings
from infra.storage import Storage

ARCHITECTURES = {"arm64": lambda_.Architecture.ARM_64, "x86_64": lambda_.Architecture.X86_64}

LOG_DAYS = (
    *(30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096),
    *(1827, 2192, 2557, 2922, 3288, 3653),
)
"""Retentions that CloudWatch Logs supports within the range of `retentionDays`, in days."""


class Shared(TypedDict):
    """The settings of every stage: the fields of `functions.settings.Settings`."""

    table_name: str
    uploads_bucket: str
    results_bucket: str
    topic_arn: str
    secret_name: str
    base_url: str
    api_version: str
    retention_days: int
    dashboard: bool
    tracing: bool
    probe_s: int
    retry_s: int


def shared(storage: Storage, settings: StackSettings) -> Shared:
    """Return the settings that every stage shares."""
    return Shared(
        table_name=storage.table.table_name,
        uploads_bucket=storage.uploads.bucket_name,
        results_bucket=storage.results.bucket_name,
        topic_arn=storage.events.topic_arn,
        secret_name=storage.secret_name,
        base_url=settings.base_url,
        api_version=settings.api_version,
        retention_days=settings.retention_days,
        dashboard=settings.dashboard,
        tracing=settings.tracing,
        probe_s=settings.probe_seconds,
        retry_s=settings.retry_seconds,
    )


class Stage(Construct):
    """One function with its role, log and environment. A subclass adds its trigger."""

    def __init__(  # noqa: PLR0913  # a function has that many properties
        self,
        scope: Construct,
        name: str,
        *,
        settings: StackSettings,
        function_settings: Settings,
        bundle: Path,
        grants: Sequence[iam.PolicyStatement],
        timeout: Duration,
        memory_mb: int,
        disk_mib: int = 512,
        layers: Sequence[lambda_.ILayerVersion] = (),
    ) -> None:
        super().__init__(scope, name)
        log = self._log(settings.retention_days)
        self.role = self._role(log, grants, tracing=settings.tracing)
        self.function = lambda_.Function(
            self,
            "Function",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=ARCHITECTURES[settings.architecture],
            handler=f"functions.{name.lower()}.handler",
            code=lambda_.Code.from_asset(str(bundle)),
            layers=[*layers],  # jsii takes no tuple
            # Keeps constructs from adding permissions that the stage's file does not list.
            role=self.role.without_policy_updates(),
            log_group=log,
            timeout=timeout,
            memory_size=memory_mb,
            ephemeral_storage_size=Size.mebibytes(disk_mib),
            tracing=lambda_.Tracing.ACTIVE if settings.tracing else lambda_.Tracing.DISABLED,
            environment={
                **PROCESS,
                **function_settings.to_env(),
                "POWERTOOLS_SERVICE_NAME": settings.stack_name,
                "POWERTOOLS_LOG_LEVEL": "INFO",
            },
        )
        acknowledge(
            self.function,
            "AwsSolutions-L1",
            "The packages are pinned, compiled and tested for Python 3.13; a later Python needs "
            "all of them changed together.",
        )

    def _log(self, days: int) -> logs.LogGroup:
        log = logs.LogGroup(self, "Log", removal_policy=RemovalPolicy.DESTROY)
        resource = log.node.default_child
        assert isinstance(resource, logs.CfnLogGroup)  # noqa: S101  # narrows the type
        resource.retention_in_days = next(supported for supported in LOG_DAYS if supported >= days)
        return log

    def _role(
        self, log: logs.LogGroup, grants: Sequence[iam.PolicyStatement], *, tracing: bool
    ) -> iam.Role:
        statements = [
            allow(["logs:CreateLogStream", "logs:PutLogEvents"], log.log_group_arn),
            *grants,
        ]
        if tracing:
            statements.append(allow(["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*"))
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            inline_policies={"may": iam.PolicyDocument(statements=statements)},
        )
        if tracing:
            reason = "X-Ray has no resource type for writing traces."
            acknowledge(role, "AwsSolutions-IAM5[Resource::*]", reason)
        return role

    def _consume(self, queue: sqs.Queue, *, max_concurrency: int) -> None:
        """Consume ``queue`` one message at a time, with up to ``max_concurrency`` (at least 2) invocations."""
        lambda_.EventSourceMapping(
            self,
            "Source",
            target=self.function,
            event_source_arn=queue.queue_arn,
            batch_size=1,
            max_concurrency=max_concurrency,
        )

    def _acknowledge_wildcards(self, bucket: s3.Bucket, *names: str) -> None:
        """Acknowledge that the role may access the wildcards ``names`` in the bucket."""
        resource = bucket.node.default_child
        assert isinstance(resource, s3.CfnBucket)  # noqa: S101  # narrows the type
        for name in names:
            acknowledge(
                self.role,
                f"AwsSolutions-IAM5[Resource::<{Stack.of(self).get_logical_id(resource)}.Arn>/{name}]",
                "Object keys come from the user's uploads, so they cannot be listed here.",
            )
