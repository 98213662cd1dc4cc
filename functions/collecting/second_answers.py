"""Send rows once more whose answers ended at `max_tokens`, and keep the better answer. The first one is paid for, too.

A row of a later attempt that has an answer already was sent once more with a larger `max_tokens`. Its first answer is kept unless
the second request succeeded as well.
"""

from collections.abc import Sequence

from functions.collecting.merge import Merge, MergeRow
from functions.model.api_results import read_result
from functions.model.chunk_files import LedgerEntry
from functions.model.items.batch import Batch, CloseReason
from functions.model.items.job import Job
from functions.model.raised_max_tokens import with_raised_max_tokens

RAISE_MAX_TOKENS = 2
"""In a retry mask: the row should be sent once more with a larger `max_tokens`."""
_MAY_BE_BILLED = frozenset(
    {CloseReason.GONE, CloseReason.MISSING, CloseReason.UNREADABLE, CloseReason.STUCK}
)
"""Reasons for which a request without a result may have been answered."""


def is_answer(result: bytes) -> bool:
    """Return whether a result is an answer, which is paid for."""
    return read_result(result).type == "succeeded"


def ended_at_max_tokens(result: bytes) -> bool:
    """Return whether an answer ended because `max_tokens` were used up, perhaps by thinking alone."""
    message = read_result(result).message
    return message is not None and message.stop_reason == "max_tokens"


class MergeSecondAnswers(Merge):
    """Merge the results of a job whose truncated rows are sent once more."""

    def _new_results(self, rows: Sequence[MergeRow]) -> list[bytes | None]:
        new = super()._new_results(rows)
        if not self._batch.raised_requests:
            return new
        return [
            None if result is not None and is_answer(earlier) and not is_answer(result) else result
            for (_, earlier), result in zip(rows, new, strict=True)
        ]

    def _fallback_result(self, entry: LedgerEntry, earlier: bytes) -> bytes:
        if entry.is_asked and is_answer(earlier):
            return earlier
        return super()._fallback_result(entry, earlier)

    def _record(
        self, rows: Sequence[MergeRow], new: Sequence[bytes | None], results: Sequence[bytes]
    ) -> None:
        # No row of such an attempt was counted when its result arrived.
        if self._batch.raised_requests:
            self._count_lost(rows)
            new = [None] * len(rows)
        super()._record(rows, new, results)
        for (entry, earlier), result in zip(rows, results, strict=True):
            if entry.sent and ended_at_max_tokens(result) and not is_answer(earlier):
                self._retry_mask[entry.row - self._batch.first_row] = RAISE_MAX_TOKENS

    def _count_lost(self, rows: Sequence[MergeRow]) -> None:
        """Count the rows that keep their first answer because the second one was never received."""
        if self._closing not in _MAY_BE_BILLED or self._batch.batch_id is None:
            return
        for entry, earlier in rows:
            arrived = self._received.spool.size(entry.row)
            if entry.sent and not arrived and is_answer(earlier):
                self._received.counter.add_lost()


def merge_type(job: Job) -> type[Merge]:
    """Return the merge that a job needs."""
    return Merge if job.retry_truncated is None else MergeSecondAnswers


class NextParams:
    """The params of a chunk's next attempt: with a larger `max_tokens` where the retry mask says so.

    Attributes:
        raised_requests: the requests so far whose `max_tokens` was raised.
    """

    def __init__(self, job: Job, batch: Batch, retry_mask: bytearray) -> None:
        self._job, self._batch, self._retry_mask = job, batch, retry_mask
        self.raised_requests = 0

    def __call__(self, entry: LedgerEntry, params: bytes) -> bytes | None:
        """Return the params with which a row is sent; None if its `max_tokens` cannot be raised."""
        next_params: bytes | None = params
        if self._retry_mask[entry.row - self._batch.first_row] == RAISE_MAX_TOKENS:
            next_params = with_raised_max_tokens(self._job, self._batch.betas, params)
            self.raised_requests += next_params is not None
        return next_params
