"""Unreliable delivery: every message twice, some late, some lost, none in order."""

import random
from collections import Counter
from collections.abc import Sequence

from tests.verification.chaos.bench import TICKS, open_bench
from tests.verification.chaos.chaos_harness import ChaosHarness, Message, step_of
from tests.verification.crash import jobs
from tests.verification.crash.jobs import JobSpec
from tests.verification.figures import Figures

MAX_DELAYS = 3
"""Delays of one message after which it is delivered: a run must end."""
MAX_DELAY_S = 2 * 3600


class UnreliableQueue:
    """A queue that delivers as SQS may, and somewhat worse.

    Args:
        relay: Where the messages go.
        seed: Selects the disorder.
    """

    def __init__(self, relay: ChaosHarness, seed: int) -> None:
        self._relay = relay
        self._rng = random.Random(seed)  # noqa: S311 - the seed makes a run reproducible
        self._deliveries = Counter[Message]()
        self._delay_rate = self._rng.choice((0.2, 0.5, 0.8))
        self._loss_rate = self._rng.choice((0.0, 0.3))

    def deliver_all(self, messages: list[Message]) -> None:
        """Deliver messages twice, in any order, now or hours later; lose some work messages."""
        copies = [message for message in messages for _ in range(self._copies(message))]
        self._rng.shuffle(copies)
        for message in copies:
            self._deliveries[message] += 1
            delayed = (
                self._deliveries[message] <= MAX_DELAYS and self._rng.random() < self._delay_rate
            )
            if delayed:
                self._relay.delay(message, self._rng.uniform(1, MAX_DELAY_S))
            else:
                self._relay.deliver(message)

    def _copies(self, message: Message) -> int:
        if self._deliveries[message]:
            return 1
        is_lost = step_of(message) != "claim" and self._rng.random() < self._loss_rate
        return 0 if is_lost else 2


def unreliable_delivery(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Deliver every message twice, late and out of order, the upload's own event included."""
    return _run(jobs.three_chunks(), range(20 if full else 2)[half::2])


def unreliable_delivery_in_a_budget(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Do the same with a job that is held, released, and sent within a budget of the day."""
    return _run(jobs.held_job(), range(20 if full else 2)[half::2])


def unreliable_delivery_of_copies(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Do the same with a job that ends by copying results from chunk to chunk."""
    return _run(jobs.equal_rows(), range(20 if full else 2)[half::2])


def _run(job: JobSpec, seeds: Sequence[int]) -> Figures:
    with open_bench("messages repeated, late, reordered or lost", job) as bench:
        for seed in seeds:

            def setup(seed: int = seed) -> None:
                bench.relay.on_messages = UnreliableQueue(bench.relay, seed).deliver_all

            # A message may still be late when the job has ended.
            bench.run(f"delivery {seed}", setup, fast_after_ticks=TICKS)
    return bench.figures
