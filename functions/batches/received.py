"""What has come of a batch's results: which rows still lack theirs, how each ended, and the tally so far."""

import re
from collections.abc import Sequence

import msgspec

from functions.batches.items import Batch
from functions.batches.outcomes import Counting, Outcome, read_line, read_lines, read_result
from functions.batches.spool import Spool
from functions.batches.wire import WireId, batch_name

NOT_SENT, LACKING, SUCCEEDED, FAILED, AGAIN = range(5)
"""What is known of a row: not sent in this attempt; sent; ended well; not; not, and worth another attempt."""


class Received:
    """The results of one batch, as they come.

    Args:
        batch: whose results.
        sent: for each row of the chunk, whether it was sent in this attempt.
        spool: where to keep them.

    Attributes:
        states: what is known of each row of the chunk.
        sent: how many rows were.
        lacking: how many of those have no result yet.
        counting: the tally of what came.
    """

    def __init__(self, batch: Batch, sent: Sequence[bool], spool: Spool) -> None:
        self._batch, self._first, self.spool = batch, batch.first_row, spool
        self.states = bytearray(sent)  # a truth is LACKING, which is 1
        self.sent = self.lacking = self.states.count(LACKING)
        self.counting = Counting()
        stem = f"{batch.job}-{batch_name(batch.chunk, batch.attempt)}-"
        self._own = re.compile(re.escape(stem) + "([0-9]{9,18})").fullmatch

    def take(self, text: bytes) -> int:
        """Keep the results of whole lines; gives how many lines are broken, doubled, or of another batch."""
        try:
            ids, results, outcomes = read_lines(text)
            rows = [int(found[1]) for found in map(self._own, ids) if found is not None]
        except msgspec.DecodeError:
            rows, results, outcomes = [], [], []
        if not rows or not self._wanted(rows, len(results)):
            return sum(self._take_one(line) for line in text.split(b"\n"))
        self._keep(rows, results, outcomes)
        return 0

    def _wanted(self, rows: Sequence[int], count: int) -> bool:
        """Whether these are so many rows, each of them lacking."""
        first, states = self._first, self.states
        if not count == len(rows) == len({*rows}):
            return False
        if min(rows) < first or max(rows) >= first + len(states):
            return False
        return all(states[row - first] == LACKING for row in rows)

    def _take_one(self, line: bytes) -> bool:
        """Keep one line's result; True for a line that is broken, doubled, or of another batch."""
        try:
            parsed = read_line(line)
            outcome = read_result(parsed.result)
        except msgspec.DecodeError:
            return True
        whose = WireId.parse(parsed.custom_id)
        if whose is None or (whose.job, whose.batch) != (self._batch.job, self._batch.item):
            return True
        if not self._wanted([whose.row], 1):
            return True
        self._keep([whose.row], [bytes(parsed.result)], [outcome])
        return False

    def _keep(
        self, rows: Sequence[int], results: Sequence[bytes], outcomes: Sequence[Outcome]
    ) -> None:
        self.spool.put_all(rows, results)
        first, states, add = self._first, self.states, self.counting.add
        for row, outcome in zip(rows, outcomes, strict=True):
            add(outcome)
            states[row - first] = state_of(outcome)
        self.lacking -= len(rows)

    def take_again(self, text: bytes) -> None:
        """Keep what the spool had no room for; everything else has been seen, and is passed over."""
        for line in text.split(b"\n"):
            try:
                parsed = read_line(line)
            except msgspec.DecodeError:
                continue
            found = self._own(parsed.custom_id)
            if found is not None:
                self.spool.put_again(int(found[1]), bytes(parsed.result))


def state_of(outcome: Outcome) -> int:
    """Say what a result means for its row."""
    if outcome.type == "succeeded":
        return SUCCEEDED
    return AGAIN if outcome.retriable else FAILED
