"""The table's main items: jobs and their batches. The table is the source of truth; messages are hints.

The partition key is `job`. The sort key `item` is ``#`` for the job, ``00001-1`` (chunk, attempt) for a batch.
Unfinished items also have `open` and `status_key` (``STATUS#time``), the keys of the sparse index.
An item that waits for a stage names the step in `next_step`. `owner` and `lease` show who works on it.
Readers ignore unknown attributes, so an older function can read what a newer one wrote.
"""

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from functions.model import ids, timestamps
from functions.model.create_response import MAX_BATCH_AGE, RESULTS_RETENTION
from functions.model.demand import Demand
from functions.model.estimate import Estimate, Sample
from functions.model.upload_format import UploadFormat

SCHEMA = 1
JOB = "#"
OPEN = "open"
ESTIMATE, PILOT, GO = "estimate", "pilot", "go"
"""Why batches of a job are held: until it is planned, because a budget is in force; all but the pilot, until that is
answered; all but the pilot, until a go marker arrives."""
_PILOT_CHUNK = "00001"
UNFINISHED_INDEX = "unfinished"
"""The name of the sparse index, which infra creates."""
NORMAL = "normal"
"""The priority of jobs whose options name none."""
MICRO = 1_000_000
"""Millionths of a US dollar in one. The table has no fractions."""
MAX_TRIES = 5
"""Tries of one item without progress before `batch.stuck` is announced."""


class Step(StrEnum):
    """The step that an item waits for."""

    PLAN = "plan"
    SEND = "send"
    COLLECT = "collect"
    ASSEMBLE = "assemble"
    TIDY = "tidy"


class JobStatus(StrEnum):
    """The status of a job."""

    PLANNING = "PLANNING"
    RUNNING = "RUNNING"
    ASSEMBLING = "ASSEMBLING"
    DONE = "DONE"


class BatchStatus(StrEnum):
    """The status of a batch."""

    WAITING = "WAITING"
    SENDING = "SENDING"
    UNCONFIRMED = "UNCONFIRMED"
    IN_PROGRESS = "IN_PROGRESS"
    ENDED = "ENDED"
    COLLECTED = "COLLECTED"
    SPLIT = "SPLIT"
    STUCK = "STUCK"


FINISHED_BATCH_STATUSES = frozenset({BatchStatus.COLLECTED, BatchStatus.SPLIT, BatchStatus.STUCK})
"""Statuses of batches that are no longer in the index of unfinished items."""


class CloseReason(StrEnum):
    """Why rows of a batch end without a result from the API."""

    CANCELED = "canceled"
    GONE = "results_gone"
    MISSING = "result_missing"
    STUCK = "relay_stuck"
    LOST = "result_lost"
    KEPT = "kept"


KEEPS_PREVIOUS_RESULT = frozenset({CloseReason.CANCELED, CloseReason.STUCK, CloseReason.KEPT})
"""Close reasons for rows that were not sent again: a row of a later attempt keeps its previous result."""


NO_VERSION = "null"
"""The version id that S3 and jobs use for objects in a bucket without versioning."""


class ObjectVersion(msgspec.Struct, frozen=True):
    """One S3 object; for an upload also its version, since a later version is another upload."""

    bucket: str
    key: str
    version: str | None = None

    @property
    def uri(self) -> str:
        """The address of the object: ``s3://bucket/key``."""
        return f"s3://{self.bucket}/{self.key}"


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """One object of the results bucket that will be joined with others: its key, size in bytes and CRC-32."""

    key: str
    size: int
    crc32: int


class ChunkOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The files of a collected chunk.

    Attributes:
        results: its result lines, in row order.
        errors: the result lines of rows that did not succeed; only after the last attempt.
        retry: the upload's lines of these rows; only after the last attempt.
        retry_problem: why `retry` is missing.
        exports: path of an export → its part; only after the last attempt.
        export_problem: why `exports` is missing.
        problem: what else the rows lack.
    """

    results: StoredObject
    errors: StoredObject | None = None
    retry: StoredObject | None = None
    retry_problem: str | None = None
    exports: dict[str, StoredObject] = {}
    export_problem: str | None = None
    problem: str | None = None


OUTCOMES = ("succeeded", "errored", "canceled", "expired", "rejected")
"""How a row may end. `Job` has a counter for each."""
TRUNCATED_STOPS = ("max_tokens", "model_context_window_exceeded")
"""The stop reasons of an answer for which no token was left."""

Usage = dict[str, int]
"""What one model used: the sum of each member of the API's `usage`, whether a price list knows it or not.

