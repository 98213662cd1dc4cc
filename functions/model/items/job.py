"""The item of a job: the work that one upload requests."""

import re
from enum import StrEnum
from typing import Any

import msgspec

from functions.model import ids
from functions.model.demand import Demand
from functions.model.estimate import Estimate, Sample
from functions.model.items.batch import Batch
from functions.model.items.measured_pilot import Pilot
from functions.model.items.priority import NORMAL, Share
from functions.model.items.stored_objects import NO_VERSION, ObjectVersion
from functions.model.items.work_item import WorkItem
from functions.model.upload_format import UploadFormat

ESTIMATE, PILOT, GO = "estimate", "pilot", "go"
"""Values of `Job.held`. ``estimate``: until the job is planned, no batch is sent, because a budget is in force.
``pilot``: until the pilot is answered, only the pilot is sent. ``go``: nothing else is sent until a go marker comes."""


class JobStatus(StrEnum):
    """The status of a job."""

    PLANNING = "PLANNING"
    RUNNING = "RUNNING"
    ASSEMBLING = "ASSEMBLING"
    DONE = "DONE"


class MaxTokensRaise(msgspec.Struct, frozen=True, kw_only=True):
    """How far `max_tokens` is raised for a row that is sent once more because its answer ended there.

    Attributes:
        percent: of the row's own `max_tokens`.
        limit: the largest that this may lead to.
    """

    percent: int
    limit: int


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The position up to which an upload is cut into chunks.

    All attributes are stored, defaults too, so that a write can require an unchanged checkpoint.

    Attributes:
        position: the reader's position, with `byte`, the offset in the upload.
        row: the rows cut so far.
        chunk: the chunks cut so far.
    """

    position: dict[str, Any] = {}
    row: int = 0
    chunk: int = 0


class Job(WorkItem, frozen=True, kw_only=True, omit_defaults=True):
    """The work that one upload requests, with the settings in force when it was claimed.

    Attributes:
        format: the format of the upload; None until planning begins.
        row_kind: what its rows are: ``native``, ``template`` or the name of a translation.
        betas: values of the header `anthropic-beta` for all rows.
        options_files: the versions of the options files that govern it, the farthest first.
        options_key: the key of their merged content in the results bucket; None without options.
        exports: the exports that are written beside results.jsonl.
        waiting_for: why planning cannot begin: ``template``, ``models`` or ``valid_options``; or why it cannot end:
            ``budget``, ``price`` or ``valid_options``; None if it can.
        waiting_event: the id of the last event that announced this.
        waiting_since: when it began to wait for this, or for a go marker after its pilot.
        translation_changes: field → rows in which a translation dropped or changed it.
        capability_list: the version of the list that says what each model accepts; None in jobs of earlier versions: the newest applies.
        demands: model → what the planned requests may use.
        samples: model → requests whose input tokens were counted.
        second_demands: model → what requests may use when they are sent once more with a larger `max_tokens`.
        estimate: what all of them are expected to use; None until everything is planned.
        priority: ``high``, ``normal`` or ``low``.
        share: the share of the upload's top-level folder; None if it has none.
        deadline_at: when poll cancels the job if it still runs; None for never.
        cancel_reason: why it was canceled, in one sentence; None unless the deadline was the reason.
        held: why its batches may not be sent: ``estimate``, ``pilot`` or ``go``; None if they may.
        budget_micro_usd: the most that it may cost, in millionths of a US dollar; None for no limit.
        released_at: when the latest go marker was created.
        pilot_rows: the rows that are sent first, alone; 0 for no pilot.
        pilot_auto: whether the rest may be sent without a go marker.
        go_since: when the pilot was sent; a later go marker sends the rest.
        pilot: what the pilot used; None until it is answered.
        planning_failure: the failure of planning, empty for none, because assembling overwrites `failure`; None until it
            has ended, and in jobs that ended under an earlier version.
        reopened: how many times it was reopened.
        first_ended_at: when it first ended, its time in the cost ledger; None unless it was reopened.
        collected_succeeded: the rows of its finished chunks that succeeded; the next four likewise.
        cost_micro_usd: the known part of what its batches cost, as counted when each was collected.
        equal_rows_once: whether rows whose params are equal share one request.
        copies: the rows planned so far that share the request of an earlier row.
        beta_changes: how many times a chunk ended because the next row needs other values of `anthropic-beta`.
        retry_truncated: how far `max_tokens` is raised for rows whose answers ended there; None if they are not sent once more.
        report: what report.html contains: ``full``, ``figures`` or ``off``; jobs of earlier versions have ``off``.
        warm_cache: whether the first row of each long prefix that rows share is sent before the others.
        warmed_prefixes: digests of the prefixes whose first rows are sent before the others.
    """

    bucket: str
    key: str
    version: str
    size_bytes: int
    uploaded_at: str
    claimed_at: str
    requests_per_batch: int
    batch_bytes: int
    row_bytes: int
    attempts: int
    api_version: str
    retention_days: int
    price_list: str
    checkpoint: Checkpoint
    rows_rejected: int = 0
    rejection_counts: dict[str, int] = {}
    chunks: int = 0
    chunks_finished: int = 0
    canceled_at: str | None = None
    failure: str | None = None
    ended_at: str | None = None
    outcome: str | None = None
    status_digest: str | None = None
    tidied: str | None = None
    format: UploadFormat | None = None
    row_kind: str = "native"
    betas: list[str] = []
    options_files: list[ObjectVersion] = []
    options_key: str | None = None
    exports: list[str] = []
    waiting_for: str | None = None
    waiting_event: str | None = None
    waiting_since: str | None = None
    translation_changes: dict[str, int] = {}
    capability_list: str | None = None
    demands: dict[str, Demand] = {}
    samples: dict[str, Sample] = {}
    second_demands: dict[str, Demand] = {}
    estimate: Estimate | None = None
    priority: str = NORMAL
    share: Share | None = None
    deadline_at: str | None = None
    cancel_reason: str | None = None
    held: str | None = None
    budget_micro_usd: int | None = None
    released_at: str | None = None
    pilot_rows: int = 0
    pilot_auto: bool = False
    go_since: str | None = None
    pilot: Pilot | None = None
    planning_failure: str | None = None
    reopened: int = 0
    first_ended_at: str | None = None
    collected_succeeded: int = 0
    collected_errored: int = 0
    collected_canceled: int = 0
    collected_expired: int = 0
    collected_rejected: int = 0
    cost_micro_usd: int = 0
    equal_rows_once: bool = False
    copies: int = 0
    beta_changes: int = 0
    retry_truncated: MaxTokensRaise | None = None
    report: str = "off"
    warm_cache: bool = False
    warmed_prefixes: list[str] = []

    @property
    def source(self) -> ObjectVersion:
        """The version of the upload that is planned."""
        version = None if self.version == NO_VERSION else self.version
        return ObjectVersion(self.bucket, self.key, version)

    @property
    def label(self) -> str:
        """The job's name for people: ``march-3f9ac21b``."""
        return label_of(self.key, self.job)

    @property
    def results_prefix(self) -> str:
        """The prefix of its results: ``results/<path>/<name>/<job>``. Long keys are cut to 900 bytes."""
        return results_prefix(self.key, self.job)

    def holds(self, batch: Batch) -> bool:
        """Return whether a batch of it may not be sent.

        Its first chunk is stored after `held`. As long as the index lacks both, `held` may be set in the table.
        """
        if self.held in {PILOT, GO}:
            return not batch.is_pilot
        is_behind = self.status == JobStatus.PLANNING and not self.checkpoint.chunk
        return self.held is not None or is_behind

    @property
    def is_released(self) -> bool:
        """Whether a go marker came after the pilot was sent."""
        return self.released_at is not None and self.released_at >= (self.go_since or "")

    @property
    def sendable_rows(self) -> int:
        """The rows planned so far that can be sent, or share the request of one that can."""
        return self.checkpoint.row - self.rows_rejected

    @property
    def requests(self) -> int:
        """The requests planned so far."""
        return self.sendable_rows - self.copies


def label_of(key: str, job: str) -> str:
    """Return the name for people of a job whose upload has this key."""
    stem = ids.stem_of(key).rpartition("/")[2]
    printable = re.sub(r"[^A-Za-z0-9._-]+", "_", stem)[:40].strip("_") or "upload"
    return f"{printable}-{job[:8]}"


def results_prefix(key: str, job: str) -> str:
    """Return the prefix of the results of a job whose upload has this key."""
    cut = ids.stem_of(key).encode()[:900].decode(errors="ignore")
    return f"results/{cut}/{job}"
