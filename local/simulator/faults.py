"""Armed faults: which calls they strike, and how they answer."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from local.simulator.catalog import FAULTS, FILTERS, Moment, Option
from local.simulator.errors import ApiError, ControlError


def find_nothing(_text: str) -> str | None:
    """Find nothing: the default search of calls without requests."""
    return None


def count_nothing() -> int:
    """Return 0: the default of an unused counter."""
    return 0


@dataclass(frozen=True, slots=True)
class CallFacts:
    """The facts about a call that filters match.

    Args:
        find: describes the request that contains a text, or returns None.
        queued: counts the requests in processing, without those of this call.
        recent: counts the calls of the last minute, including this one.
    """

    endpoint: str
    workspace: str
    batch_id: str = ""
    requests: int = 0
    find: Callable[[str], str | None] = find_nothing
    queued: Callable[[], int] = count_nothing
    recent: Callable[[], int] = count_nothing


class ArmedFault:
    """A fault that strikes the next calls that match it."""

    def __init__(self, name: str, times: int, options: Mapping[str, Option]) -> None:
        if name not in FAULTS:
            message = f"there is no fault {name!r}; choose one of {', '.join(sorted(FAULTS))}"
            raise ControlError(message)
        self.name = name
        self.fault = FAULTS[name]
        known = {**FILTERS, **self.fault.options}
        if unknown := set(options) - set(known):
            message = f"{name} has no option {min(unknown)!r}; choose from {', '.join(known)}"
            raise ControlError(message)
        self.times = times
        self.options = {
            key: _same_type_as(default, options.get(key, default), key)
            for key, default in known.items()
        }
        self.strikes_left = times
        self.skips_left = int(self.options["after"])

    def strikes(self, moment: Moment, facts: CallFacts) -> bool:
        """Return whether it strikes this call, and count the strike."""
        if self.fault.moment != moment or not self._matches(facts):
            return False
        if self.skips_left:
            self.skips_left -= 1
            return False
        self.strikes_left -= 1
        return True

    @property
    def spent(self) -> bool:
        """Whether no strikes are left; never for ``times=0``."""
        return self.times > 0 and self.strikes_left <= 0

    def number(self, option: str) -> float:
        """Return a numeric option."""
        return float(self.options[option])

    def error(self, facts: CallFacts) -> ApiError:
        """Return the error that it answers with."""
        message = str(self.options["message"])
        if self.name == "refuse_matching":
            contains = self.options["contains"]
            message = f"{facts.find(str(contains))}: refused because it contains {contains!r}"
        code, wait = self.options.get("error_code"), self.options.get("retry_after")
        return ApiError(
            int(self.options["status"]),
            str(self.options["kind"]),
            message,
            headers={} if wait is None else {"retry-after": str(wait)},
            details={"error_code": code} if code else None,
        )

    def _matches(self, facts: CallFacts) -> bool:
        options = self.options
        endpoint = options.get("endpoint", self.fault.endpoint)
        return (
            endpoint in {facts.endpoint, "any"}
            and options["workspace"] in {"", facts.workspace}
            and options["batch_id"] in {"", facts.batch_id}
            and self._exceeds("more_than", lambda: facts.requests)
            and self._exceeds("queue_over", lambda: facts.queued() + facts.requests)
            and self._exceeds("calls_over", facts.recent)
            and (not options["contains"] or facts.find(str(options["contains"])) is not None)
        )

    def _exceeds(self, limit: str, count: Callable[[], int]) -> bool:
        """Return whether the count exceeds the filter's limit; always true without a limit."""
        return not self.options[limit] or count() > self.number(limit)


def _same_type_as(default: Option, value: Option, key: str) -> Option:
    """Return the value if it has the type of its default; an integer also counts as a float."""
    accepted_types = str if isinstance(default, str) else (int, float)
    if isinstance(value, bool) or not isinstance(value, accepted_types):
        kind = "text" if isinstance(default, str) else "a number"
        message = f"the option {key} is {kind}, not {value!r}"
        raise ControlError(message)
    return value


class Faults:
    """The armed faults; each is removed once it is spent."""

    def __init__(self) -> None:
        self._armed: list[ArmedFault] = []
        self._lock = threading.Lock()

    def arm(self, name: str, times: int, options: Mapping[str, Option]) -> None:
        """Arm a fault; with ``times=0`` it stays until the next reset."""
        armed = ArmedFault(name, times, options)
        with self._lock:
            self._armed.append(armed)

    def first(self, moment: Moment, facts: CallFacts) -> ArmedFault | None:
        """Return the fault that strikes this call: the one armed first, or None."""
        with self._lock:
            striking = next((a for a in self._armed if a.strikes(moment, facts)), None)
            self._sweep()
        return striking

    def all_striking(self, moment: Moment, facts: CallFacts) -> list[ArmedFault]:
        """Return all faults that strike this call, for moments that allow several."""
        with self._lock:
            striking = [armed for armed in self._armed if armed.strikes(moment, facts)]
            self._sweep()
        return striking

    def still_armed(self) -> list[dict[str, object]]:
        """Return the faults that are still armed."""
        with self._lock:
            return [
                {"name": a.name, "times": a.times, "left": a.strikes_left} for a in self._armed
            ]

    def clear(self) -> None:
        """Disarm everything."""
        with self._lock:
            self._armed.clear()

    def _sweep(self) -> None:
        self._armed = [armed for armed in self._armed if not armed.spent]