- ``input_tokens``, ``output_tokens`` and ``cache_read_input_tokens`` as the API names them;
  ``cache_creation_input_tokens`` for 5 minutes, ``cache_creation_1h_input_tokens`` for an hour.
- ``long_input_tokens`` and so on: in requests whose prompt exceeds the price list's limit. The plain name excludes them.
- ``input_tokens[inference_geo=us]`` and so on: how many of them are in requests with this property.
- ``inference_geo=us``: requests with this property. Properties that change no price are not counted.
- ``server_tool_use.web_search_requests``: any other number, at any depth; fractions as ``…_millionths``.
- The names below.
"""
CONTAINER = "container"
"""Answers that ran code."""
UNREADABLE_ROWS = "unreadable_rows"
"""Succeeded rows whose usage cannot be read."""
UNKNOWN_RESULT_ROWS = "unknown_result_rows"
"""Rows whose result has a type that the API did not have when this was written."""
LOST_ROWS = "lost_rows"
"""Rows that were sent and whose result was never received."""
DUPLICATE_ROWS = "duplicate_rows"
"""Rows that were also sent in a duplicate, which is canceled; the manifest alone has it."""


class OutcomeCounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rows of a chunk by outcome, by error type and by stop reason; tokens by model.

    Attributes:
        usage: what this attempt used itself; the other counts include the rows that earlier attempts answered.
        empty_answers: the rows that succeeded with neither text nor tool use.
        input_sizes: answers of this attempt by their input tokens: number of binary digits → answers.
        output_sizes: likewise by their output tokens.
    """

    outcomes: dict[str, int] = {}
    errors: dict[str, int] = {}
    stops: dict[str, int] = {}
    usage: dict[str, Usage] = {}
    empty_answers: int = 0
    input_sizes: dict[str, int] = {}
    output_sizes: dict[str, int] = {}

    @property
    def truncated(self) -> int:
        """The rows whose answer ended because no token was left."""
        return sum(self.stops.get(reason, 0) for reason in TRUNCATED_STOPS)

    @property
    def job_increments(self) -> dict[str, int]:
        """What these rows add to the counters of their job, without zeros."""
        counts = {f"collected_{name}": self.outcomes.get(name, 0) for name in OUTCOMES}
        return {name: count for name, count in counts.items() if count}


class WorkItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The attributes that jobs and batches share.

    Attributes:
        job: the partition key.
        item: the sort key.
        schema: the version of the item's format.
        status: the status of the job or batch.
        status_key: ``STATUS#time``, the sort key of the index.
        open: ``open`` while the item is unfinished; the partition key of the index.
        next_step: the step that the item waits for.
        owner: the token of the invocation that works on it.
        lease: the time until which the owner may work.
        tries: how often it was acquired since its last progress.
        first_tried_at: when it was first acquired since its last progress.
        last_error: the last failure, in one sentence.
        faults: the last failures in a row that the item itself, not its environment, may have caused.
        convenience_tries: how often a step reached its retry file and exports, which it omits after some tries.
        stuck_at: when `batch.stuck` was announced.
        not_before: when it may be acquired again.
        expires: when DynamoDB deletes it, in seconds since 1970.
    """

    job: str
    item: str
    schema: int
    status: str
    status_key: str
    open: str | None = None
    next_step: str | None = None
    owner: str | None = None
    lease: str | None = None
    tries: int = 0
    first_tried_at: str | None = None
    last_error: str | None = None
    faults: int = 0
    convenience_tries: int = 0
    stuck_at: str | None = None
    not_before: str | None = None
    expires: int | None = None

    @property
    def status_since(self) -> datetime:
        """The time of its last status change."""
        return status_since(self.status_key)

    def is_leased(self, now: datetime) -> bool:
        """Return whether another invocation may be working on it."""
        return self.lease is not None and self.lease >= timestamps.text(now)

    def is_idle(self, now: datetime) -> bool:
        """Return whether it can be acquired now: not leased, and past `not_before`."""
        is_delayed = self.not_before is not None and self.not_before > timestamps.text(now)
        return not self.is_leased(now) and not is_delayed


class Share(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much the uploads below one first folder may have in flight at Anthropic; None for no limit.

    Attributes:
        folder: the first folder of their keys.
        open_batches: Message Batches.
        requests: requests in them.
    """

    folder: str
    open_batches: int | None = None
    requests: int | None = None


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
        waiting_since: since when it waits for this, or for a go marker after its pilot.
        translation_changes: field → rows in which a translation dropped or changed it.
        capability_list: the version of the list that says what each model accepts; None in jobs of before, for the newest.
        demands: model → what the planned requests may use.
        samples: model → requests whose input tokens were counted.
        second_demands: model → what requests may use when they are sent once more with a larger `max_tokens`.
        estimate: what all of them are expected to use; None until everything is planned.
        priority: ``high``, ``normal`` or ``low``.
        share: the share of the upload's first folder; None if it has none.
        deadline_at: when poll cancels the job if it still runs; None for never.
        cancel_reason: why it was canceled, in one sentence; None unless the deadline was the reason.
        held: why its batches may not be sent: ``estimate``, ``pilot`` or ``go``; None if they may.
        budget_micro_usd: the most that it may cost, in millionths of a US dollar; None for no limit.
        released_at: when the latest go marker was created.
        pilot_rows: the rows that are sent first, alone; 0 for no pilot.
        pilot_auto: whether the rest may be sent without a go marker.
        go_since: when the pilot was sent; a later go marker sends the rest.
        reopened: how many times it was opened again after it had ended.
        first_ended_at: when it ended first, which stays its time in the cost ledger; None unless it was opened again.
        collected_succeeded: the rows of its finished chunks that succeeded; the next four likewise.
        cost_micro_usd: what its batches cost, as counted when each was collected, as far as that is known.
        equal_rows_once: whether rows of a chunk whose params are equal share one request.
        copies: the rows planned so far that share the request of an earlier row.
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
        stem = ids.stem_of(self.key).rpartition("/")[2]
        printable = re.sub(r"[^A-Za-z0-9._-]+", "_", stem)[:40].strip("_") or "upload"
        return f"{printable}-{self.job[:8]}"

    @property
    def results_prefix(self) -> str:
        """The prefix of its results: ``results/<path>/<name>/<job>``. Long keys are cut to 900 bytes."""
        return results_prefix(self.key, self.job)

    def holds(self, batch: "Batch") -> bool:
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


