"""A chunk's rows in order, each with the result it has now: new, rejected, or an earlier attempt's."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import IO

import msgspec

from functions.batches.doors import Doors
from functions.batches.errors import ErrorsTooLongError
from functions.batches.files import NEAR
from functions.batches.items import KEEPING, Batch, Closing, Piece
from functions.batches.ledger import Entry
from functions.batches.outcomes import (
    closing_result,
    output_line,
    read_result,
    rejected_result,
)
from functions.batches.received import AGAIN, SUCCEEDED, Received, state_of
from functions.batches.settings import ResultsSettings
from functions.steps.fetch import fetch_again

_SENTENCED = frozenset({Closing.CANCELED, Closing.GONE, Closing.MISSING, Closing.STUCK})


class _BaseLine(msgspec.Struct):
    """A line of an earlier attempt's part."""

    row: int
    result: msgspec.Raw


_base = msgspec.json.Decoder(_BaseLine)


@dataclass
class Spans:
    """Where rows lie in the upload: as little of each as can be kept of a hundred thousand."""

    at: array[int] = field(default_factory=lambda: array("Q"))
    size: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, entry: Entry) -> None:
        """Note one more row, behind the others."""
        self.at.append(entry.at)
        self.size.append(entry.size)


@dataclass
class Merge:
    """Puts a chunk's results together, and learns what is to be known of them while they pass.

    Attributes:
        closing: how rows end that were sent and have no result.
        errors: a file for the lines of what did not succeed, and `errors_most` its longest.
        again: for each row of the chunk, whether it is worth another attempt.
        failed: the rows that did not succeed.
        counting: what came is counted already.
    """

    doors: Doors[ResultsSettings]
    batch: Batch
    received: Received
    closing: Closing
    errors: IO[bytes]
    errors_most: int
    again: bytearray = field(init=False)
    failed: Spans = field(default_factory=Spans)

    def __post_init__(self) -> None:
        self.again = bytearray(self.batch.rows)
        self.counting = self.received.counting
        keep = self.batch.attempt > 1 and self.closing in KEEPING
        sentenced = self.closing in _SENTENCED and not keep
        self._closed = closing_result(self.closing) if sentenced else None

    def lines(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """Give the chunk's lines of results, some at a time; the results are read again where the disk is short.

        Raises:
            DownloadError: read again, they were others.
            NoRoomError: one result alone is longer than the disk may hold.
        """
        before = self._before(self.batch.base)
        windows = iter(self.received.spool.windows())
        window = next(windows)
        get, states, first = self.received.spool.get, self.received.states, self.batch.first_row
        held: list[bytes] = []
        size = 0
        if not self.received.spool.whole:
            self._turn(window)
        for entry, earlier in zip(entries, before, strict=self.batch.base is not None):
            if entry.row not in window:
                window = next(windows)
                self._turn(window)
            result = get(entry.row)
            if result is None or states[entry.row - first] != SUCCEEDED:
                line = self._line(entry, earlier, result)
            else:
                line = output_line(entry.row, entry.custom_id, result)
            held.append(line)
            size += len(line)
            if size >= NEAR:
                yield b"".join(held)
                held, size = [], 0
        yield b"".join(held)

    def _turn(self, window: range) -> None:
        self.received.spool.turn(window)
        fetch_again(self.doors, self.batch, self.received)

    def _line(self, entry: Entry, earlier: bytes, new: bytes | None) -> bytes:
        """Write the line of a row that has no result, or one that is no success; note what there is to note."""
        if new is None:
            result = self._result(entry, earlier)
            outcome = read_result(result)
            self.counting.add(outcome)
            state = state_of(outcome)
        else:
            result, state = new, self.received.states[entry.row - self.batch.first_row]
        line = output_line(entry.row, entry.custom_id, result)
        if state != SUCCEEDED:
            self._note_failed(entry, line, state)
        return line

    def _result(self, entry: Entry, earlier: bytes) -> bytes:
        """Give the result of a row for which none came."""
        if entry.rejection is not None:
            return rejected_result(entry.rejection)
        if entry.sent and self._closed is not None:
            return self._closed
        return earlier

    def _note_failed(self, entry: Entry, line: bytes, state: int) -> None:
        if self.errors.tell() + len(line) > self.errors_most:
            raise ErrorsTooLongError(self.errors_most)
        self.errors.write(line)
        self.failed.add(entry)
        if entry.sent and state == AGAIN:
            self.again[entry.row - self.batch.first_row] = 1

    def _before(self, base: Piece | None) -> Iterable[bytes]:
        """Give the results of the chunk's earlier attempts, in row order; nothing where there were none."""
        if base is None:
            return repeat(b"null")
        files = self.doors.files
        return (bytes(_base.decode(line).result) for line in files.lines(files.own(base.key)))
