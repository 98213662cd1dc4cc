"""What has come of a batch's results: which rows still lack theirs, how each ended, and the tally so far."""

from collections.abc import Sequence

import msgspec

from functions.collecting.spool import Spool
from functions.model.api_results import (
    Outcome,
    Results,
    parse_uniform_lines,
    read_line,
    read_result,
    results_can_be_reparsed,
)
from functions.model.ids import RequestId, custom_id_template
from functions.model.items import Batch
from functions.model.outcome_counts import OutcomeCounter

NOT_SENT, MISSING, SUCCEEDED, FAILED, AGAIN = range(5)
"""What is known of a row: not sent in this attempt; sent; ended well; not; not, and worth another attempt."""


class ResultSet:
    """The results of one batch, as they come.

    Args:
        batch: whose results.
        sent: for each row of the chunk, whether it was sent in this attempt.
        spool: where to keep them.
        prices: the job's price list.

    Attributes:
        states: what is known of each row of the chunk.
        sent: how many rows were.
        missing: how many of those have no result yet.
        counting: the tally of what came.
        size: how many bytes came.
    """

    def __init__(
        self, batch: Batch, sent: Sequence[bool], spool: Spool, prices: str | None = None
    ) -> None:
        self._batch, self._first, self.spool = batch, batch.first_row, spool
        self.states = bytearray(sent)  # True is MISSING, which is 1
        self.sent = self.missing = self.states.count(MISSING)
        self.counting = OutcomeCounter(prices)
        self.size = 0
        self._wire_ids = custom_id_template(batch.job, batch.chunk, batch.attempt)

    def add(self, text: bytes) -> int:
        """Keep the results of whole lines; gives how many lines are broken, doubled, or of another batch."""
        self.size += len(text) + 1
        results = parse_uniform_lines(text, self._wire_ids)
        if results is None or not self._wanted(results.rows):
            return sum(self._add_one(line) for line in text.split(b"\n"))
        self._keep(results)
        return 0

    def _wanted(self, rows: Sequence[int]) -> bool:
        """Whether each of these rows is lacking."""
        first, states = self._first, self.states
        if len(rows) != len({*rows}) or min(rows) < first or max(rows) >= first + len(states):
            return False
        return {states[row - first] for row in rows} == {MISSING}

    def _add_one(self, line: bytes) -> bool:
        """Keep one line's result; True for a line that is broken, too deep, doubled, or of another batch."""
        try:
            parsed = read_line(line)
            outcome = read_result(parsed.result)
        except msgspec.DecodeError:
            return True
        row = self._own_row(parsed.custom_id)
        result = bytes(parsed.result)
        if row is None or not self._wanted([row]) or not results_can_be_reparsed([result]):
            return True
        self._keep(Results([row], result, [len(result)], [outcome]))
        return False

    def _own_row(self, custom_id: str) -> int | None:
        """Say which row of this batch it is; None for another's."""
        named = RequestId.parse(custom_id)
        if named is None or (named.job, named.batch) != (self._batch.job, self._batch.item):
            return None
        return named.row

    def _keep(self, results: Results) -> None:
        self.spool.put_all(results.rows, results.text, results.sizes)
        self.counting.add(results.outcomes)
        first, states = self._first, self.states
        for row, outcome in zip(results.rows, results.outcomes, strict=True):
            states[row - first] = state_of(outcome)
        self.missing -= len(results.rows)

    def add_missing(self, text: bytes) -> None:
        """Keep what the spool had no room for; everything else has been seen, and is passed over."""
        for line in text.split(b"\n"):
            try:
                parsed = read_line(line)
            except msgspec.DecodeError:
                continue
            row = self._own_row(parsed.custom_id)
            if row is not None:
                self.spool.put_missing(row, bytes(parsed.result))


def state_of(outcome: Outcome) -> int:
    """Say what a result means for its row."""
    if outcome.type == "succeeded":
        return SUCCEEDED
    return AGAIN if outcome.retriable else FAILED
