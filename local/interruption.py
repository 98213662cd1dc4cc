"""End a command on Ctrl-C, SIGTERM or SIGHUP, wherever it is, and stop everything that it started.

A handler that raises is not enough. Python drops an exception that is raised inside a finalizer, and one that is
raised between the start of a program and the note about it leaves the program behind. So the handler sets a flag,
and `check` raises at the places where the command waits. If no such place is reached in `PATIENCE_S`, as in a call
that hangs, an alarm raises there, and again until something ends.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_CODE = 130
PATIENCE_S = 3.0
TICK_S = 0.1


class _State:
    requested = False
    deferred = False


def install() -> None:
    """Handle the signals that ask a command to end. A request that has arrived stays."""
    for signal_number in STOP_SIGNALS:
        signal.signal(signal_number, _request)
    signal.signal(signal.SIGALRM, _raise)


def check() -> None:
    """Raise KeyboardInterrupt if the command was asked to end.

    Raises:
        KeyboardInterrupt: it was. The request is answered with that; another one raises again.
    """
    if _State.requested and not _State.deferred:
        finish()
        raise KeyboardInterrupt


def pause(seconds: float) -> None:
    """Sleep, until a request to end arrives."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        check()
        time.sleep(min(left, TICK_S))
    check()


def finish() -> None:
    """Clear the request, because it is answered."""
    _State.requested = False
    signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def deferred() -> Iterator[None]:
    """Do not interrupt the block. It must end within seconds: it stops programs."""
    outer, _State.deferred = _State.deferred, True
    try:
        yield
    finally:
        _State.deferred = outer


@contextmanager
def at_once() -> Iterator[None]:
    """Raise as soon as a signal arrives, while the command only waits for a person."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _request(_signal: int, _frame: FrameType | None) -> None:
    _State.requested = True
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S, PATIENCE_S)


def _raise(_signal: int, _frame: FrameType | None) -> None:
    if _State.requested and not _State.deferred:
        raise KeyboardInterrupt
