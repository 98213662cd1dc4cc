"""Run the phases of one poll, item by item, each phase within its share of the time.

An item that fails does not stop the others. A phase that runs out of time stops; the next poll
resumes there, so every item is reached in the end.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import batched

from aws_lambda_powertools import Logger

from functions.adapters import tracing
from functions.adapters.log_context import log_context
from functions.model.cost_ledger import CostEntry
from functions.model.events import Event
from functions.model.items.batch import Batch
from functions.model.items.job import Job
from functions.model.records import MarkerRequest, Owner

POLL_TIMEOUT_S = 120.0
"""Lambda timeout of poll, in seconds."""
MIN_TIME_LEFT_S = {
    "read": 84, "wake submit": 76, "wake results": 76, "listing": 68, "retrieve": 64, "keys": 62, "record states": 60,
    "cancel duplicate": 56, "cancel": 53, "recover": 50, "quarantine": 48, "ready submit": 46, "ready results": 46,
    "events": 44, "jobs file": 42, "status files": 40, "owners": 34, "ledger": 32, "ledger entries": 30,
    "reconcile": 28, "ledger check": 26,
}  # fmt: skip
"""Seconds that must be left for a phase to begin another item; the rest belongs to later phases.

The last two wait longest for one answer: `reconcile` 25 seconds, `ledger check` 15.
"""
logger = Logger(child=True)

type PhaseItem = Job | Batch | MarkerRequest | Owner | CostEntry | Event


def place(item: PhaseItem) -> str:
    """Return the name of an item; names sort in the order of the index."""
    if isinstance(item, Event):
        return f"EVENT#{item.time} {item.subject}/{item.id}"
    return f"{item.status_key} {item.job}/{item.item}"


class Phases:
    """The phases of one poll.

    Args:
        time_left_s: returns the seconds until the Lambda timeout.
        threads: number of items processed concurrently.
        sleep: waits for a number of seconds.

    Attributes:
        stopped: for each phase that ran out of time, the name of its first unprocessed item.
    """

    def __init__(
        self,
        time_left_s: Callable[[], float] = lambda: POLL_TIMEOUT_S,
        threads: int = 1,
        sleep: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._time_left_s, self._threads, self.sleep = time_left_s, threads, sleep
        self._resume_at: Mapping[str, str] = {}
        self._failures: list[str] = []
        self.stopped: dict[str, str] = {}

    @property
    def failures(self) -> int:
        """Return the number of items and whole phases that raised an error."""
        return len(self._failures)

    def resume_from(self, stopped: Mapping[str, str]) -> None:
        """Start each phase at the item where the previous poll stopped it."""
        self._resume_at = stopped

    def has_time(self, phase: str) -> bool:
        """Return True if a phase may begin another item."""
        return self._time_left_s() >= MIN_TIME_LEFT_S[phase]

    def each[T](
        self,
        phase: str,
        items: Iterable[T],
        name_of: Callable[[T], str],
        work: Callable[[T], object],
        max_items: int | None = None,
    ) -> None:
        """Call `work` for each item, in the order of names, from where the previous poll stopped.

        Args:
            phase: a key of `MIN_TIME_LEFT_S`.
            items: the items of this phase.
            name_of: returns the name of an item.
            work: processes one item; its errors are logged and counted.
            max_items: stop after this many; the next poll continues after them.
        """
        queue, done = self._rotate(phase, items, name_of), 0
        if not queue:
            return
        with tracing.traced(phase), tracing.thread_pool(self._threads) as pool:
            run = pool.map if self._threads > 1 else map
            for group in batched(queue, self._threads, strict=False):
                if (max_items is not None and done >= max_items) or not self.has_time(phase):
                    self.stopped[phase] = name_of(group[0])
                    logger.warning(
                        "phase stopped, the next poll resumes it",
                        extra={"phase": phase, "left": len(queue) - done},
                    )
                    return
                done += sum(1 for _ in run(partial(self._process, phase, name_of, work), group))

    def _rotate[T](self, phase: str, items: Iterable[T], name_of: Callable[[T], str]) -> list[T]:
        """Return the items sorted by name, rotated to begin where the previous poll stopped."""
        resume_at, queue = self._resume_at.get(phase, ""), sorted(items, key=name_of)
        index = bisect_left(queue, resume_at, key=name_of)
        return queue[index:] + queue[:index]

    def _process[T](
        self, phase: str, name_of: Callable[[T], str], work: Callable[[T], object], item: T
    ) -> None:
        with log_context(item):
            self._attempt(phase, partial(work, item), None, name_of(item))

    def attempt[R](self, phase: str, work: Callable[[], R], default: R, item_name: str = "") -> R:
        """Return the result of `work`. If it raises, log and count the error; return `default`.

        Without `item_name`, the work is a whole phase, and is traced as a step.
        """
        if item_name:
            return self._attempt(phase, work, default, item_name)
        with tracing.traced(phase):
            return self._attempt(phase, work, default, item_name)

    def _attempt[R](self, phase: str, work: Callable[[], R], default: R, item_name: str) -> R:
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - no error of one item may stop the others
            self._failures.append(item_name)
            facts = {"phase": phase, "item": item_name, "problem": type(error).__name__}
            logger.error("passed over", extra=facts)  # noqa: TRY400 - a traceback may quote a prompt
            return default
