"""All unfinished items, sorted by kind, as one poll sees them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.errors import NewerSchemaError
from functions.model import timestamps
from functions.model.cost_ledger import LEDGER, CostEntry
from functions.model.events import Event
from functions.model.items import read
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.job import Job, JobStatus
from functions.model.items.work_item import Step
from functions.model.records import CANCEL, EVENT, GO, OWNER, MarkerRequest, Owner, read_event

logger = Logger(child=True)
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)
_UNREADABLE = (
    *(NewerSchemaError, msgspec.MsgspecError),
    *(KeyError, ValueError, TypeError, AttributeError),
)


@dataclass
class Unfinished:
    """All unfinished items, as the index returns them (eventually consistent).

    Attributes:
        not_admitted: job → why batches of it that could be sent were not admitted (``day_budget``, ``month_budget``,
            ``warm_up``, ``share`` or ``room``) → when the oldest of them began to wait.
        budgets_until: ``day_budget`` or ``month_budget`` → when this day or month ends.
        unreadable: items that cannot be parsed, or that a newer version wrote, and that were passed over.
        whole: whether all items were read; if not, waiting batches are missing.
    """

    jobs: list[Job] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    requests: list[MarkerRequest] = field(default_factory=list)
    duplicates: list[Owner] = field(default_factory=list)
    cost_entries: list[CostEntry] = field(default_factory=list)
    not_admitted: dict[str, dict[str, str]] = field(default_factory=dict)
    budgets_until: dict[str, str] = field(default_factory=dict)
    unreadable: int = 0
    whole: bool = True

    @property
    def canceled(self) -> set[str]:
        """The ids of the jobs that are being canceled."""
        return {job.job for job in self.jobs if job.canceled_at is not None}

    def pass_over(self, batches: Iterable[Batch], reason: str) -> None:
        """Record why batches that could be sent are not admitted."""
        for batch in batches:
            since = self.not_admitted.setdefault(batch.job, {})
            waits_since = timestamps.text(batch.status_since)
            since[reason] = min(since.get(reason, waits_since), waits_since)

    def of(self, *statuses: BatchStatus) -> list[Batch]:
        """Return the batches with these statuses, oldest first."""
        return [batch for batch in self.batches if batch.status in statuses]

    @property
    def not_found(self) -> list[Batch]:
        """The ended batches whose results were not found. They are gone only if unlisted too."""
        return [batch for batch in self.of(BatchStatus.ENDED) if batch.not_found]

    @property
    def jobs_ready_to_copy(self) -> set[str]:
        """The ids of the jobs whose unfinished batches only copy results of other chunks.

        Only running jobs count: planning, or a request that reopens batches, may add batches to any other.
        """
        running = {job.job for job in self.jobs if job.status == JobStatus.RUNNING}
        others = {batch.job for batch in self.batches if not batch.is_copying}
        copying = {batch.job for batch in self.batches if batch.is_copying}
        return copying & running - others if self.whole else set()

    def add(self, item: dict[str, Any]) -> None:
        """Add an item to the list of its kind. Log and count an item that cannot be parsed, or is of a newer version."""
        try:
            self._add(item)
        except _UNREADABLE as error:
            self.unreadable += 1
            facts = {name: str(item.get(name)) for name in ("job", "item", "schema")}
            logger.error("unreadable item", extra={**facts, "problem": type(error).__name__})  # noqa: TRY400 - a traceback could quote its content

    def _add(self, item: dict[str, Any]) -> None:
        if item["item"].startswith(EVENT):
            self.events.append(read_event(item))
        elif item["item"] == OWNER:
            duplicate = msgspec.convert(item, Owner)
            _check_times(_status_time(duplicate.status_key or ""))
            self.duplicates.append(duplicate)
        elif item["job"] in {CANCEL, GO}:
            self.requests.append(msgspec.convert(item, MarkerRequest))
        elif item["job"].startswith(LEDGER):
            self.cost_entries.append(msgspec.convert(item, CostEntry))
        else:
            self._add_work(read(item))

    def _add_work(self, item: Job | Batch) -> None:
        since = _status_time(item.status_key)
        if isinstance(item, Job):
            _check_step(JobStatus(item.status), item.next_step)
            _check_times(since, item.uploaded_at)
            self.jobs.append(item)
        else:
            _check_step(BatchStatus(item.status), item.next_step)
            _check_times(
                *(since, item.created_at, item.intent_at),
                *(item.first_sent_at, item.first_tried_at, item.first_missed_at),
            )
            self.batches.append(item)


def _check_step(status: JobStatus | BatchStatus, step: str | None) -> None:
    """Reject a step here that would otherwise fail later, when poll handles all items together.

    Raises:
        ValueError: the step is invalid, or missing.
    """
    if step is not None or status == BatchStatus.WAITING:
        Step(step or "")


def _check_times(*times: str | None) -> None:
    """Reject times here that would otherwise fail later, when poll compares those of all items.

    Raises:
        ValueError: a time is invalid, or so far away that arithmetic with it fails.
        TypeError: a time has no time zone.
    """
    for time in times:
        if time is not None and not _EARLIEST < timestamps.parse(time) < _LATEST:
            message = "time out of range"
            raise ValueError(message)


def _status_time(key: str) -> str:
    """Return the time in an item's `status_key`, unparsed."""
    return key.partition("#")[2]
