"""Time against us: Lambda ends a stage in the middle, and Anthropic's clock is not ours."""

import random
from functools import partial

from tests.verification.chaos.bench import Bench, bench
from tests.verification.chaos.chaos_harness import ChaosHarness
from tests.verification.crash import jobs
from tests.verification.crash.call_counter import Killed
from tests.verification.crash.injected_faults import error, freeze, kill
from tests.verification.figures import Figures

LAMBDA_S = 900.0
SLOW = 4
"""So many invocations of one run are slow: one item tried in vain five times would be quarantined."""
BLOCK, IN_A_STREAM = 40, "between two blocks of a stream"
"""Bytes, so few that a small file comes in many."""
SKEW_S = 300.0
"""As far as clocks may differ: a setting of poll's."""


class _Pace:
    """How long each call of an invocation takes."""

    def __init__(self, draw: random.Random) -> None:
        self._draw, self._left = draw, SLOW
        self.a_call_s = 0.0

    def start_over(self) -> None:
        """Draw for the next invocation."""
        is_slow = self._left > 0 and self._draw.random() < 1 / 2
        self._left -= is_slow
        self.a_call_s = LAMBDA_S / self._draw.uniform(3, 40) if is_slow else 0.0


def slow(relay: ChaosHarness, seed: int, block: int) -> None:
    """Let time pass with each call of some stages: one that uses up its Lambda's is gone, whatever it was at.

    A stream makes a call for each block of this length.
    """
    before, pace = "", _Pace(random.Random(seed))  # noqa: S311 - the seed is to be repeated

    def at_each_call(name: str, after: bool) -> None:  # noqa: FBT001 - as it is called
        nonlocal before
        if relay.polling or after:
            return
        relay.pass_time(pace.a_call_s)
        relay.context.left_s -= pace.a_call_s
        if relay.context.left_s <= 0:
            relay.call_counter.dead = True
            raise Killed(IN_A_STREAM if name == before and name.endswith(" block") else name)
        before = name

    def bring(messages: list[tuple[str, str]]) -> None:
        for message in messages:
            pace.start_over()
            relay.context.left_s = LAMBDA_S
            relay.deliver(message)

    relay.post, relay.call_counter.at_each_call, relay.call_counter.block = (
        bring,
        at_each_call,
        block,
    )


def deadlines(full: bool, half: int) -> Figures:  # noqa: FBT001 - as the list of campaigns calls it
    """Let stages be so slow that Lambda ends them, at calls that are drawn; plan stops in time, and goes on.

    In every second run streams are long, and many are ended in the middle of one.
    """
    seeds, cut = range(60 if full else 16), 0
    with bench("Lambda's time is up", jobs.march()) as at:
        for seed in seeds[half::2]:
            block = BLOCK if seed // 2 % 2 else 1 << 30
            at.run(f"slow {seed}", partial(slow, at.relay, seed, block))
            cut += any(str(death) == IN_A_STREAM for death in at.relay.deaths)
        if not cut:
            at.figures.broken.append("no stage ran out of time in the middle of a stream")
    return at.figures


def skew(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Let our clock be five minutes behind Anthropic's, or before it."""
    job = (jobs.march(), jobs.lost())[half]
    with bench("clocks five minutes apart", job) as at:
        create = 1 + next(
            n for n, name in enumerate(at.undisturbed.calls) if name.startswith("claude.POST")
        )
        for seconds in (SKEW_S, -SKEW_S):
            at.run(f"{seconds:+.0f} s", partial(_apart, at, seconds))
            for how in (kill, error, freeze):
                for call in range(create - 2, create + 40, 3) if full else [create]:
                    strike = how(at.relay, call, after=how is not freeze)
                    told = f"{seconds:+.0f} s, {how.__name__} at call {call}"
                    at.run(told, partial(_apart, at, seconds), [strike])
    return at.figures


def _apart(at: Bench, seconds: float) -> None:
    """Set Anthropic's clock; a batch that lies there already is as old as it was."""
    at.relay.simulator.clock = lambda: at.relay.seconds() + seconds
