"""What can at_each_call a stage at a call: it is killed, the call fails, or it stands still while others go on."""

import httpx2
import urllib3
from botocore.exceptions import ReadTimeoutError

from tests.verification.crash.call_counter import InjectedFault, ProcessKilled
from tests.verification.crash.crash_harness import CrashHarness

FROZEN_TICKS, FROZEN_TICK_S = 8, 150.0
"""Twenty minutes in all: past the lease of a stage, which is its fifteen and one more."""


def kill(relay: CrashHarness, call_number: int, *, after: bool) -> InjectedFault:
    """End the process."""

    def kill_process(_name: str) -> None:
        relay.call_counter.killed = True
        raise ProcessKilled

    return InjectedFault(call_number, after, kill_process)


def fail_call(_relay: CrashHarness, call_number: int, *, after: bool) -> InjectedFault:
    """Let the call fail as its own client says it: after it took place, only its answer is lost."""

    def raise_error(name: str) -> None:
        message = "no answer"
        if "/results" in name:
            raise urllib3.exceptions.ProtocolError(message)
        if name.startswith("claude."):
            raise httpx2.ReadTimeout(message)
        raise ReadTimeoutError(endpoint_url="https://aws")

    return InjectedFault(call_number, after, raise_error)


def freeze(relay: CrashHarness, call_number: int, *, after: bool) -> InjectedFault:
    """Stand still, and go on when others have: past the lease of a stage; poll is never run so long."""

    def freeze_stage(_name: str) -> None:
        if relay.polling:
            relay.tick(60.0)
            return
        keep_frozen(relay, FROZEN_TICKS)

    return InjectedFault(call_number, after, freeze_stage)


def keep_frozen(relay: CrashHarness, ticks: int) -> None:
    """Let others go on while a stage stands still, past its lease."""
    relay.expired_tokens |= relay.tokens
    for _ in range(ticks):
        relay.tick(FROZEN_TICK_S)
