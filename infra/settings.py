"""The deployment settings: read from cdk.json or ``cdk deploy -c key=value``, and checked.

A key is the camel case of its field: ``pollMinutes`` sets `poll_minutes`. Values after ``-c`` are
always text, so ``"5"`` is read as a number and ``"true"`` as a boolean.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import Field, dataclass, fields, replace
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self, get_type_hints

import msgspec
from msgspec import Meta

from functions.settings import (
    AbsentListings,
    AbsentSeconds,
    ApiVersion,
    Attempts,
    BaseUrl,
    BudgetUsd,
    CreateTimeoutSeconds,
    EstimateRows,
    IncompleteDownloads,
    IncompleteSeconds,
    OpenBatches,
    PollSettings,
    ProbeSeconds,
    QueuedRequests,
    Repeats,
    Report,
    RequestsPerBatch,
    ResultsSettings,
    RetentionDays,
    RetrySeconds,
    RowBytes,
    Settings,
    SkewSeconds,
    SubmitSettings,
    WorkspaceId,
    describe_range,
)
from infra.errors import ContextError

type Architecture = Literal["arm64", "x86_64"]

# Keys of the CDK's own tools without the ":" or "/" that its other keys have.
_CDK_KEYS = {
    "acknowledged-issue-numbers",
    "acknowledgements",
    "cli-telemetry",
    "notices",
    "tree-metadata",
}

_StackName = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z][A-Za-z0-9-]{0,39}\Z",
        description="1 to 40 letters, digits and hyphens, a letter first",
    ),
]
_Email = Annotated[
    str, Meta(pattern=r"\A[^@\s]+@[^@\s]+\.[^@\s]+\Z", description="one e-mail address")
]
_SecretName = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9/_+=.@-]{1,512}\Z",
        description="the name of a secret in Secrets Manager, not its ARN",
    ),
]


@dataclass(frozen=True, kw_only=True)
class StackSettings:
    """All settings with their defaults; docs/deploy.md describes each."""

    stack_name: _StackName = "claude-batch-relay"
    poll_minutes: Annotated[int, Meta(ge=1, le=60)] = 1
    requests_per_batch: RequestsPerBatch = SubmitSettings.requests_per_batch
    row_bytes: RowBytes = SubmitSettings.row_bytes
    open_batches: OpenBatches = PollSettings.open_batches
    queued_requests: QueuedRequests = PollSettings.queued_requests
    attempts: Attempts = SubmitSettings.attempts
    api_version: ApiVersion = SubmitSettings.api_version
    base_url: BaseUrl = SubmitSettings.base_url
    retention_days: RetentionDays = SubmitSettings.retention_days
    removal_policy: Literal["retain", "destroy"] = "retain"
    alarm_email: _Email | None = None
    secret_name: _SecretName | None = None
    admin_secret_name: _SecretName | None = None
    workspace_id: WorkspaceId | None = None
    architecture: Literal["arm64", "x86_64"] = "arm64"
    tracing: bool = Settings.tracing
    dashboard: bool = Settings.dashboard
    absent_seconds: AbsentSeconds = PollSettings.absent_s
    absent_listings: AbsentListings = PollSettings.absent_listings
    skew_seconds: SkewSeconds = PollSettings.skew_s
    probe_seconds: ProbeSeconds = SubmitSettings.probe_s
    retry_seconds: RetrySeconds = SubmitSettings.retry_s
    incomplete_downloads: IncompleteDownloads = ResultsSettings.incomplete_downloads
    incomplete_seconds: IncompleteSeconds = ResultsSettings.incomplete_s
    submit_concurrency: Annotated[int, Meta(ge=2, le=1000)] = 4
    results_concurrency: Annotated[int, Meta(ge=2, le=1000)] = 4
    results_disk_mib: Annotated[int, Meta(ge=512, le=10_240)] = ResultsSettings.disk_bytes >> 20
    create_timeout_seconds: CreateTimeoutSeconds = SubmitSettings.create_timeout_s
    # A page of a thousand versions takes half a second.
    reconcile_pages: Annotated[int, Meta(ge=0, le=10_000)] = 100
    repeats: Repeats = SubmitSettings.repeats
    estimate_rows: EstimateRows = SubmitSettings.estimate_rows
    job_budget_usd: BudgetUsd = SubmitSettings.job_budget_usd
    day_budget_usd: BudgetUsd = PollSettings.day_budget_usd
    month_budget_usd: BudgetUsd = PollSettings.month_budget_usd
    report: Report = SubmitSettings.report
    bundle: Literal["real", "stub"] = "real"

    @classmethod
    def from_context(cls, context: Mapping[str, object]) -> Self:
        """Read the settings from the CDK's context, `node.get_all_context()`.

        Raises:
            ContextError: a key is unknown, or its value cannot be used.
        """
        fields_by_key = {key(field): field for field in fields(cls)}
        types = get_type_hints(cls, include_extras=True)
        for name in context:
            if name not in fields_by_key and not _belongs_to_cdk(name):
                raise ContextError(_unknown(name, fields_by_key))
        values = {
            field.name: _read(name, types[field.name], context[name])
            for name, field in fields_by_key.items()
            if context.get(name) is not None and context[name] != ""
        }
        settings = cls(**values)
        _check_together(settings)
        return replace(settings, base_url=settings.base_url.rstrip("/"))

    @property
    def stage_memory_mb(self) -> int:
        """Return the memory of submit and of results, in MB.

        Both mostly wait for the network, so the minimum is the cheapest (docs/scale.md). Planning
        holds several copies of a row, so long rows need more.
        """
        return 512 if self.row_bytes <= SubmitSettings.row_bytes else 1024


def _check_together(settings: StackSettings) -> None:
    if settings.queued_requests < settings.requests_per_batch:
        message = (
            f"queuedRequests is {settings.queued_requests}, less than one batch of "
            f"requestsPerBatch, so that nothing would ever be sent: "
            f"put {settings.requests_per_batch} or more."
        )
        raise ContextError(message)


def key(field: "Field[Any]") -> str:
    """Return the context key of a field: ``pollMinutes`` for ``poll_minutes``."""
    first, *rest = field.name.split("_")
    return first + "".join(word.title() for word in rest)


def _read(name: str, type_: Any, value: object) -> Any:  # noqa: ANN401  # a type, and a value of it
    try:
        return msgspec.convert(value, type_, strict=False)
    except msgspec.ValidationError as error:
        message = f"{name} is {value!r}, but must be {describe_range(type_)}."
        raise ContextError(message) from error


def _belongs_to_cdk(name: str) -> bool:
    return bool(re.search(r"[:/@]", name)) or name in _CDK_KEYS


def _unknown(name: str, keys: Collection[str]) -> str:
    similar = get_close_matches(name.replace("-", "").replace("_", ""), keys, n=1, cutoff=0.6)
    advice = f"did you mean {similar[0]}?" if similar else f"put one of {', '.join(sorted(keys))}."
    shown = name if name.isprintable() else repr(name)
    return f"{shown} is not a setting of claude-batch-relay: {advice}"
