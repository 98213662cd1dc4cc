"""Who may be sent now. Poll alone admits, so that limits are kept and jobs take turns."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from functions.batches.items import Batch


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be at Anthropic at once: Message Batches, and requests in them."""

    batches: int
    requests: int


def admit(waiting: Sequence[Batch], at_anthropic: Sequence[Batch], limits: Limits) -> list[Batch]:
    """Choose the batches that may be sent now.

    Jobs take turns: the job with the fewest batches at Anthropic goes first, so that a small job does not
    wait behind a huge one. Called again with the same items it chooses the same: a hint that is still
    under way is no second admission. A batch larger than the limit goes alone.

    Args:
        waiting: batches that wait to be sent.
        at_anthropic: those that are, or may be, there already (being sent and unsure ones, too).
        limits: what all of them together must stay under.
    """
    batches, requests = len(at_anthropic), sum(batch.requests for batch in at_anthropic)
    admitted: list[Batch] = []
    for batch in _in_turns(waiting, at_anthropic):
        fits = batches < limits.batches and requests + batch.requests <= limits.requests
        if not fits and batches:
            break
        admitted.append(batch)
        batches, requests = batches + 1, requests + batch.requests
    return admitted


def _in_turns(waiting: Sequence[Batch], at_anthropic: Sequence[Batch]) -> list[Batch]:
    ahead = Counter(batch.job for batch in at_anthropic)
    turns: dict[str, int] = defaultdict(int, ahead)
    queue: list[tuple[int, str, str, Batch]] = []
    for batch in sorted(waiting, key=lambda one: (one.job, one.item)):
        queue.append((turns[batch.job], batch.since, batch.item, batch))
        turns[batch.job] += 1
    return [batch for *_, batch in sorted(queue, key=lambda turn: (*turn[:3], turn[3].job))]
