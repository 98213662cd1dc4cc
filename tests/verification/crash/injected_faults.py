"""Faults of one call: its process is killed, the call fails, or the stage freezes."""

import httpx2
import urllib3
from botocore.exceptions import ReadTimeoutError

from tests.verification.crash.call_counter import InjectedFault, ProcessKilled
from tests.verification.crash.crash_harness import CrashHarness

FROZEN_TICKS, FROZEN_TICK_S = 8, 150.0
"""Twenty minutes in all: longer than the sixteen-minute lease of a stage."""


def kill(relay: CrashHarness, call_number: int, *, after: bool) -> InjectedFault:
    """Kill the process."""

    def kill_process(_name: str) -> None:
        relay.call_counter.killed = True
        raise ProcessKilled

    return InjectedFault(call_number, after, kill_process)


def fail_call(_relay: CrashHarness, call_number: int, *, after: bool) -> InjectedFault:
    """Let the call raise its client's error; after the call, only its answer is lost."""

    def raise_error(name: str) -> None:
        message = "no answer"
        if "/results" in name:
            raise urllib3.exceptions.ProtocolError(message)
        if name.startswith("claude."):
            raise httpx2.ReadTimeout(message)
        raise ReadTimeoutError(endpoint_url="https://aws")

    return InjectedFault(call_number, after, raise_error)


def freeze(relay: CrashHarness, call_number: int, *, after: bool) -> InjectedFault:
    """Freeze a stage past its lease while others run; a frozen poll resumes after one tick."""

    def freeze_stage(_name: str) -> None:
        if relay.polling:
            relay.tick(60.0)
            return
        keep_frozen(relay, FROZEN_TICKS)

    return InjectedFault(call_number, after, freeze_stage)


def keep_frozen(relay: CrashHarness, ticks: int) -> None:
    """Let others run while a stage is frozen past its lease."""
    relay.expired_tokens |= relay.tokens
    for _ in range(ticks):
        relay.tick(FROZEN_TICK_S)
