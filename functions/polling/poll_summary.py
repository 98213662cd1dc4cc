"""The figures of one poll, for its log line and its metrics."""

from dataclasses import dataclass, field
from datetime import datetime

from functions.model import timestamps
from functions.model.items.batch import IN_FLIGHT_BATCH_STATUSES, BatchStatus
from functions.model.records import JobsFileWrite, LedgerCheck
from functions.model.unfinished import Unfinished


@dataclass
class PollSummary:
    """The figures of one poll.

    Attributes:
        listed_at: when the last listing began, in this poll or an earlier one.
        ledger_at: when the ledger's files were last written, likewise.
        jobs_file_write: the last write of jobs.json, likewise.
        ledger_check: the last comparison of the ledger with Anthropic's usage report, likewise.
        silent_since: when Anthropic stopped answering listings; the alarm `silent-api` measures it.
    """

    skipped: bool = False
    wanted: bool = False
    listed: bool = False
    listed_at: str | None = None
    ledger_at: str | None = None
    jobs_file_write: JobsFileWrite = field(default_factory=JobsFileWrite)
    ledger_check: LedgerCheck = field(default_factory=LedgerCheck)
    silent_since: str | None = None
    open: int = 0
    open_requests: int = 0
    waiting: int = 0
    ended: int = 0
    admitted: int = 0
    woken: int = 0
    stuck: int = 0
    passed_over: int = 0
    duplicates: int = 0
    paused: bool = False
    oldest_hours: float = 0.0

    @property
    def found_nothing(self) -> bool:
        """Return whether this poll ran and neither admitted nor woke anything."""
        return not (self.skipped or self.admitted or self.woken)

    def count(self, unfinished: Unfinished, now: datetime) -> None:
        """Count the unfinished items."""
        in_flight = unfinished.of(*IN_FLIGHT_BATCH_STATUSES)
        self.open, self.open_requests = len(in_flight), sum(b.requests for b in in_flight)
        self.waiting = len(unfinished.of(BatchStatus.WAITING))
        self.duplicates = len(unfinished.duplicates)
        self.oldest_hours = _oldest_hours(unfinished, now)

    def metric_values(self, now: datetime) -> dict[str, float]:
        """Return the values of poll's metrics, which the alarms watch. A metric without a value costs nothing."""
        optional = dict[str, float]()
        if self.silent_since is not None:
            silent_s = (now - timestamps.parse(self.silent_since)).total_seconds()
            optional["SilentMinutes"] = silent_s / 60
        if self.ledger_check.checked_at is not None:
            optional["LedgerCheckFailed"] = int(self.ledger_check.problem is not None)
        return {
            "OpenBatches": self.open, "Waiting": self.waiting, "Stuck": self.stuck + self.passed_over,
            "Duplicate": self.duplicates, "Paused": int(self.paused), "PollSucceeded": 1,
            "OldestBatchHours": self.oldest_hours, **optional,
        }  # fmt: skip


def _oldest_hours(unfinished: Unfinished, now: datetime) -> float:
    """Return the hours since the oldest batch was first sent, including one whose create never succeeds."""
    first_sent = [
        timestamps.parse(batch.first_sent_at)
        for batch in unfinished.batches
        if batch.first_sent_at
    ]
    return max(((now - sent_at).total_seconds() / 3600 for sent_at in first_sent), default=0.0)