class Batch(WorkItem, frozen=True, kw_only=True, omit_defaults=True):
    """One Message Batch: one chunk, one attempt.

    Attributes:
        requests_key: the key of its request body.
        ledger_key: the key of its ledger.
        previous_results: the chunk's results from earlier attempts.
        duplicate_id: the last other Message Batch with the same rows, which is canceled as a duplicate.
        first_sent_at: when the first create was attempted.
        intent_at: when the last create was attempted.
        inconclusive_creates: creates that returned neither a batch nor a reason.
        named_refusals: creates refused for a request that the API named and that has been removed since.
        pauses_caused: creates refused without naming a request.
        accepted_between: times that another batch was accepted between two such refusals.
        refused_at: when the first such create was sent that is not counted in `accepted_between` yet.
        reconcile_misses: reconciliations that did not find its Message Batch, since `first_missed_at`.
        listing_misses: complete listings of its workspace without it, since `missing_since`.
        missing_key: the fingerprint of the key of the last such listing.
        incomplete_downloads: complete downloads whose results lacked rows, since `first_download_at`.
        not_found: 404 responses for its results under one key, since `not_found_since`.
        not_found_key: the fingerprint of this key.
        pieces: the saved bytes of results that did not arrive in one download; None for all other batches.
        pieces_ended: whether the API's results ended with the last piece, so that nothing needs to follow.
        refetches: how often its results were fetched again because their part was deleted.
        request_counts: its requests by state as the API listed them when it ended, without zeros.
        close_reason: why its rows end without a result from the API.
        betas: values of the header `anthropic-beta`.
        worst_micro_usd: what it may cost, in millionths of a US dollar, as far as its models have prices.
        is_reserved: whether this is reserved in the budgets, because it was admitted.
        cost_micro_usd: what it cost, as counted when it was collected, as far as that is known.
        start: the reader's position before its first row; empty in batches that an earlier version planned.
        priority: that of its job.
        share: that of its job. Poll admits batches without reading their jobs.
        copies: the rows that share the request of an earlier row of the chunk.
        raised_requests: its requests that are sent once more with a raised `max_tokens`, because their answers ended there.
        is_warmup: whether later batches of its job wait for it, because it puts a prefix into the cache.
    """

    chunk: str
    attempt: int
    first_row: int
    last_row: int
    start_byte: int
    end_byte: int
    requests: int
    size_bytes: int
    requests_key: str
    ledger_key: str
    previous_results: StoredObject | None = None
    batch_id: str | None = None
    duplicate_id: str | None = None
    created_at: str | None = None
    recorded_at: str | None = None
    ended_at: str | None = None
    fingerprint: str | None = None
    first_sent_at: str | None = None
    intent_at: str | None = None
    inconclusive_creates: int = 0
    pauses_caused: int = 0
    refused_at: str | None = None
    accepted_between: int = 0
    named_refusals: int = 0
    reconcile_misses: int = 0
    first_missed_at: str | None = None
    listing_misses: int = 0
    missing_since: str | None = None
    missing_key: str | None = None
    incomplete_downloads: int = 0
    first_download_at: str | None = None
    not_found: int = 0
    not_found_since: str | None = None
    not_found_key: str | None = None
    pieces: list[StoredObject] | None = None
    pieces_ended: bool = False
    refetches: int = 0
    request_counts: dict[str, int] = {}
    close_reason: str | None = None
    part: ChunkOutput | None = None
    tally: OutcomeCounts | None = None
    betas: list[str] = []
    worst_micro_usd: int = 0
    is_reserved: bool = False
    cost_micro_usd: int | None = None
    start: dict[str, Any] = {}
    priority: str = NORMAL
    share: Share | None = None
    copies: int = 0
    raised_requests: int = 0
    is_warmup: bool = False

    @property
    def retry_state(self) -> dict[str, str | int | None]:
        """The attributes that recording an intent must keep, because an intent alone is no progress."""
        return {
            "tries": self.tries,
            "first_tried_at": self.first_tried_at,
            "stuck_at": self.stuck_at,
        }

    @property
    def rows(self) -> int:
        """The rows of the chunk, rejected ones included."""
        return self.last_row - self.first_row + 1

    @property
    def is_pilot(self) -> bool:
        """Whether it is of the chunk that is sent first if its job has a pilot."""
        return self.chunk.startswith(_PILOT_CHUNK)

    def must_have_ended(self, now: datetime) -> bool:
        """Return whether its Message Batch is old enough to have ended at Anthropic in any case."""
        return self._is_older(MAX_BATCH_AGE, now)

    def results_are_deleted(self, now: datetime) -> bool:
        """Return whether its Message Batch is so old that Anthropic has deleted its results."""
        return self._is_older(RESULTS_RETENTION, now)

    def _is_older(self, age: timedelta, now: datetime) -> bool:
        return self.created_at is not None and now - timestamps.parse(self.created_at) > age

    @property
    def awaits_results(self) -> bool:
        """Whether it ended at Anthropic and its results must still be downloaded."""
        given_up = self.close_reason in {CloseReason.GONE, CloseReason.STUCK}
        return self.next_step == Step.COLLECT and self.batch_id is not None and not given_up


class WorkMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A queue message: look at this item, which may wait for this step."""

    schema: int
    job: str
    item: str
    next_step: str


def results_prefix(key: str, job: str) -> str:
    """Return the prefix of the results of a job whose upload has this key."""
    cut = ids.stem_of(key).encode()[:900].decode(errors="ignore")
    return f"results/{cut}/{job}"


def status_key(status: str, since: str) -> str:
    """Return the sort key of the index, which sorts by status, then by age."""
    return f"{status}#{since}"


def status_since(key: str) -> datetime:
    """Return the time of the last status change, from the index's sort key."""
    return timestamps.parse(key.partition("#")[2])


def read(attributes: dict[str, Any]) -> Job | Batch:
    """Convert the attributes of an item to a job or a batch."""
    if attributes["item"] == JOB:
        return msgspec.convert(attributes, Job)
    return msgspec.convert(attributes, Batch)


def batch_key(batch: Batch) -> str:
    """Return the batch's name in events and logs: ``3f9ac21b04d7c1e89a02/00001-1``."""
    return f"{batch.job}/{ids.batch_name(batch.chunk, batch.attempt)}"
