"""Choose the batches that may be sent now. Only poll admits, so limits hold and jobs take turns."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from functions.model import timestamps
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.priority import NORMAL
from functions.model.items.work_item import status_key

PATIENCE = timedelta(hours=1)
"""A batch that does not fit may be overtaken for this long. After that, only what fits into the reserve overtakes it."""
AGEING = timedelta(hours=6)
"""A job with nothing in flight counts as the next higher priority after each such time of waiting. Most batches take
less than an hour, so the higher one goes first many times over; yet a low job advances within half a day."""
_CLASSES = {"high": 0, NORMAL: 1, "low": 2}
"""Priority → class. The lowest class goes first."""


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
        """Return True if `batch` stays within the limits together with what is in flight."""
        return batches < self.batches and requests + batch.requests <= self.requests

    def fits(self, batches: int, requests: int, batch: Batch) -> bool:
        """Return True if `batch` may be sent in addition to what is in flight.

        A batch larger than the limit may be sent if nothing is in flight.
        """
        return self.has_room(batches, requests, batch) or batches == 0


class _Shares:
    """What each top-level folder with a share has in flight, and which of them are closed.

    Args:
        in_flight: the batches in flight.
        old: a batch is old if its `status_key` is less than this.
    """

    def __init__(self, in_flight: Iterable[Batch], old: str) -> None:
        self._old = old
        self._batches, self._requests = Counter[str](), Counter[str]()
        self._closed: set[str] = set()
        for batch in in_flight:
            self.add(batch)

    def add(self, batch: Batch) -> None:
        """Count a batch as in flight."""
        if batch.share is not None:
            self._batches[batch.share.folder] += 1
            self._requests[batch.share.folder] += batch.requests

    def has_room(self, batch: Batch) -> bool:
        """Return True if `batch` stays within its folder's share, or is the folder's only one.

        An old batch that does not fit closes the share: small batches behind it would delay it forever.
        """
        share = batch.share
        if share is None:
            return True
        batches, requests = self._batches[share.folder], self._requests[share.folder]
        has_room = share.folder not in self._closed and (
            batches == 0
            or (
                (share.open_batches is None or batches < share.open_batches)
                and (share.requests is None or requests + batch.requests <= share.requests)
            )
        )
        if not has_room and batch.status_key < self._old:
            self._closed.add(share.folder)
        return has_room


def admit(
    waiting: Sequence[Batch],
    in_flight: Sequence[Batch],
    limits: Limits,
    now: datetime | None = None,
) -> list[Batch]:
    """Return the batches that may be sent now, in the order of their turns.

    Higher priorities go first. Within a priority, the job with the fewest batches in flight goes
    first, so a small job does not wait behind a huge one. A batch that does not fit is overtaken.
    Once it is old, only what fits into the reserve overtakes it. While a job with nothing in flight
    waits for room, the jobs behind it leave the reserve free.

    A batch beyond its folder's share is passed over, as if it did not wait.

    The choice depends on the arguments only: a second call before the first choice was sent
    returns the same batches.

    Args:
        waiting: batches that wait to be sent.
        in_flight: batches that are, or may be, at Anthropic; includes sending and unconfirmed.
        limits: the limits for all batches together.
        now: the time, by which batches get old and priorities rise; by default, they do not.
    """
    old, *risen = (_waiting_since(now, age) for age in (PATIENCE, AGEING, 2 * AGEING))
    batches, requests = len(in_flight), sum(batch.requests for batch in in_flight)
    admitted: list[Batch] = []
    shares = _Shares(in_flight, old)
    queue = _in_turns(waiting, in_flight, risen)
    # Lazy: the room in a share depends on what was admitted before.
    turns = ((turn, batch) for turn, batch in queue if shares.has_room(batch))
    shared = limits
    for turn, batch in turns:
        room = limits if turn == 0 else shared
        if room.fits(batches, requests, batch):
            admitted.append(batch)
            shares.add(batch)
            batches, requests = batches + 1, requests + batch.requests
        elif batch.status_key < old:
            return [*admitted, *_overtake(batch, turns, [*in_flight, *admitted], limits, shares)]
        elif turn == 0:
            shared = limits.less_the_reserve
    return admitted


def beyond_share(waiting: Iterable[Batch], in_flight: Iterable[Batch]) -> list[Batch]:
    """Return the waiting batches for which the share of their folder has no room left."""
    shares = _Shares(in_flight, old="")
    return [batch for batch in waiting if not shares.has_room(batch)]


def _waiting_since(now: datetime | None, age: timedelta) -> str:
    """Return the `status_key` of a batch that has waited for this long. Without a time, none has."""
    if now is None:
        return ""
    return status_key(BatchStatus.WAITING, timestamps.text(now - age))


def _overtake(
    overtaken: Batch,
    turns: Iterable[tuple[int, Batch]],
    in_flight: Sequence[Batch],
    limits: Limits,
    shares: _Shares,
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
            shares.add(batch)
            batches, requests = batches + 1, requests + batch.requests
            overtakers, reserved = overtakers + 1, reserved + batch.requests
    return admitted


def _is_sent_after(batch: Batch, time: str) -> bool:
    """Return True if a batch was sent after this time, or is about to be."""
    return batch.status == BatchStatus.WAITING or (batch.intent_at or "") > time


def _in_turns(
    waiting: Sequence[Batch], in_flight: Sequence[Batch], risen: Sequence[str]
) -> list[tuple[int, Batch]]:
    """Return ``(turn, batch)`` in order; ``turn`` counts the batches of its job that go before.

    Args:
        waiting: batches that wait to be sent.
        in_flight: batches in flight.
        risen: a job's next batch rises by one class for each of these that is later than the `status_key` of the
            batch for which the job has waited longest. Its other batches do not rise: then all of a large job of low
            priority would soon count as high.
    """
    turns: dict[str, int] = defaultdict(int, Counter(batch.job for batch in in_flight))
    oldest: dict[str, str] = {}
    for batch in waiting:
        oldest[batch.job] = min(batch.status_key, oldest.get(batch.job, batch.status_key))
    queue: list[tuple[int, int, str, str, str, Batch]] = []
    for batch in sorted(waiting, key=lambda batch: (batch.job, batch.item)):
        turn = turns[batch.job]
        rises = sum(oldest[batch.job] < since for since in risen) if turn == 0 else 0
        place = max(_CLASSES.get(batch.priority, _CLASSES[NORMAL]) - rises, 0)
        queue.append((place, turn, batch.status_key, batch.item, batch.job, batch))
        turns[batch.job] += 1
    return [(turn, batch) for _, turn, *_, batch in sorted(queue, key=lambda entry: entry[:5])]
