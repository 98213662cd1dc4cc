"""Simulate folders with and without a share for two days, under the relay's own admission. Nothing is random.

Every folder always has more to send than fits, except the one of low priority. A Message Batch takes an hour.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from benchmarks.scale.arrivals import CHUNK, make_job
from functions.model import timestamps
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.priority import Share
from functions.model.items.work_item import status_key
from functions.polling.admission import Limits, admit

HOURS = 48
LIMITS = Limits(batches=40, requests=40 * CHUNK)
START = datetime(2026, 11, 28, tzinfo=UTC)


@dataclass
class Folder:
    """One top-level folder, and what it sent.

    Attributes:
        name: its name.
        share: the most batches that it may have at Anthropic at once; None for no share.
        priority: that of all its jobs.
        batches_an_hour: the batches of the job that it uploads each hour.
        most: the most batches that it had at Anthropic at once.
        sent: how many batches were sent.
        longest_wait_h: the longest time that the first batch of a job waited, in hours.
    """

    name: str
    share: int | None
    priority: str
    batches_an_hour: int
    most: int = 0
    sent: int = 0
    longest_wait_h: float = 0.0
    waiting: list[Batch] = field(default_factory=list)

    def upload(self, hour: int) -> None:
        """Upload a job."""
        share = None if self.share is None else Share(folder=self.name, open_batches=self.share)
        since = status_key(BatchStatus.WAITING, timestamps.text(START + timedelta(hours=hour)))
        self.waiting += [
            msgspec.structs.replace(
                batch, status_key=since, priority=self.priority, share=share
            )
            for batch in make_job(f"{self.name}/{hour}", self.batches_an_hour * CHUNK, hour)
        ]  # fmt: skip


def folders() -> list[Folder]:
    """Return the folders of the simulation."""
    return [
        Folder("imports", share=10, priority="high", batches_an_hour=40),
        Folder("reports", share=None, priority="normal", batches_an_hour=40),
        Folder("archive", share=None, priority="low", batches_an_hour=1),
    ]


def simulate() -> list[Folder]:
    """Let the folders send for `HOURS`. Batches end before the next hour's are chosen."""
    result = folders()
    for hour in range(HOURS):
        now = START + timedelta(hours=hour)
        for folder in result:
            folder.upload(hour)
        waiting = [batch for folder in result for batch in folder.waiting]
        admitted = admit(waiting, [], LIMITS, now)
        chosen = {(batch.job, batch.item) for batch in admitted}
        counts = Counter(batch.job.partition("/")[0] for batch in admitted)
        for folder in result:
            _note(folder, counts[folder.name], chosen, now)
    return result


def _note(folder: Folder, count: int, chosen: set[tuple[str, str]], now: datetime) -> None:
    folder.most, folder.sent = max(folder.most, count), folder.sent + count
    for batch in folder.waiting:
        if (batch.job, batch.item) in chosen and batch.item == "00001-1":
            waited_h = (now - batch.status_since) / timedelta(hours=1)
            folder.longest_wait_h = max(folder.longest_wait_h, waited_h)
    folder.waiting = [batch for batch in folder.waiting if (batch.job, batch.item) not in chosen]


def table() -> list[Sequence[str]]:
    """Return the table of docs/scale.md."""
    head = ("folder", "share", "priority", "uploads an hour", "most at once", "sent in two days", "a job's first batch waited at most")  # fmt: skip
    rows = [
        (
            f"`{folder.name}/`",
            "none" if folder.share is None else f"{folder.share} batches",
            folder.priority,
            f"{folder.batches_an_hour} batch{'es' * (folder.batches_an_hour > 1)}",
            str(folder.most),
            f"{folder.sent:,}",
            f"{folder.longest_wait_h:.0f} h",
        )
        for folder in simulate()
    ]
    return [head, *rows]
