"""The item of a batch: one Message Batch, which is one chunk in one attempt."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from functions.model import ids, timestamps
from functions.model.create_response import MAX_BATCH_AGE, RESULTS_RETENTION
from functions.model.items.counts import OutcomeCounts
from functions.model.items.priority import NORMAL, Share
from functions.model.items.stored_objects import ChunkOutput, StoredObject
from functions.model.items.work_item import Step, WorkItem

_PILOT_CHUNK = "00001"


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


IN_FLIGHT_BATCH_STATUSES = frozenset(
    {BatchStatus.SENDING, BatchStatus.UNCONFIRMED, BatchStatus.IN_PROGRESS}
)
"""Statuses of batches that are, or may be, at Anthropic."""
FINISHED_BATCH_STATUSES = frozenset({BatchStatus.COLLECTED, BatchStatus.SPLIT, BatchStatus.STUCK})
"""Statuses of batches that are no longer in the index of unfinished items."""


class CloseReason(StrEnum):
    """Why rows of a batch end without a result from the API."""

    CANCELED = "canceled"
    GONE = "results_gone"
    MISSING = "result_missing"
    UNREADABLE = "result_unreadable"
    STUCK = "relay_stuck"
    LOST = "result_lost"
    KEPT = "kept"


KEEPS_PREVIOUS_RESULT = frozenset({CloseReason.CANCELED, CloseReason.STUCK, CloseReason.KEPT})
"""Close reasons for rows that were not sent again: a row of a later attempt keeps its previous result."""


class Batch(WorkItem, frozen=True, kw_only=True, omit_defaults=True):
    """One Message Batch: one chunk, one attempt.

    Attributes:
        requests_key: the key of its request body.
        ledger_key: the key of its ledger.
        previous_results: the chunk's results from earlier attempts.
        duplicate_id: the last other Message Batch with the same rows, which is canceled as a duplicate.
        duplicates: the number of such Message Batches.
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
        refetches: how many times its results were fetched again because their part was deleted.
        request_counts: its requests by state as the API listed them when it ended, without zeros.
        close_reason: why its rows end without a result from the API.
        betas: values of the header `anthropic-beta`.
        worst_micro_usd: the known part of what it may cost, in millionths of a US dollar.
        is_reserved: whether this is reserved in the budgets, because it was admitted.
        cost_micro_usd: the known part of its cost, as counted when it was collected.
        start: the reader's position before its first row; empty in batches that an earlier version planned.
        priority: that of its job.
        share: that of its job. Poll admits batches without reading their jobs.
        copies: the rows that share the request of an earlier row of the chunk.
        cross_chunk_copies: the rows that share the request of a row in an earlier chunk and still lack its result.
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
    duplicates: int = 0
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
    cross_chunk_copies: int = 0
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

    @property
    def is_copying(self) -> bool:
        """Whether it only copies results of earlier chunks: an attempt after the first that sends nothing."""
        return self.attempt > 1 and not self.requests

    def must_have_ended(self, now: datetime) -> bool:
        """Return whether its Message Batch is so old that it must have ended at Anthropic."""
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


def batch_key(batch: Batch) -> str:
    """Return the batch's name in events and logs: ``3f9ac21b04d7c1e89a02/00001-1``."""
    return f"{batch.job}/{ids.batch_name(batch.chunk, batch.attempt)}"
