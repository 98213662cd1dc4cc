"""The settings of each function: infra writes them, the function reads them.

This module defines the type, the bounds and the default of each setting; `infra.settings` reuses them.
`Settings.to_env` returns the environment of a Lambda function, `Settings.from_env` reads it back.
Waiting times are settings too: tests set them to zero.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from functions.errors import SettingError

PROCESS = {"MALLOC_ARENA_MAX": "1"}
"""The process environment of every function. One malloc arena saves memory: Python's threads run one at a time."""

Positive = Annotated[int, Meta(ge=1)]
BaseUrl = Annotated[
    str,
    Meta(
        pattern=r"\A(https://[^\s/?#@]+(/[^\s?#]*)?|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/[^\s?#]*)?)\Z",
        description="an https:// address, because plain http:// would expose the API key "
        "(http:// is only for localhost)",
    ),
]
ApiVersion = Annotated[
    str,
    Meta(
        pattern=r"\A20\d\d-\d\d-\d\d\Z",
        description="a version of the API such as '2026-10-21'",
    ),
]
RetentionDays = Annotated[int, Meta(ge=30, le=3653)]
ProbeSeconds = Annotated[int, Meta(ge=0, le=86_400)]
RetrySeconds = Annotated[int, Meta(ge=1, le=3600)]
RequestsPerBatch = Annotated[int, Meta(ge=1, le=100_000)]
Attempts = Annotated[int, Meta(ge=1, le=9)]
RowBytes = Annotated[int, Meta(ge=1000, le=64_000_000)]  # memory holds several rows
CreateTimeoutSeconds = Annotated[int, Meta(ge=1, le=840)]  # submit's own timeout is 900 s
EstimateRows = Annotated[int, Meta(ge=0, le=1000)]
BudgetUsd = Annotated[int, Meta(ge=0, le=10_000_000)]
WorkspaceId = Annotated[
    str,
    Meta(
        pattern=r"\A(wrkspc_[A-Za-z0-9]{1,64}|default|)\Z",
        description="'default', or the id of a workspace such as 'wrkspc_01JwQvzr7rXLA5AGx3HKfFUJ'",
    ),
]
Repeats = Literal["skip", "run"]
Report = Literal["full", "figures", "off"]
OpenBatches = Annotated[int, Meta(ge=1, le=10_000)]
QueuedRequests = Annotated[int, Meta(ge=1, le=100_000_000)]
AbsentListings = Annotated[int, Meta(ge=1, le=100)]
AbsentSeconds = Annotated[int, Meta(ge=0, le=86_400)]
SkewSeconds = Annotated[int, Meta(ge=0, le=3600)]
IncompleteDownloads = Annotated[int, Meta(ge=1, le=100)]
IncompleteSeconds = Annotated[int, Meta(ge=0, le=864_000)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of every stage: where its resources are, how to reach Claude, how long to wait.

    Attributes:
        base_url: the address of the Anthropic API.
        api_version: the header `anthropic-version`.
        retention_days: how long results are kept, in days.
        probe_s: seconds between two probes while sending is paused.
        retry_s: seconds before the first retry of a failed step; later delays grow.
        dashboard: whether the metrics of the dashboard are written.
        tracing: whether subsegments are sent to X-Ray.
    """

    table_name: str
    uploads_bucket: str
    results_bucket: str
    topic_arn: str
    secret_name: str
    base_url: BaseUrl = "https://api.anthropic.com"
    api_version: ApiVersion = "2026-10-21"
    retention_days: RetentionDays = 90
    probe_s: ProbeSeconds = 300
    retry_s: RetrySeconds = 60
    dashboard: bool = False
    tracing: bool = False

    def to_env(self) -> dict[str, str]:
        """Return the settings as environment variables: ``TABLE_NAME`` for ``table_name``.

        A text that is empty by default, and still is, is left out.
        """
        values = {field: str(getattr(self, field.name)) for field in fields(self)}
        return {
            field.name.upper(): text
            for field, text in values.items()
            if text or field.default is MISSING
        }

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the settings from environment variables.

        Raises:
            SettingError: a setting is missing or invalid; the message gives its name, value and range.
        """
        types = get_type_hints(cls, include_extras=True)
        values: dict[str, Any] = {}
        for field in fields(cls):
            name = field.name.upper()
            if name in env:
                values[field.name] = _read_env(name, env[name], types[field.name])
            elif field.default is MISSING:
                message = f"the setting {name} is missing from the environment"
                raise SettingError(message)
        return cls(**values)


_MAX_QUOTED_CHARS = 40
"""Characters of an invalid value that the error message quotes."""


def _read_env(name: str, text: str, kind: Any) -> Any:  # noqa: ANN401  # a type, and a value of it
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        message = f"the setting {name} is {text[:_MAX_QUOTED_CHARS]!r}, but must be {describe_range(kind)}"
        raise SettingError(message) from error


def describe_range(kind: Any) -> str:  # noqa: ANN401  # a type
    """Return the values that a setting of this type accepts, in words: ``a whole number from 1 to 9``."""
    if kind is bool:
        return "true or false"
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    base, *rest = get_args(kind) or (kind,)
    meta = next((part for part in rest if isinstance(part, Meta)), Meta())
    if base is not int:
        return meta.description or ("text" if base is str else describe_range(base))
    return "a whole number" + _bounds(meta)


def _bounds(meta: Meta) -> str:
    if meta.le is not None:
        return f" from {meta.ge} to {meta.le}"
    return f" of at least {meta.ge}" if meta.ge is not None else ""


@dataclass(frozen=True, kw_only=True)
class SubmitSettings(Settings):
    """The settings of submit. Most are copied to a job when it is claimed.

    Attributes:
        queue_url: the queue that invokes submit.
        batch_bytes: the largest request body of a batch, in bytes.
        row_bytes: the longest row that is accepted, in bytes.
        create_timeout_s: how long a create may take, in seconds.
        repeats: what happens to an upload whose bytes another job has.
        estimate_rows: rows of a job whose input tokens the API counts for its estimate; 0 for none.
        job_budget_usd: the most that a job may cost unless its options say otherwise; 0 for no limit.
        day_budget_usd: as in `PollSettings`; with any budget, a job is sent only once it is estimated.
        month_budget_usd: likewise.
        report: what report.html contains unless the options say otherwise; ``figures`` has no prompts and answers.
        poll_function_name: the poll function to invoke; empty for none.
    """

    queue_url: str
    requests_per_batch: RequestsPerBatch = 10_000
    attempts: Attempts = 3
    batch_bytes: Positive = 250_000_000
    row_bytes: RowBytes = 32_000_000
    create_timeout_s: CreateTimeoutSeconds = 600
    repeats: Repeats = "skip"
    estimate_rows: EstimateRows = 50
    job_budget_usd: BudgetUsd = 0
    day_budget_usd: BudgetUsd = 0
    month_budget_usd: BudgetUsd = 0
    report: Report = "full"
    poll_function_name: str = ""


@dataclass(frozen=True, kw_only=True)
class PollSettings(Settings):
    """The settings of poll.

    Attributes:
        open_batches: how many batches may be open at once.
        queued_requests: how many requests may be unanswered at once.
        absent_listings: complete listings that must lack a batch before its create counts as failed.
        absent_s: how long the batch must be missing, in seconds.
        skew_s: how far Anthropic's clock and ours may differ, in seconds.
        lease_s: poll's lease in seconds. Poll may run for 120 s, so two polls never overlap.
        cancellation_window_s: how long a cancel request waits for its upload's event, which may be hours late.
        day_budget_usd: the most that all jobs together may cost on a day, in UTC; 0 for no limit.
        month_budget_usd: likewise in a month.
        admin_secret_name: the secret with an admin key, to check the ledger against Anthropic's usage report; empty if
            it is not checked.
        workspace_id: the workspace of the API key, ``default`` or its id, to which that check is limited; empty for
            the whole organization.
    """

    submit_queue_url: str
    results_queue_url: str
    open_batches: OpenBatches = 1_000
    queued_requests: QueuedRequests = 200_000
    absent_listings: AbsentListings = 3
    absent_s: AbsentSeconds = 600
    skew_s: SkewSeconds = 300
    lease_s: Positive = 130
    cancellation_window_s: Positive = 86_400
    day_budget_usd: BudgetUsd = 0
    month_budget_usd: BudgetUsd = 0
    admin_secret_name: str = ""
    workspace_id: WorkspaceId = ""

    @property
    def pause_share(self) -> float:
        """Return the share of poll's own pauses to keep: all, or less where `retrySeconds` is under a minute."""
        return min(self.retry_s / 60, 1.0)


@dataclass(frozen=True, kw_only=True)
class ResultsSettings(Settings):
    """The settings of results.

    Attributes:
        queue_url: the queue that invokes results.
        incomplete_downloads: downloads without the missing rows before they are given up.
        incomplete_s: the least time that these downloads span, in seconds.
        disk_bytes: the disk space that collect may use, in bytes.
        poll_function_name: the poll function to invoke; empty for none.
    """

    queue_url: str
    incomplete_downloads: IncompleteDownloads = 5
    incomplete_s: IncompleteSeconds = 21_600
    disk_bytes: Positive = 4 << 30
    poll_function_name: str = ""
