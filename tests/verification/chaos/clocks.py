"""Timing faults: Lambda kills a stage at its timeout, and Anthropic's clock differs from ours."""

import random
from functools import partial

from tests.verification.chaos.bench import Bench, open_bench
from tests.verification.chaos.chaos_harness import ChaosHarness
from tests.verification.crash import jobs
from tests.verification.crash.call_counter import ProcessKilled, first_create
from tests.verification.crash.injected_faults import fail_call, freeze, kill
from tests.verification.figures import Figures

LAMBDA_S = 900.0
MAX_SLOW_INVOCATIONS = 4
"""Slow invocations of one run: an item that fails five times would be quarantined."""
BLOCK, IN_STREAM = 40, "inside a stream"
"""Block size in bytes, small enough that a short file has many blocks."""
SKEW_S = 300.0
"""The largest clock skew that poll's settings allow."""


class _CallDurations:
    """The duration of each call of an invocation."""

    def __init__(self, rng: random.Random) -> None:
        self._rng, self._slow_left = rng, MAX_SLOW_INVOCATIONS
        self.call_s = 0.0

    def next_invocation(self) -> None:
        """Draw the durations for the next invocation."""
        is_slow = self._slow_left > 0 and self._rng.random() < 1 / 2
        self._slow_left -= is_slow
        self.call_s = LAMBDA_S / self._rng.uniform(3, 40) if is_slow else 0.0


def slow_down_calls(relay: ChaosHarness, seed: int, block: int) -> None:
    """Let time pass with each call of some stages, and kill those that exceed Lambda's timeout.

    A stream makes one call for each block of this size.
    """
    previous, durations = "", _CallDurations(random.Random(seed))  # noqa: S311 - the seed makes a run reproducible

    def on_call(name: str, after: bool) -> None:  # noqa: FBT001 - called positionally
        nonlocal previous
        if relay.polling or after:
            return
        relay.pass_time(durations.call_s)
        relay.context.left_s -= durations.call_s
        if relay.context.left_s <= 0:
            relay.call_counter.killed = True
            raise ProcessKilled(
                IN_STREAM if name == previous and name.endswith(" block") else name
            )
        previous = name

    def deliver_slowly(messages: list[tuple[str, str]]) -> None:
        for message in messages:
            durations.next_invocation()
            relay.context.left_s = LAMBDA_S
            relay.deliver(message)

    relay.on_messages, relay.call_counter.on_call, relay.call_counter.block = (
        deliver_slowly,
        on_call,
        block,
    )


def lambda_timeouts(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Slow stages down until Lambda kills them at random calls; plan stops in time and continues.

    In every second run, streams have many blocks, and many invocations are killed inside one.
    """
    seeds, killed_in_stream = range(60 if full else 16), 0
    with open_bench("Lambda timeouts", jobs.three_chunks()) as bench:
        for seed in seeds[half::2]:
            block_bytes = BLOCK if seed // 2 % 2 else 1 << 30
            bench.run(f"slow {seed}", partial(slow_down_calls, bench.relay, seed, block_bytes))
            killed_in_stream += any(str(death) == IN_STREAM for death in bench.relay.failures)
        if not killed_in_stream:
            bench.figures.violations.append("no stage was killed in the middle of a stream")
    return bench.figures


def clock_skew(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Set our clock five minutes behind Anthropic's, or ahead of it."""
    job = (jobs.three_chunks(), jobs.lost_create_answer())[half]
    with open_bench("clock skew of five minutes", job) as bench:
        create_call = first_create(bench.baseline.calls)
        for seconds in (SKEW_S, -SKEW_S):
            bench.run(f"{seconds:+.0f} s", partial(_shift_api_clock, bench, seconds))
            for make_fault in (kill, fail_call, freeze):
                for call in range(create_call - 2, create_call + 40, 3) if full else [create_call]:
                    fault = make_fault(bench.relay, call, after=make_fault is not freeze)
                    description = f"{seconds:+.0f} s, {make_fault.__name__} at call {call}"
                    bench.run(description, partial(_shift_api_clock, bench, seconds), [fault])
    return bench.figures


def _shift_api_clock(bench: Bench, seconds: float) -> None:
    """Shift Anthropic's clock; a batch that exists already keeps its age."""
    bench.relay.simulator.clock = lambda: bench.relay.seconds() + seconds
