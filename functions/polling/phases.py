"""How one poll goes about its work: phase by phase, item by item, each phase within its time.

One bad item stops no other. A phase that has no time left stops, and the next poll goes on from there, so that in the end
everything has its turn.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import batched

from aws_lambda_powertools import Logger

from functions.model.events import Event
from functions.model.items import Batch, Job
from functions.model.records import CancellationRequest, Owner

LIMIT_S = 120.0
"""How long poll may run: its Lambda's timeout."""
LEFT_S = {
    "read": 84, "wake submit": 76, "wake results": 76, "listing": 68, "retrieve": 64, "look": 60, "cancel duplicate": 56, "cancel": 53,
    "mend": 50, "quarantine": 48, "ready submit": 46, "ready results": 46, "events": 44, "report": 40, "owners": 34,
    "prove": 28,
}  # fmt: skip
"""A phase begins nothing new with less time left than this: the phases behind it have the rest. The last may wait for an
answer for 25 seconds."""
logger = Logger(child=True)

type Placed = Job | Batch | CancellationRequest | Owner | Event


def place(item: Placed) -> str:
    """Name an item, so that names sort as the index does."""
    if isinstance(item, Event):
        return f"EVENT#{item.time} {item.subject}/{item.id}"
    return f"{item.status_key} {item.job}/{item.item}"


class Phases:
    """The phases of one poll.

    Args:
        time_left_s: the time that this Lambda still has.
        threads: items that are worked on at once.
        sleep: lets so many seconds pass.

    Attributes:
        stopped: where each phase stopped that had no time left.
    """

    def __init__(
        self,
        time_left_s: Callable[[], float] = lambda: LIMIT_S,
        threads: int = 1,
        sleep: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._time_left_s, self._threads, self.sleep = time_left_s, threads, sleep
        self._begin: Mapping[str, str] = {}
        self._failures: list[str] = []
        self.stopped: dict[str, str] = {}

    @property
    def failed(self) -> int:
        """Count the items, and the whole phases, that raised an error and were passed over."""
        return len(self._failures)

    def go_on_from(self, stopped: Mapping[str, str]) -> None:
        """Let each phase begin where it stopped the last time."""
        self._begin = stopped

    def has_time(self, phase: str) -> bool:
        """Whether a phase may begin something new."""
        return self._time_left_s() >= LEFT_S[phase]

    def each[T](
        self,
        phase: str,
        items: Iterable[T],
        of: Callable[[T], str],
        work: Callable[[T], object],
        most: int | None = None,
    ) -> None:
        """Do the work of a phase for each item, in the order of their names, from where it stopped the last time.

        Args:
            phase: its name in `LEFT_S`.
            items: what there is to do.
            of: gives an item's name.
            work: what to do; its errors are logged and counted.
            most: so many in one poll; the next one goes on behind them.
        """
        queue, done = self._in_turn(phase, items, of), 0
        with ThreadPoolExecutor(self._threads) as pool:
            run = pool.map if self._threads > 1 else map
            for some in batched(queue, self._threads, strict=False):
                if (most is not None and done >= most) or not self.has_time(phase):
                    self.stopped[phase] = of(some[0])
                    facts = {"phase": phase, "left": len(queue) - done}
                    logger.warning("stopped, the next poll goes on", extra=facts)
                    return
                done += sum(1 for _ in run(partial(self._one, phase, of, work), some))

    def _in_turn[T](self, phase: str, items: Iterable[T], of: Callable[[T], str]) -> list[T]:
        first, queue = self._begin.get(phase, ""), sorted(items, key=of)
        at = bisect_left(queue, first, key=of)
        return queue[at:] + queue[:at]

    def _one[T](
        self, phase: str, of: Callable[[T], str], work: Callable[[T], object], item: T
    ) -> None:
        self.attempt(phase, partial(work, item), None, of(item))

    def attempt[R](self, phase: str, work: Callable[[], R], otherwise: R, of: str = "") -> R:
        """Do the work. Where it raises, log which item it was about, count it, and go on."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            self._failures.append(of)
            facts = {"phase": phase, "item": of, "problem": type(error).__name__}
            logger.error("passed over", extra=facts)  # noqa: TRY400 - a traceback may quote a prompt
            return otherwise
