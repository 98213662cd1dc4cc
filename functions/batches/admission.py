"""Who may be sent now. Poll alone admits, so that limits are kept and jobs take turns."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from functions.batches.items import Batch


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be at Anthropic at once: Message Batches, and requests in them.

    Attributes:
        kept: one part in so many is kept for jobs that have nothing there; of the defaults, 50 Message Batches
            and 10,000 requests, which is one more chunk.
    """

    batches: int
    requests: int
    kept: int = 20

    def of_turn(self, turn: int) -> "Limits":
        """What a job may fill that has so many there already: a part of the room is kept for those that have none."""
        if turn == 0:
            return self
        return Limits(
            self.batches - self.batches // self.kept, self.requests - self.requests // self.kept
        )


def admit(waiting: Sequence[Batch], at_anthropic: Sequence[Batch], limits: Limits) -> list[Batch]:
    """Choose the batches that may be sent now.

    Jobs take turns: the job with the fewest batches at Anthropic goes first, so that a small job does not
    wait behind a huge one; nor until the first of its batches ends, which may take a day: a part of the room is
    kept for jobs that have nothing there. Called again with the same items it chooses the same: a hint that is still
    under way is no second admission. A batch larger than the limit goes alone.

    Args:
        waiting: batches that wait to be sent.
        at_anthropic: those that are, or may be, there already (being sent and unsure ones, too).
        limits: what all of them together must stay under.
    """
    batches, requests = len(at_anthropic), sum(batch.requests for batch in at_anthropic)
    admitted: list[Batch] = []
    for turn, batch in _in_turns(waiting, at_anthropic):
        room = limits.of_turn(turn)
        fits = batches < room.batches and requests + batch.requests <= room.requests
        if not fits and batches:
            break
        admitted.append(batch)
        batches, requests = batches + 1, requests + batch.requests
    return admitted


def _in_turns(waiting: Sequence[Batch], at_anthropic: Sequence[Batch]) -> list[tuple[int, Batch]]:
    """Put what waits in order; gives also how many of its job go before each."""
    ahead = Counter(batch.job for batch in at_anthropic)
    turns: dict[str, int] = defaultdict(int, ahead)
    queue: list[tuple[int, str, str, Batch]] = []
    for batch in sorted(waiting, key=lambda one: (one.job, one.item)):
        queue.append((turns[batch.job], batch.since, batch.item, batch))
        turns[batch.job] += 1
    return [
        (turn, batch) for turn, *_, batch in sorted(queue, key=lambda one: (*one[:3], one[3].job))
    ]
