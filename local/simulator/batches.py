"""One batch: its rows, its state at a given time, and its results."""

import os
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

RESULTS_RETENTION_S = 29 * 86_400.0
# A canceled batch ends after a tenth of its processing time, but at most after this long.
CANCELING_S = 1.0

# The kinds of results, one byte each in `StoredAnswers.kinds`; an unknown kind counts as errored.
_KINDS = ("succeeded", "errored", "canceled", "expired")


def kind_code(kind: str) -> int:
    """Return the byte of a kind of result."""
    return _KINDS.index(kind) if kind in _KINDS else _KINDS.index("errored")


@dataclass(slots=True)
class StoredAnswers:
    """The answers to a batch's requests: on disk, with nine bytes per row in memory.

    Args:
        file: one line of results per request, in the order of the create.
        offsets: where each line starts, in bytes, and where the last one ends.
        kinds: the kind of each result, as `kind_code`.
    """

    file: Path
    offsets: array[int] = field(default_factory=lambda: array("Q", [0]))
    kinds: bytearray = field(default_factory=bytearray)

    def __len__(self) -> int:
        return len(self.kinds)

    def add(self, kind: str, size_bytes: int) -> None:
        """Record one more line."""
        self.offsets.append(self.offsets[-1] + size_bytes)
        self.kinds.append(kind_code(kind))

    def read(self, order: array[int]) -> Iterator[bytes]:
        """Yield the lines in this order."""
        with self.file.open("rb") as file:
            for row in order:
                start = self.offsets[row]
                yield os.pread(file.fileno(), self.offsets[row + 1] - start, start)


@dataclass(slots=True)
class SimulatedBatch:
    """A Message Batch.

    Args:
        number: counts all batches from 1, in order of creation.
        processing_s: the time from creation to the end, unless it is canceled or expires.
        share: the share of finished requests at its end, 0 to 1, if it was cut short.
        foreign: created and paid for by another client.
        listings: the number of list calls that will not show it.
    """

    id: str
    workspace: str
    number: int
    rows: StoredAnswers
    seed: int
    created_s: float
    processing_s: float
    expiry_s: float
    canceled_s: float | None = None
    ended_s: float | None = None
    archived_s: float | None = None
    share: float | None = None
    deleted: bool = False
    foreign: bool = False
    listings: int = 0

    def end_time_s(self) -> float:
        """Return when it ends or ended."""
        if self.ended_s is not None:
            return self.ended_s
        natural_end_s = self.created_s + min(self.processing_s, self.expiry_s)
        if self.canceled_s is None:
            return natural_end_s
        return min(natural_end_s, self.canceled_s + min(CANCELING_S, self.processing_s / 10))

    def ended(self, now_s: float) -> bool:
        """Return whether it has ended; never at the instant of its creation or cancellation."""
        return now_s > self.end_time_s()

    def archived(self, now_s: float) -> bool:
        """Return whether its results are archived."""
        return self.archived_s is not None or now_s >= self.created_s + RESULTS_RETENTION_S

    def cancel(self, now_s: float, share: float | None = None) -> None:
        """Cancel unfinished requests; without ``share``, the elapsed time decides how many finished."""
        if self.canceled_s is None:
            self.canceled_s = now_s
            elapsed_s = now_s - self.created_s
            self.share = min(1.0, elapsed_s / self.processing_s) if share is None else share

    def end(self, now_s: float) -> None:
        """End now; requests that were not canceled are finished."""
        if not self.ended(now_s):
            self.ended_s = now_s
            self.share = 1.0 if self.canceled_s is None else self.share

    def archive(self, now_s: float) -> None:
        """End and archive now."""
        self.end(now_s)
        self.archived_s = now_s

    def to_json(self, now_s: float, base_url: str) -> dict[str, object]:
        """Return the batch as the API shows it."""
        ended, archived = self.ended(now_s), self.archived(now_s)
        canceling = "in_progress" if self.canceled_s is None else "canceling"
        archive_time_s = min(self.archived_s or now_s, self.created_s + RESULTS_RETENTION_S)
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": "ended" if ended else canceling,
            "request_counts": self._counts(ended=ended),
            "created_at": _timestamp(self.created_s),
            "expires_at": _timestamp(self.created_s + self.expiry_s),
            "ended_at": _timestamp(self.end_time_s()) if ended else None,
            "archived_at": _timestamp(archive_time_s) if archived else None,
            "cancel_initiated_at": None
            if self.canceled_s is None
            else _timestamp(self.canceled_s),
            "results_url": f"{base_url}/v1/messages/batches/{self.id}/results"
            if ended and not archived
            else None,
        }

    def lines(self) -> Iterator[bytes]:
        """Yield the results of the ended batch, shuffled in the same order every time."""
        order, done = self._order(), self._done()
        yield from self.rows.read(order[:done])
        for line in self.rows.read(order[done:]):
            yield _unfinished_line(line, self._unfinished_kind())

    def billed(self, now_s: float) -> int:
        """Count the billed answers: those that had finished when it ended, even if it was canceled."""
        return self._counts(ended=self.ended(now_s))["succeeded"]

    def billed_lines(self, now_s: float) -> Iterator[bytes]:
        """Yield the lines of results of the billed answers."""
        if self.ended(now_s):
            kinds, succeeded = self.rows.kinds, kind_code("succeeded")
            billed = (row for row in self.finished_rows() if kinds[row] == succeeded)
            yield from self.rows.read(array("L", billed))

    def finished_rows(self) -> array[int]:
        """Return the numbers of the rows that had finished when it ended, in the order of its results."""
        return self._order()[: self._done()]

    def end_day(self) -> str:
        """Return the day on which it ended, in UTC."""
        return _timestamp(self.end_time_s())[:10]

    def _counts(self, *, ended: bool) -> dict[str, int]:
        if not ended:
            return {"processing": len(self.rows), **dict.fromkeys(_KINDS, 0)}
        done, kinds = self._done(), self.rows.kinds
        if done < len(kinds):
            kinds = bytearray(kinds[row] for row in self._order()[:done])
        counts = {kind: kinds.count(code) for code, kind in enumerate(_KINDS)}
        counts[self._unfinished_kind()] += len(self.rows) - done
        return {"processing": 0, **counts}

    def _order(self) -> array[int]:
        order = array("L", range(len(self.rows)))
        # The order only has to be reproducible.
        random.Random(f"{self.seed}:{self.number}").shuffle(order)  # noqa: S311 - see above
        return order

    def _done(self) -> int:
        """Count the rows that had finished when it ended: the first ones of its order."""
        share = self.share
        if share is None:
            is_late = self.processing_s > self.expiry_s
            share = self.expiry_s / self.processing_s if is_late else 1.0
        return round(share * len(self.rows))

    def _unfinished_kind(self) -> str:
        """Return the result type of unfinished rows."""
        return "expired" if self.canceled_s is None else "canceled"


def _timestamp(time_s: float) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _unfinished_line(line: bytes, kind: str) -> bytes:
    """Return the line of a request that was unfinished when its batch ended."""
    head, _, _ = line.partition(b',"result":')
    return head + b',"result":{"type":"' + kind.encode() + b'"}}\n'
