"""Choose the batches that may be sent now. Only poll admits, so limits hold and jobs take turns."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from functions.model import timestamps
from functions.model.items import Batch, BatchStatus

PATIENCE = timedelta(hours=1)
"""A batch that does not fit may be overtaken for this long. After that, only what fits into the reserve overtakes it."""


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

    @property
    def reserve(self) -> "Limits":
        """The reserve alone."""
        return Limits(self.batches // self.reserve_divisor, self.requests // self.reserve_divisor)

    @property
    def less_the_reserve(self) -> "Limits":
        """The limits for jobs in flight while a job with nothing in flight waits."""
        reserve = self.reserve
        return Limits(self.batches - reserve.batches, self.requests - reserve.requests)

    def has_room(self, batches: int, requests: int, batch: Batch) -> bool:
        """Return True if `batch` stays within the limits beside what is in flight."""
        return batches < self.batches and requests + batch.requests <= self.requests

    def fits(self, batches: int, requests: int, batch: Batch) -> bool:
        """Return True if `batch` may be sent beside what is in flight.

        A batch larger than the limit may be sent if nothing is in flight.
        """
        return self.has_room(batches, requests, batch) or batches == 0


def admit(
    waiting: Sequence[Batch], in_flight: Sequence[Batch], limits: Limits, old: str = ""
) -> list[Batch]:
    """Return the batches that may be sent now, in the order of their turns.

    The job with the fewest batches in flight goes first, so a small job does not wait behind a
    huge one. A batch that does not fit is overtaken. Once it is old, only what fits into the reserve
    overtakes it. While a job with nothing in flight waits for room, the other jobs leave the reserve
    free.

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
    shared, turns = limits, iter(_in_turns(waiting, in_flight))
    for turn, batch in turns:
        room = limits if turn == 0 else shared
        if room.fits(batches, requests, batch):
            admitted.append(batch)
            batches, requests = batches + 1, requests + batch.requests
        elif batch.status_key < old:
            return [*admitted, *_overtake(batch, turns, [*in_flight, *admitted], limits)]
        elif turn == 0:
            shared = limits.less_the_reserve
    return admitted


def _overtake(
    overtaken: Batch,
    turns: Iterable[tuple[int, Batch]],
    in_flight: Sequence[Batch],
    limits: Limits,
) -> list[Batch]:
    """Return the batches that may overtake an old one: those of jobs with nothing in flight, within the reserve.

    Everything that was sent since it became old counts towards the reserve. So the rest of the limits becomes free in
    the end. If the old batch needs more than that, nothing overtakes it.
    """
    if not limits.less_the_reserve.has_room(0, 0, overtaken):
        return []
    became_old_at = timestamps.after(overtaken.status_since, PATIENCE.total_seconds())
    sent_since = [batch for batch in in_flight if _is_sent_after(batch, became_old_at)]
    batches, requests = len(in_flight), sum(batch.requests for batch in in_flight)
    overtakers, reserved = len(sent_since), sum(batch.requests for batch in sent_since)
    admitted: list[Batch] = []
    for turn, batch in turns:
        if (
            turn == 0
            and limits.reserve.has_room(overtakers, reserved, batch)
            and limits.has_room(batches, requests, batch)
        ):
            admitted.append(batch)
            batches, requests = batches + 1, requests + batch.requests
            overtakers, reserved = overtakers + 1, reserved + batch.requests
    return admitted


def _is_sent_after(batch: Batch, time: str) -> bool:
    """Return True if a batch was sent after this time, or is about to be."""
    return batch.status == BatchStatus.WAITING or (batch.intent_at or "") > time


def _in_turns(waiting: Sequence[Batch], in_flight: Sequence[Batch]) -> list[tuple[int, Batch]]:
    """Return ``(turn, batch)`` in order; ``turn`` counts the batches of its job that go before."""
    turns: dict[str, int] = defaultdict(int, Counter(batch.job for batch in in_flight))
    queue: list[tuple[int, str, str, str, Batch]] = []
    for batch in sorted(waiting, key=lambda batch: (batch.job, batch.item)):
        queue.append((turns[batch.job], batch.status_key, batch.item, batch.job, batch))
        turns[batch.job] += 1
    return [(turn, batch) for turn, *_, batch in sorted(queue, key=lambda entry: entry[:4])]
