"""Choose the batches that may be sent now. Only poll admits, so limits hold and jobs take turns."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from functions.model.items import Batch

PATIENCE = timedelta(hours=1)
"""A batch that does not fit may be overtaken for this long. After that, nothing overtakes it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be in flight at Anthropic at once: Message Batches, and requests in them.

    Attributes:
        reserve_divisor: 1/reserve_divisor of both limits is reserved for jobs with nothing in
            flight, while such a job waits. By default 50 Message Batches and 10,000 requests:
            one full chunk.
    """

    batches: int
    requests: int
    reserve_divisor: int = 20

    def less_the_reserve(self) -> "Limits":
        """Return the limits for jobs in flight while a job with nothing in flight waits."""
        return Limits(
            self.batches - self.batches // self.reserve_divisor,
            self.requests - self.requests // self.reserve_divisor,
        )

    def fits(self, batches: int, requests: int, batch: Batch) -> bool:
        """Return True if `batch` fits beside what is in flight.

        A batch larger than the limit fits if nothing is in flight.
        """
        fits = batches < self.batches and requests + batch.requests <= self.requests
        return fits or batches == 0


def admit(
    waiting: Sequence[Batch], in_flight: Sequence[Batch], limits: Limits, old: str = ""
) -> list[Batch]:
    """Return the batches that may be sent now, in the order of their turns.

    The job with the fewest batches in flight goes first, so a small job does not wait behind a
    huge one. A batch that does not fit is overtaken, until it is old. While a job with nothing in
    flight waits for room, the other jobs leave the reserve free.

    The choice depends on the arguments only: a second call before the first choice was sent
    returns the same batches.

    Args:
        waiting: batches that wait to be sent.
        in_flight: batches that are, or may be, at Anthropic; includes sending and unconfirmed.
        limits: the limits for all batches together.
        old: a batch is old if its `status_key` is less than this.
    """
    batches, requests = len(in_flight), sum(batch.requests for batch in in_flight)
    admitted: list[Batch] = []
    shared, reserved = limits, limits.less_the_reserve()
    for turn, batch in _in_turns(waiting, in_flight):
        room = limits if turn == 0 else shared
        if room.fits(batches, requests, batch):
            admitted.append(batch)
            batches, requests = batches + 1, requests + batch.requests
        elif batch.status_key < old:
            break
        elif turn == 0:
            shared = reserved
    return admitted


def _in_turns(waiting: Sequence[Batch], in_flight: Sequence[Batch]) -> list[tuple[int, Batch]]:
    """Return ``(turn, batch)`` in order; ``turn`` counts the batches of its job that go before."""
    turns: dict[str, int] = defaultdict(int, Counter(batch.job for batch in in_flight))
    queue: list[tuple[int, str, str, str, Batch]] = []
    for batch in sorted(waiting, key=lambda batch: (batch.job, batch.item)):
        queue.append((turns[batch.job], batch.status_key, batch.item, batch.job, batch))
        turns[batch.job] += 1
    return [(turn, batch) for turn, *_, batch in sorted(queue, key=lambda entry: entry[:4])]
