"""Counts every call that leaves the process, and strikes at one, or at several one after the other."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field


class Killed(BaseException):
    """The process is gone: no `except Exception` sees it."""


@dataclass(frozen=True)
class Strike:
    """What happens at one call: the N-th that any stage makes, counted from the strike before this one.

    Attributes:
        at: counts from 1.
        after: just after the call took place; else just before.
        do: it is told the call's name.
    """

    at: int
    after: bool
    do: Callable[[str], None]


@dataclass
class CallCounter:
    """What is to at_each_call the stages of one run.

    Attributes:
        calls: the name of each call so far.
        struck: how many strikes have happened.
        watching: only what stages do counts, not what tests do meanwhile.
        dead: a process that was killed makes no more calls, whatever its `finally` would like to.
    """

    strikes: Sequence[Strike] = ()
    calls: list[str] = field(default_factory=list)
    struck: int = 0
    watching: bool = False
    dead: bool = False
    at_each_call: Callable[[str, bool], None] | None = None
    block: int = 1 << 30
    _base: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def left(self) -> int:
        """Count the calls since the last strike."""
        return len(self.calls) - self._base

    def plan_strikes(self, strikes: Sequence[Strike]) -> None:
        """Begin another run."""
        self.strikes, self.struck, self._base = strikes, 0, 0
        self.calls.clear()

    def around[**P, R](self, name: str, call: Callable[P, R]) -> Callable[P, R]:
        """Make a call that can be struck just before and just after."""

        def struck(*args: P.args, **kwargs: P.kwargs) -> R:
            if not self.watching:
                return call(*args, **kwargs)
            place = self._count(name)
            self._hit(name, place, after=False)
            self._meet(name, after=False)
            try:
                return call(*args, **kwargs)
            finally:  # a call that fails has taken place, too
                self._hit(name, place, after=True)
                self._meet(name, after=True)

        return struck

    def stream(self, name: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Make a stream that can be struck at each of its blocks."""
        for block in blocks:
            yield self.around(name, lambda read=block: read)()

    def _count(self, name: str) -> tuple[int, int]:
        """Give which strike comes next, and the call's number as that one counts."""
        with self._lock:
            if self.dead:
                raise Killed
            self.calls.append(name)
            return self.struck, len(self.calls) - self._base

    def _meet(self, name: str, *, after: bool) -> None:
        if self.at_each_call is not None:
            self.at_each_call(name, after)

    def _hit(self, name: str, place: tuple[int, int], *, after: bool) -> None:
        turn, number = place
        with self._lock:
            if turn != self.struck or turn >= len(self.strikes):
                return
            strike = self.strikes[turn]
            if (strike.at, strike.after) != (number, after):
                return
            self.struck, self._base = turn + 1, len(self.calls)
        strike.do(name)
