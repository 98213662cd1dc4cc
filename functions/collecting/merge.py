"""Write one result line for each row of a chunk: a new result, a rejection, or an earlier result."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import IO, NamedTuple

from functions.adapters.tracing import traced
from functions.collecting.download import read_again
from functions.collecting.result_set import RETRYABLE, SUCCEEDED, ResultSet, state_of
from functions.model.api_results import read_result
from functions.model.chunk_files import LedgerEntry
from functions.model.items.batch import KEEPS_PREVIOUS_RESULT, Batch, CloseReason
from functions.model.items.counts import OutcomeCounts
from functions.model.items.stored_objects import StoredObject
from functions.model.output_lines import LINE_END, line_head, output_line, read_output_lines
from functions.model.streams import CACHE_BLOCK, line_blocks, read_blocks
from functions.model.synthetic_results import closed_result, rejected_result
from functions.services import Services
from functions.settings import ResultsSettings

ROW_BYTES = 512
"""Upper bound for the bytes of a row beside its result and `custom_id`, in memory and in the file."""
_SYNTHESIZED = frozenset(
    {
        *(CloseReason.CANCELED, CloseReason.GONE, CloseReason.MISSING),
        *(CloseReason.UNREADABLE, CloseReason.STUCK),
    }
)
"""Reasons for which a sent row without a result gets one that the relay builds."""


_LOST_RESULT = closed_result(CloseReason.LOST)
MergeRow = tuple[LedgerEntry, bytes]
"""The ledger entry of a row, and its result in an earlier attempt."""


@dataclass
class RowOffsets:
    """Byte offsets and sizes of rows in the upload, 16 bytes per row."""

    offsets: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, entry: LedgerEntry) -> None:
        """Append a row."""
        self.offsets.append(entry.offset)
        self.sizes.append(entry.size)


class MergedChunk(NamedTuple):
    """The outcome of a merge.

    Attributes:
        results: the stored result lines of the chunk.
        retry_mask: for each row of the chunk, 1 if it should be resent; see also `second_answers.RAISE_MAX_TOKENS`.
        failed: the rows that did not succeed.
        counts: the outcomes of all rows of the chunk.
    """

    results: StoredObject
    retry_mask: bytearray
    failed: RowOffsets
    counts: OutcomeCounts


class Merge:
    """Merge the results of a chunk: one line for each row, in order.

    Args:
        services: the services of results.
        batch: the batch that was downloaded last.
        received: its results.
        closing: how rows end that were sent and have no result.
        errors: an empty file for the lines of rows that did not succeed.
        max_error_bytes: the maximum size of `errors`.

    Attributes:
        errors_problem: why the chunk has no error lines, although rows did not succeed; None if it has all of them.
    """

    def __init__(
        self,
        services: Services[ResultsSettings],
        batch: Batch,
        received: ResultSet,
        closing: CloseReason,
        errors: IO[bytes],
        max_error_bytes: int,
    ) -> None:
        self._services, self._batch, self._received = services, batch, received
        self._errors, self._max_error_bytes = errors, max_error_bytes
        self.errors_problem: str | None = None
        self._retry_mask, self._failed = bytearray(batch.rows), RowOffsets()
        self._closing = closing
        keeps_earlier = batch.attempt > 1 and closing in KEEPS_PREVIOUS_RESULT
        synthesize = closing in _SYNTHESIZED and not keeps_earlier
        self._closing_result = closed_result(closing) if synthesize else None

    @traced("merge")
    def write(
        self, key: str, entries: Iterable[LedgerEntry], time_left_s: Callable[[], float]
    ) -> MergedChunk:
        """Write the result lines and error lines of the chunk. Call this once.

        If the spool does not hold every result, this reads the saved results again per window.

        Args:
            key: the key of the object for the result lines.
            entries: the ledger of the chunk.
            time_left_s: how long this invocation may still run.

        Raises:
            DownloadError: the saved results have changed, or there is no time to read them.
            DiskFullError: a single result exceeds the spool's share of the disk.
        """
        lines = map(self._result_lines, self._row_groups(entries, time_left_s))
        results = self._services.files.write(key, lines)
        counts = self._received.counter.tally()
        return MergedChunk(results, self._retry_mask, self._failed, counts)

    def _row_groups(
        self, entries: Iterable[LedgerEntry], time_left_s: Callable[[], float]
    ) -> Iterator[list[MergeRow]]:
        """Group consecutive rows up to about `CACHE_BLOCK` bytes, with their new results on disk."""
        spool, previous = self._received.spool, self._batch.previous_results
        earlier_results = self._earlier_results(previous)
        windows = iter(spool.windows())
        window = next(windows)
        if not spool.whole:
            self._load_window(window, time_left_s)
        rows: list[MergeRow] = []
        size = 0
        for entry, earlier in zip(entries, earlier_results, strict=previous is not None):
            if rows and (size >= CACHE_BLOCK or entry.row not in window):
                yield rows
                rows, size = [], 0
            if entry.row not in window:
                window = next(windows)
                self._load_window(window, time_left_s)
            rows.append((entry, earlier))
            size += (spool.size(entry.row) or len(earlier)) + len(entry.custom_id) + ROW_BYTES
        if rows:
            yield rows

    def _load_window(self, window: range, time_left_s: Callable[[], float]) -> None:
        self._received.spool.reset_window(window)
        read_again(self._services, self._batch, self._received, time_left_s)

    def _result_lines(self, rows: Sequence[MergeRow]) -> bytes:
        """Return the result lines of a group; count the rows and write their error lines."""
        new = self._new_results(rows)
        results = [
            self._fallback_result(*row) if result is None else result
            for row, result in zip(rows, new, strict=True)
        ]
        self._record(rows, new, results)
        pieces = [LINE_END] * (3 * len(rows))
        pieces[::3] = [line_head(entry.row, entry.custom_id) for entry, _ in rows]
        pieces[1::3] = results
        return b"".join(pieces)

    def _new_results(self, rows: Sequence[MergeRow]) -> list[bytes | None]:
        """Return the results of this attempt; None for each row that has none."""
        return self._received.spool.get_all(rows[0][0].row, len(rows))

    def _record(
        self, rows: Sequence[MergeRow], new: Sequence[bytes | None], results: Sequence[bytes]
    ) -> None:
        """Count the rows that no new result of their own has counted, and record those that did not succeed."""
        start = rows[0][0].row - self._batch.first_row
        states = self._received.states[start : start + len(rows)]
        uncounted = [
            index
            for index, ((entry, _), result) in enumerate(zip(rows, new, strict=True))
            if result is None or entry.copy_of or entry.cross_chunk_copy_of
        ]
        outcomes = [read_result(results[index]) for index in uncounted]
        self._received.counter.add_rows(outcomes)
        for index, outcome in zip(uncounted, outcomes, strict=True):
            states[index] = state_of(outcome)
        for (entry, _), result, state in zip(rows, results, states, strict=True):
            if state != SUCCEEDED:
                self._record_failure(entry, result, state)

    def _fallback_result(self, entry: LedgerEntry, earlier: bytes) -> bytes:
        """Return the result of a row that has no new one: a rejection, a synthetic or an earlier one."""
        if entry.rejection is not None:
            return rejected_result(entry.rejection)
        if entry.is_asked and self._closing_result is not None:
            return self._closing_result
        return earlier

    def _record_failure(self, entry: LedgerEntry, result: bytes, state: int) -> None:
        if self.errors_problem is None:
            self._write_error(output_line(entry.row, entry.custom_id, result))
        self._failed.add(entry)
        if entry.sent and state == RETRYABLE:
            self._retry_mask[entry.row - self._batch.first_row] = 1

    def _write_error(self, line: bytes) -> None:
        """Write a line of errors.jsonl, or none of the chunk's: results.jsonl has them all."""
        if self._errors.tell() + len(line) <= self._max_error_bytes:
            self._errors.write(line)
            return
        self._errors.truncate(0)
        self.errors_problem = (
            f"rows {self._batch.first_row:,} to {self._batch.last_row:,} are missing from errors.jsonl, because the "
            f"lines of those that did not succeed exceed their share of the disk, {self._max_error_bytes:,} bytes; "
            "filter results.jsonl, and raise resultsDiskMib or lower requestsPerBatch"
        )

    def write_errors(self, key: str) -> StoredObject | None:
        """Write the error lines of the chunk into an object. Return None if they exceed their share of the disk."""
        if self.errors_problem is not None:
            return None
        self._errors.seek(0)
        return self._services.files.write(key, read_blocks(self._errors))

    def _earlier_results(self, previous: StoredObject | None) -> Iterable[bytes]:
        """Stream the results of earlier attempts in row order. Without them, a row that was not sent now is lost."""
        if previous is None:
            return repeat(_LOST_RESULT)
        files = self._services.files
        blocks = line_blocks(files.read(files.results_object(previous.key)))
        return (bytes(line.result) for block in blocks for line in read_output_lines(block))
