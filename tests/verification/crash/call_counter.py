"""Counts every call that leaves the process, and strikes at one, or at several one after the other."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field


class ProcessKilled(BaseException):
    """The process is gone: no `except Exception` sees it."""


@dataclass(frozen=True)
class InjectedFault:
    """What happens at one call: the N-th that any stage makes, counted from the strike before this one.

    Attributes:
        at: counts from 1.
        after: just after the call took place; else just before.
        do: it is told the call's name.
    """

    call_number: int
    after: bool
    inject: Callable[[str], None]


@dataclass
class CallCounter:
    """What is to at_each_call the stages of one run.

    Attributes:
        calls: the name of each call so far.
        struck: how many strikes have happened.
        watching: only what stages do counts, not what tests do meanwhile.
        dead: a process that was killed makes no more calls, whatever its `finally` would like to.
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
        """Count the calls since the last strike."""
        return len(self.calls) - self._calls_before

    def plan_faults(self, faults: Sequence[InjectedFault]) -> None:
        """Begin another run."""
        self.faults, self.faults_injected, self._calls_before = faults, 0, 0
        self.calls.clear()

    def wrap[**P, R](self, name: str, call: Callable[P, R]) -> Callable[P, R]:
        """Make a call that can be struck just before and just after."""

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
        """Make a stream that can be struck at each of its blocks."""
        for block in blocks:
            yield self.wrap(name, lambda read=block: read)()

    def _count(self, name: str) -> tuple[int, int]:
        """Give which strike comes next, and the call's number as that one counts."""
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
