"""Count every call that leaves the process, and inject faults at chosen ones."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field


class ProcessKilled(BaseException):
    """The process was killed; `except Exception` does not catch this."""


@dataclass(frozen=True)
class InjectedFault:
    """A fault at one call of a stage.

    Attributes:
        call_number: Which call, counted from 1 and from the fault before this one.
        after: Whether the call has taken place.
        inject: Called with the name of the call.
    """

    call_number: int
    after: bool
    inject: Callable[[str], None]


@dataclass
class CallCounter:
    """The calls of one run, and the faults to inject.

    Attributes:
        faults: The faults to inject, one after the other.
        calls: The name of each call so far.
        faults_injected: How many faults have been injected.
        counting: Whether a stage runs: calls by tests do not count.
        killed: Whether the process was killed: it makes no more calls, even in a `finally`.
        on_call: Called before and after each call.
        block: The largest block of a stream, in bytes.
    """

    faults: Sequence[InjectedFault] = ()
    calls: list[str] = field(default_factory=list)
    faults_injected: int = 0
    counting: bool = False
    killed: bool = False
    on_call: Callable[[str, bool], None] | None = None
    block: int = 1 << 30
    _calls_before: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def calls_since_fault(self) -> int:
        """Return the number of calls since the last fault."""
        return len(self.calls) - self._calls_before

    def plan_faults(self, faults: Sequence[InjectedFault]) -> None:
        """Start another run with these faults."""
        self.faults, self.faults_injected, self._calls_before = faults, 0, 0
        self.calls.clear()

    def wrap[**P, R](self, name: str, call: Callable[P, R]) -> Callable[P, R]:
        """Return a call that can fail just before and just after it takes place."""

        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            if not self.counting:
                return call(*args, **kwargs)
            position = self._count(name)
            self._inject(name, position, after=False)
            self._notify(name, after=False)
            try:
                return call(*args, **kwargs)
            finally:  # a call that fails has taken place, too
                self._inject(name, position, after=True)
                self._notify(name, after=True)

        return wrapped

    def wrap_stream(self, name: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield blocks; each can fail like a call."""
        for block in blocks:
            yield self.wrap(name, lambda read=block: read)()

    def _count(self, name: str) -> tuple[int, int]:
        """Count a call; return the next fault's index, and the call's number since the last."""
        with self._lock:
            if self.killed:
                raise ProcessKilled
            self.calls.append(name)
            return self.faults_injected, len(self.calls) - self._calls_before

    def _notify(self, name: str, *, after: bool) -> None:
        if self.on_call is not None:
            self.on_call(name, after)

    def _inject(self, name: str, position: tuple[int, int], *, after: bool) -> None:
        fault_index, call_number = position
        with self._lock:
            if fault_index != self.faults_injected or fault_index >= len(self.faults):
                return
            fault = self.faults[fault_index]
            if (fault.call_number, fault.after) != (call_number, after):
                return
            self.faults_injected, self._calls_before = fault_index + 1, len(self.calls)
        fault.inject(name)


def first_create(calls: Sequence[str]) -> int:
    """Return the number of the first create among the calls of a run, from 1."""
    return 1 + next(index for index, name in enumerate(calls) if name.startswith("claude.POST"))
