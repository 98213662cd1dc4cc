"""What the table holds: jobs and their batches. The table is the truth; everything else is a hint.

Partition key `job`, sort key `item`: the job itself is ``#``, its batches are ``00001-1`` (chunk, attempt).
What is unfinished also has `open` and `status_key` (``STATUS#time``), the keys of the sparse index `unfinished`.
An item that waits for a stage names the step in `next_step`; `owner` and `lease` say who works on it and how long.
Unknown attributes are passed over, so an older function can read what a newer one wrote.
"""

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from functions.model import ids, timestamps
from functions.model.create_response import ENDS_WITHIN, RESULTS_RETENTION

SCHEMA = 1
JOB = "#"
OPEN = "open"
UNFINISHED = "unfinished"
"""The name of the sparse index, which infra gives the table."""
TRIES = 5
"""Takes of one item without progress, after which `batch.stuck` says so and an unpaid item may be given up."""


class Step(StrEnum):
    """What an item waits for."""

    PLAN = "plan"
    SEND = "send"
    COLLECT = "collect"
    ASSEMBLE = "assemble"
    TIDY = "tidy"


class JobStatus(StrEnum):
    """Where a job stands."""

    PLANNING = "PLANNING"
    RUNNING = "RUNNING"
    ASSEMBLING = "ASSEMBLING"
    DONE = "DONE"


class BatchStatus(StrEnum):
    """Where a batch stands."""

    WAITING = "WAITING"
    SENDING = "SENDING"
    UNCONFIRMED = "UNCONFIRMED"
    IN_PROGRESS = "IN_PROGRESS"
    ENDED = "ENDED"
    COLLECTED = "COLLECTED"
    SPLIT = "SPLIT"
    STUCK = "STUCK"


FINISHED = frozenset({BatchStatus.COLLECTED, BatchStatus.SPLIT, BatchStatus.STUCK})
"""A batch that is one of these leaves the index of what is unfinished."""


class CloseReason(StrEnum):
    """How the rows of a batch end for which the API has no result."""

    CANCELED = "canceled"
    GONE = "results_gone"
    MISSING = "result_missing"
    STUCK = "relay_stuck"
    KEPT = "kept"


KEEPS_PREVIOUS_RESULT = frozenset({CloseReason.CANCELED, CloseReason.STUCK, CloseReason.KEPT})
"""A row that closes so in a later attempt was not sent again: it keeps the result that it has."""


NO_VERSION = "null"
"""The version of an object in a bucket without versions, as S3 and jobs name it."""


class ObjectVersion(msgspec.Struct, frozen=True):
    """One object, and the version where it is the user's: what changes later is another upload."""

    bucket: str
    key: str
    version: str | None = None

    @property
    def uri(self) -> str:
        """Its name, as people and tools write it."""
        return f"s3://{self.bucket}/{self.key}"


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """One object that is joined with others: where it lies, how long it is, and its CRC-32."""

    key: str
    size: int
    crc32: int


class ChunkOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a collected chunk leaves: its rows in order and, after its last attempt, what did not succeed.

    `retry_problem` says why rows that did not succeed are not in `retry`; `problem` names what else the rows lack.
    """

    results: StoredObject
    errors: StoredObject | None = None
    retry: StoredObject | None = None
    retry_problem: str | None = None
    problem: str | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens of one model, in the API's own words."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    long_input_tokens: int = 0
    long_output_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0
    long_cache_creation_input_tokens: int = 0
    long_cache_creation_1h_input_tokens: int = 0
    long_cache_read_input_tokens: int = 0


class OutcomeCounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the rows of a chunk stand: by outcome, by error type, by stop reason; tokens by model."""

    outcomes: dict[str, int] = {}
    errors: dict[str, int] = {}
    stops: dict[str, int] = {}
    usage: dict[str, Usage] = {}


class WorkItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What jobs and batches share: the keys, the status, who works on it until when, what went wrong the last time.

    `tries` counts takes since the last progress, the first of them at `first_tried_at`. `at_fault` says that the last
    `last_error` may lie in the item itself and not in its environment. `stuck_at` is when `batch.stuck` was announced.
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
    at_fault: bool = False
    stuck_at: str | None = None
    not_before: str | None = None
    expires: int | None = None

    @property
    def status_since(self) -> datetime:
        """When it got its status."""
        return status_since(self.status_key)

    def is_leased(self, now: datetime) -> bool:
        """Return whether a stage may be at work on it."""
        return self.lease is not None and self.lease >= timestamps.text(now)

    def is_idle(self, now: datetime) -> bool:
        """Return whether nobody works on it, and it need not wait any longer."""
        rests = self.not_before is not None and self.not_before > timestamps.text(now)
        return not self.is_leased(now) and not rests


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far an upload is cut into chunks. All of it is stored, defaults too: a write can demand that it is unchanged.

    Attributes:
        position: where the reader resumes: its own members, and `byte`, the offset in the upload.
        row: rows that are cut so far.
        chunk: chunks that are cut so far.
    """

    position: dict[str, Any] = {}
    row: int = 0
    chunk: int = 0


class Job(WorkItem, frozen=True, kw_only=True, omit_defaults=True):
    """The work that one upload asks for, with what cuts and sends it as it was when it was claimed."""

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
    parser: str
    prices: str
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

    @property
    def source(self) -> ObjectVersion:
        """The version of the upload that is planned."""
        version = None if self.version == NO_VERSION else self.version
        return ObjectVersion(self.bucket, self.key, version)

    @property
    def label(self) -> str:
        """What people see: ``march-3f9ac21b``."""
        stem = self.key.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        printable = re.sub(r"[^A-Za-z0-9._-]+", "_", stem)[:40].strip("_") or "upload"
        return f"{printable}-{self.job[:8]}"

    @property
    def results_prefix(self) -> str:
        """Where its results lie: ``results/<path>/<name>/<job>``; a key too long for that is cut."""
        path = self.key.rsplit(".", 1)[0] if "." in self.key.rsplit("/", 1)[-1] else self.key
        cut = path.encode()[:900].decode(errors="ignore")
        return f"results/{cut}/{self.job}"

    @property
    def sendable_rows(self) -> int:
        """Rows that can be sent, of those planned so far."""
        return self.checkpoint.row - self.rows_rejected


class Batch(WorkItem, frozen=True, kw_only=True, omit_defaults=True):
    """One Message Batch: one chunk, one attempt. Its files are pinned by name.

    `first_sent_at` is when it was first tried to send it, `intent_at` when it was last. `inconclusive_creates` counts creates that gave no
    batch and no reason; `named` those that were refused for a request that the API named, which is no longer in it.
    `pauses_caused` counts those that were refused and named none, `judged` how often others were accepted between two of these:
    since `refused_at`, when the first was sent that is not judged yet. `listing_misses` counts complete listings without it since `missing_since`, `not_found` the
    404 answers for its results since `not_found_since`. `pieces` are the first bytes of its results, saved one run after the
    other because they do not arrive within a single one; None for a batch whose results do.
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
    created_at: str | None = None
    recorded_at: str | None = None
    ended_at: str | None = None
    fingerprint: str | None = None
    first_sent_at: str | None = None
    intent_at: str | None = None
    inconclusive_creates: int = 0
    pauses_caused: int = 0
    refused_at: str | None = None
    judged: int = 0
    named: int = 0
    reconcile_misses: int = 0
    first_missed_at: str | None = None
    listing_misses: int = 0
    missing_since: str | None = None
    downloads: int = 0
    first_download_at: str | None = None
    not_found: int = 0
    not_found_since: str | None = None
    pieces: list[StoredObject] | None = None
    close_reason: str | None = None
    part: ChunkOutput | None = None
    tally: OutcomeCounts | None = None

    @property
    def tries_so_far(self) -> dict[str, str | int | None]:
        """What an item keeps through the intent to send it: an intent alone is no progress."""
        return {
            "tries": self.tries,
            "first_tried_at": self.first_tried_at,
            "stuck_at": self.stuck_at,
        }

    @property
    def rows(self) -> int:
        """Rows of the chunk, rejected ones included."""
        return self.last_row - self.first_row + 1

    def must_have_ended(self, now: datetime) -> bool:
        """Return whether its Message Batch is so old that it has ended at Anthropic, whatever happened."""
        return self._is_older(ENDS_WITHIN, now)

    def results_are_deleted(self, now: datetime) -> bool:
        """Return whether its Message Batch is so old that Anthropic has deleted its results."""
        return self._is_older(RESULTS_RETENTION, now)

    def _is_older(self, age: timedelta, now: datetime) -> bool:
        return self.created_at is not None and now - timestamps.parse(self.created_at) > age

    @property
    def awaits_results(self) -> bool:
        """Whether it ended at Anthropic, and its answers are still to be downloaded."""
        given_up = self.close_reason in {CloseReason.GONE, CloseReason.STUCK}
        return self.next_step == Step.COLLECT and self.batch_id is not None and not given_up


class WorkMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A queue message: look at this item, it may wait for that step."""

    schema: int
    job: str
    item: str
    next_step: str


def status_key(status: str, at: str) -> str:
    """Write the sort key of the index: by status, then by age."""
    return f"{status}#{at}"


def status_since(key: str) -> datetime:
    """Read from the sort key of the index since when the item has its status."""
    return timestamps.parse(key.partition("#")[2])


def read(attributes: dict[str, Any]) -> Job | Batch:
    """Read an item of a job: the job itself, or one of its batches."""
    if attributes["item"] == JOB:
        return msgspec.convert(attributes, Job)
    return msgspec.convert(attributes, Batch)


def batch_key(batch: Batch) -> str:
    """Name a batch where people and events meet it: ``3f9ac21b04d7c1e89a02/00001-1``."""
    return f"{batch.job}/{ids.batch_name(batch.chunk, batch.attempt)}"
