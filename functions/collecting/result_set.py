"""Collect the results of one batch: which rows have one, how each ended, and the counts so far."""

from collections.abc import Iterable, Sequence

import msgspec

from functions.collecting.spool import Spool
from functions.model.api_results import (
    Outcome,
    ParsedResults,
    parse_uniform_lines,
    read_line,
    read_result,
)
from functions.model.ids import RequestId, custom_id_template
from functions.model.items.batch import Batch
from functions.model.outcome_counter import OutcomeCounter

NOT_SENT, MISSING, SUCCEEDED, FAILED, RETRYABLE = range(5)
"""The state of a row in this attempt. MISSING: sent, no result yet. RETRYABLE: failed, may be resent."""

MAX_UNREADABLE_BYTES = 16_000_000
"""The most bytes of unreadable lines that are kept."""


class ResultSet:
    """The results of one batch, added as they arrive.

    Args:
        batch: the batch.
        sent: for each row of the chunk, True if it was sent in this attempt.
        spool: stores the results.
        prices: the version of the job's price list.

    Attributes:
        states: the state of each row of the chunk.
        sent: the number of rows that were sent.
        missing: the number of sent rows without a result.
        counter: counts the outcomes; only what they used if their rows may keep an earlier answer.
        lines: the number of lines added, repeated ones and those of other batches included. A malformed one is counted
            once another line follows, because it may be the beginning of a line that was cut off.
        unreadable: the lines that are malformed or name no row of the batch, up to `MAX_UNREADABLE_BYTES`.
    """

    def __init__(
        self, batch: Batch, sent: Sequence[bool], spool: Spool, prices: str | None = None
    ) -> None:
        self._batch, self._first, self.spool = batch, batch.first_row, spool
        self.states = bytearray(sent)  # True is MISSING, which is 1
        self.sent = self.missing = self.states.count(MISSING)
        self.counter = OutcomeCounter(prices)
        self.lines = self._malformed = self._unreadable_bytes = 0
        self.unreadable = list[bytes]()
        self._copies: dict[int, list[int]] = {}
        self._id_template = custom_id_template(batch.job, batch.chunk, batch.attempt)

    def add(self, text: bytes) -> int:
        """Add complete lines. Return how many are malformed, repeated or from another batch."""
        results = parse_uniform_lines(text, self._id_template)
        if results is None or not self._are_missing(results.rows):
            return sum(self._add_one(line) for line in text.split(b"\n"))
        self._store(results)
        self._count_lines(len(results.rows))
        return 0

    def _count_lines(self, lines: int) -> None:
        self.lines += lines + self._malformed
        self._malformed = 0

    def _keep(self, line: bytes) -> None:
        """Keep a line that is malformed or names no row of the batch."""
        self._unreadable_bytes += len(line)
        if self._unreadable_bytes <= MAX_UNREADABLE_BYTES:
            self.unreadable.append(line)

    @property
    def is_conclusive(self) -> bool:
        """Whether rows without a result really lack one that can be read.

        There is a line for every request, one of them was read, so the format is known, and all unreadable ones are kept.
        """
        kept_all = self._unreadable_bytes <= MAX_UNREADABLE_BYTES
        return kept_all and self.lines >= self.sent > self.missing

    def _are_missing(self, rows: Sequence[int]) -> bool:
        """Return True if each of these rows occurs once and has no result yet."""
        first, states = self._first, self.states
        if len(rows) != len({*rows}) or min(rows) < first or max(rows) >= first + len(states):
            return False
        return {states[row - first] for row in rows} == {MISSING}

    def _add_one(self, line: bytes) -> bool:
        """Add one line. Return True if it is malformed, repeated or from another batch."""
        try:
            parsed = read_line(line)
            outcome = read_result(parsed.result)
        except msgspec.DecodeError:
            self._malformed += bool(line)
            self._keep(line)
            return True
        self._count_lines(1)
        row = self._own_row(parsed.custom_id)
        if row is None:
            self._keep(line)
        result = bytes(parsed.result)
        if row is None or not self._are_missing([row]):
            return True
        self._store(ParsedResults([row], result, [len(result)], [outcome]))
        return False

    def _own_row(self, custom_id: str) -> int | None:
        """Return the row that a `custom_id` of this batch names; None for any other."""
        request_id = RequestId.parse(custom_id)
        if request_id is None or (request_id.job, request_id.batch) != (
            self._batch.job,
            self._batch.item,
        ):
            return None
        return request_id.row

    def _store(self, results: ParsedResults) -> None:
        self.spool.put_all(results.rows, results.text, results.sizes)
        if self._batch.raised_requests:
            self.counter.add_usage(results.outcomes)  # merge counts the rows
        else:
            self.counter.add(results.outcomes)
        first, states = self._first, self.states
        for row, outcome in zip(results.rows, results.outcomes, strict=True):
            states[row - first] = state_of(outcome)
        self.missing -= len(results.rows)

    def add_missing(self, text: bytes) -> None:
        """Store the results that the spool had no room for; skip all others."""
        for line in text.split(b"\n"):
            try:
                parsed = read_line(line)
            except msgspec.DecodeError:
                continue
            row = self._own_row(parsed.custom_id)
            if row is not None:
                for of_row in (row, *self._copies.get(row, ())):
                    self.spool.put_missing(of_row, bytes(parsed.result))

    def copy(self, result: bytes, rows: Sequence[int]) -> bool:
        """Store one result of another chunk for rows, which are counted when they are merged. Return False if the disk is full."""
        first, *others = rows
        if not self.spool.has_room(len(result)):
            return False
        self.spool.put_all([first], result, [len(result)])
        self.states[first - self._first] = state_of(read_result(result))
        self.share((row, first) for row in others)
        return True

    def share(self, copies: Iterable[tuple[int, int]]) -> None:
        """Store for rows the results of others, once all have arrived. They are counted when they are merged.

        Args:
            copies: rows of the chunk, each with the row whose result it shares.
        """
        for row, of_row in copies:
            self.spool.share(row, of_row)
            self.states[row - self._first] = self.states[of_row - self._first]
            self._copies.setdefault(of_row, []).append(row)


def state_of(outcome: Outcome) -> int:
    """Return the state of a row with this outcome."""
    if outcome.type == "succeeded":
        return SUCCEEDED
    return RETRYABLE if outcome.retryable else FAILED
