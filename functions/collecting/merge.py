"""A chunk's rows in order, each with the result it has now: new, rejected, or an earlier attempt's."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import IO, NamedTuple

import msgspec

from functions.collecting.download import download_again
from functions.collecting.result_set import AGAIN, SUCCEEDED, ResultSet, state_of
from functions.errors import ErrorLinesTooLargeError
from functions.model.api_results import read_result
from functions.model.chunk_files import LedgerEntry
from functions.model.items import (
    KEEPS_PREVIOUS_RESULT,
    Batch,
    CloseReason,
    OutcomeCounts,
    StoredObject,
)
from functions.model.output_lines import LINE_END, line_head, output_line
from functions.model.streams import CACHE_BLOCK, line_blocks
from functions.model.synthetic_results import closing_result, rejected_result
from functions.services import Services
from functions.settings import ResultsSettings

ROW_BYTES = 512
"""What a row takes at the most beside its result and its custom_id: the words around them, a rejection, its objects."""
_SENTENCED = frozenset(
    {CloseReason.CANCELED, CloseReason.GONE, CloseReason.MISSING, CloseReason.STUCK}
)


class _BaseLine(msgspec.Struct):
    """A line of an earlier attempt's part."""

    row: int
    result: msgspec.Raw


_Row = tuple[LedgerEntry, bytes]
"""A row's entry, and its result in an earlier attempt."""
_base = msgspec.json.Decoder(_BaseLine)


@dataclass
class RowOffsets:
    """Where rows lie in the upload: as little of each as can be kept of a hundred thousand."""

    offsets: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, entry: LedgerEntry) -> None:
        """Note one more row, behind the others."""
        self.offsets.append(entry.offset)
        self.sizes.append(entry.size)


class Merged(NamedTuple):
    """The result of a merge.

    Attributes:
        results: the chunk's lines of results, stored.
        retry_mask: for each row of the chunk, whether it is worth another attempt.
        failed: the rows that did not succeed.
        counts: how the chunk's rows stand.
    """

    results: StoredObject
    retry_mask: bytearray
    failed: RowOffsets
    counts: OutcomeCounts


class Merge:
    """Puts a chunk's results together: one line for each row, in order.

    Args:
        services: those of results.
        batch: the batch that was downloaded last.
        received: its results.
        closing: how rows end that were sent and have no result.
        errors: an empty file for the lines of rows that did not succeed, and `max_error_bytes` its longest.
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
        self._retry_mask, self._failed = bytearray(batch.rows), RowOffsets()
        keep = batch.attempt > 1 and closing in KEEPS_PREVIOUS_RESULT
        sentenced = closing in _SENTENCED and not keep
        self._closed = closing_result(closing) if sentenced else None

    def write(self, key: str, entries: Iterable[LedgerEntry]) -> Merged:
        """Write the chunk's lines of results and errors, once; results are read again where the disk is short.

        Args:
            key: where the lines of results go.
            entries: the chunk's ledger.

        Raises:
            DownloadError: the results that were read again differ from the first ones.
            DiskFullError: one result alone is longer than the disk may hold.
            ErrorLinesTooLargeError: the lines of errors are longer than `max_error_bytes`.
        """
        lines = map(self._written, self._together(entries))
        results = self._services.files.write(key, lines)
        counts = self._received.counting.tally()
        return Merged(results, self._retry_mask, self._failed, counts)

    def _together(self, entries: Iterable[LedgerEntry]) -> Iterator[list[_Row]]:
        """Take rows together until their results are some hundred kilobytes; those results are on disk then."""
        spool, before = self._received.spool, self._before(self._batch.previous_results)
        windows = iter(spool.windows())
        window = next(windows)
        if not spool.whole:
            self._turn(window)
        rows: list[_Row] = []
        size = 0
        for entry, earlier in zip(
            entries, before, strict=self._batch.previous_results is not None
        ):
            if rows and (size >= CACHE_BLOCK or entry.row not in window):
                yield rows
                rows, size = [], 0
            if entry.row not in window:
                window = next(windows)
                self._turn(window)
            rows.append((entry, earlier))
            size += (spool.size(entry.row) or len(earlier)) + len(entry.custom_id) + ROW_BYTES
        if rows:
            yield rows

    def _turn(self, window: range) -> None:
        self._received.spool.reset_window(window)
        download_again(self._services, self._batch, self._received)

    def _written(self, rows: Sequence[_Row]) -> bytes:
        """Write the lines of some rows; note what there is to note of them."""
        new = self._received.spool.get_all(rows[0][0].row, len(rows))
        results = [
            self._result(*row) if one is None else one for row, one in zip(rows, new, strict=True)
        ]
        self._note(rows, new, results)
        pieces = [LINE_END] * (3 * len(rows))
        pieces[::3] = [line_head(entry.row, entry.custom_id) for entry, _ in rows]
        pieces[1::3] = results
        return b"".join(pieces)

    def _note(
        self, rows: Sequence[_Row], new: Sequence[bytes | None], results: Sequence[bytes]
    ) -> None:
        """Count the rows for which no result came, and note those that did not succeed."""
        begin = rows[0][0].row - self._batch.first_row
        states = self._received.states[begin : begin + len(rows)]
        absent = [at for at, one in enumerate(new) if one is None]
        outcomes = [read_result(results[at]) for at in absent]
        self._received.counting.add(outcomes)
        for at, outcome in zip(absent, outcomes, strict=True):
            states[at] = state_of(outcome)
        for (entry, _), result, state in zip(rows, results, states, strict=True):
            if state != SUCCEEDED:
                self._note_failed(entry, result, state)

    def _result(self, entry: LedgerEntry, earlier: bytes) -> bytes:
        """Give the result of a row for which none came."""
        if entry.rejection is not None:
            return rejected_result(entry.rejection)
        if entry.sent and self._closed is not None:
            return self._closed
        return earlier

    def _note_failed(self, entry: LedgerEntry, result: bytes, state: int) -> None:
        line = output_line(entry.row, entry.custom_id, result)
        if self._errors.tell() + len(line) > self._max_error_bytes:
            raise ErrorLinesTooLargeError(self._max_error_bytes)
        self._errors.write(line)
        self._failed.add(entry)
        if entry.sent and state == AGAIN:
            self._retry_mask[entry.row - self._batch.first_row] = 1

    def _before(self, base: StoredObject | None) -> Iterable[bytes]:
        """Give the results of the chunk's earlier attempts, in row order; nothing where there were none."""
        if base is None:
            return repeat(b"null")
        files = self._services.files
        earlier = line_blocks(files.read(files.results_object(base.key)))
        return (bytes(line.result) for text in earlier for line in _base.decode_lines(text))
