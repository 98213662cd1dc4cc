"""Steps of tests in which somebody deletes files that a job still needs."""

from functions.errors import ObjectNotFoundError
from functions.model.items.batch import Batch
from tests.harness import Harness


def tick_until_sent(relay: Harness, attempt: int = 1) -> Batch:
    """Tick until a batch of this attempt is in progress, and return it."""
    for _ in range(20):
        relay.tick()
        for batch in relay.items.unfinished().batches:
            if (batch.attempt, batch.status) == (attempt, "IN_PROGRESS"):
                return batch
    raise AssertionError(attempt)


def pass_hours(relay: Harness, hours: float = 48) -> int:
    """Let hours pass. Return how many tries failed because a file is missing."""
    failures = 0
    for _ in range(int(hours * 2)):
        try:
            relay.tick(1800)
        except ObjectNotFoundError:
            failures += 1
    return failures
