"""The post in disorder: every message twice, some late, some lost, none in order."""

import random
from collections import Counter

from tests.verification.chaos.bench import bench
from tests.verification.chaos.chaos_harness import ChaosHarness, Message, step_of
from tests.verification.crash import jobs
from tests.verification.figures import Figures

OFTEN = 3
"""A message that was put off so often is put off no more: the run must end."""
LATEST_S = 2 * 3600


class Post:
    """Brings messages as SQS may, and somewhat worse.

    Args:
        relay: where they go.
        seed: which disorder.
    """

    def __init__(self, relay: ChaosHarness, seed: int) -> None:
        self._relay = relay
        self._draw = random.Random(seed)  # noqa: S311 - the seed is to be repeated, not to be secret
        self._brought = Counter[Message]()
        self._late = self._draw.choice((0.2, 0.5, 0.8))
        self._lost = self._draw.choice((0.0, 0.3))

    def bring(self, messages: list[Message]) -> None:
        """Bring each twice or so, in any order, now or hours later; a work message not at all, at times."""
        copies = [one for one in messages for _ in range(self._copies(one))]
        self._draw.shuffle(copies)
        for message in copies:
            self._brought[message] += 1
            late = self._brought[message] <= OFTEN and self._draw.random() < self._late
            if late:
                self._relay.late(message, self._draw.uniform(1, LATEST_S))
            else:
                self._relay.deliver(message)

    def _copies(self, message: Message) -> int:
        if self._brought[message]:
            return 1
        lost = step_of(message) != "receive" and self._draw.random() < self._lost
        return 0 if lost else 2


def post(full: bool, half: int) -> Figures:  # noqa: FBT001 - as the list of campaigns calls it
    """Bring every message twice, late, and out of order; the upload's own event, too."""
    seeds = range(20 if full else 2)
    with bench("messages twice, late, in disorder, or lost", jobs.march()) as at:
        for seed in seeds[half::2]:

            def begin(seed: int = seed) -> None:
                at.relay.post = Post(at.relay, seed).bring

            at.run(f"post {seed}", begin)
    return at.figures
