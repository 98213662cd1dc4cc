"""What can at_each_call a stage at a call: it is killed, the call fails, or it stands still while others go on."""

import httpx2
import urllib3
from botocore.exceptions import ReadTimeoutError

from tests.verification.crash.call_counter import Killed, Strike
from tests.verification.crash.crash_harness import CrashHarness

STILL_TICKS, STILL_S = 8, 150.0
"""Twenty minutes in all: past the lease of a stage, which is its fifteen and one more."""


def kill(relay: CrashHarness, at: int, *, after: bool) -> Strike:
    """End the process."""

    def die(_name: str) -> None:
        relay.call_counter.dead = True
        raise Killed

    return Strike(at, after, die)


def error(_relay: CrashHarness, at: int, *, after: bool) -> Strike:
    """Let the call fail as its own client says it: after it took place, only its answer is lost."""

    def fail(name: str) -> None:
        message = "no answer"
        if "/results" in name:
            raise urllib3.exceptions.ProtocolError(message)
        if name.startswith("claude."):
            raise httpx2.ReadTimeout(message)
        raise ReadTimeoutError(endpoint_url="https://aws")

    return Strike(at, after, fail)


def freeze(relay: CrashHarness, at: int, *, after: bool) -> Strike:
    """Stand still, and go on when others have: past the lease of a stage; poll is never run so long."""

    def stand(_name: str) -> None:
        if relay.polling:
            relay.tick(60.0)
            return
        stand_still(relay, STILL_TICKS)

    return Strike(at, after, stand)


def stand_still(relay: CrashHarness, ticks: int) -> None:
    """Let others go on while a stage stands still, past its lease."""
    relay.outlived |= relay.tokens
    for _ in range(ticks):
        relay.tick(STILL_S)
