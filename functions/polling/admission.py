"""Who may be sent now. Poll alone admits, so that limits are kept and jobs take turns."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from functions.model.items import Batch

PATIENCE = timedelta(hours=1)
"""A batch that does not fit is passed over for so long; after that, none that comes behind it overtakes it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be at Anthropic at once: Message Batches, and requests in them.

    Attributes:
        reserve_divisor: one part in so many is kept for jobs that have nothing there, while one of them waits; of the defaults,
            50 Message Batches and 10,000 requests, which is one more chunk.
    """

    batches: int
    requests: int
    reserve_divisor: int = 20

    def less_the_reserve(self) -> "Limits":
        """What a job may fill that has something there already, while another waits that has nothing."""
        return Limits(
            self.batches - self.batches // self.reserve_divisor,
            self.requests - self.requests // self.reserve_divisor,
        )

    def have_room(self, batches: int, requests: int, batch: Batch) -> bool:
        """Whether a batch fits beside what is there; one that is larger than the limit fits where nothing is."""
        fits = batches < self.batches and requests + batch.requests <= self.requests
        return fits or batches == 0


def admit(
    waiting: Sequence[Batch], in_flight: Sequence[Batch], limits: Limits, old: str = ""
) -> list[Batch]:
    """Choose the batches that may be sent now.

    Jobs take turns: the job with the fewest batches at Anthropic goes first, so that a small job does not
    wait behind a huge one. What does not fit is passed over. While a job is passed over that has nothing there, a part
    of the room is kept from the jobs that have: the next small one finds it. A batch that is old is passed over no more:
    nothing behind it is admitted until there is room for it.

    Called again with the same items it chooses the same: a work message that is still under way is no second admission. A batch
    larger than the limit goes alone.

    Args:
        waiting: batches that wait to be sent.
        in_flight: those that are, or may be, there already (being sent and unconfirmed ones, too).
        limits: what all of them together must stay under.
        old: batches whose `status_key` is less than this are old.
    """
    batches, requests = len(in_flight), sum(batch.requests for batch in in_flight)
    admitted: list[Batch] = []
    shared, reserved = limits, limits.less_the_reserve()
    for turn, batch in _in_turns(waiting, in_flight):
        room = limits if turn == 0 else shared
        if room.have_room(batches, requests, batch):
            admitted.append(batch)
            batches, requests = batches + 1, requests + batch.requests
        elif batch.status_key < old:
            break
        elif turn == 0:
            shared = reserved
    return admitted


def _in_turns(waiting: Sequence[Batch], in_flight: Sequence[Batch]) -> list[tuple[int, Batch]]:
    """Put what waits in order; gives also how many of its job go before each."""
    ahead = Counter(batch.job for batch in in_flight)
    turns: dict[str, int] = defaultdict(int, ahead)
    queue: list[tuple[int, str, str, Batch]] = []
    for batch in sorted(waiting, key=lambda one: (one.job, one.item)):
        queue.append((turns[batch.job], batch.status_key, batch.item, batch))
        turns[batch.job] += 1
    return [
        (turn, batch) for turn, *_, batch in sorted(queue, key=lambda one: (*one[:3], one[3].job))
    ]
