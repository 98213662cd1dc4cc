"""The armed faults: which calls they strike, and what they answer."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from local.simulator.catalog import FAULTS, FILTERS, Moment, Option
from local.simulator.errors import ApiError, ControlError


def find_nothing(_text: str) -> str | None:
    """Stand in for the search in calls that carry no requests."""
    return None


def count_nothing() -> int:
    """Stand in for a count that no filter asks for."""
    return 0


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What a fault may look at before it strikes.

    Args:
        find: says which request contains a text, in words, or None.
        queued: counts the requests in processing, without these.
        recent: counts the calls of the last minute, with this one.
    """

    endpoint: str
    workspace: str
    batch_id: str = ""
    requests: int = 0
    find: Callable[[str], str | None] = find_nothing
    queued: Callable[[], int] = count_nothing
    recent: Callable[[], int] = count_nothing


class ArmedFault:
    """A fault that waits for its call."""

    def __init__(self, name: str, times: int, options: Mapping[str, Option]) -> None:
        if name not in FAULTS:
            message = f"there is no fault {name!r}: take one of {', '.join(sorted(FAULTS))}"
            raise ControlError(message)
        self.name = name
        self.fault = FAULTS[name]
        known = {**FILTERS, **self.fault.options}
        if unknown := set(options) - set(known):
            message = f"{name} has no option {min(unknown)!r}: take some of {', '.join(known)}"
            raise ControlError(message)
        self.times = times
        self.options = {
            key: _same_type_as(default, options.get(key, default), key)
            for key, default in known.items()
        }
        self.strikes_left = times
        self.skips_left = int(self.options["after"])

    def strikes(self, moment: Moment, facts: CallFacts) -> bool:
        """Whether this call is one it waits for; counts it."""
        if self.fault.moment != moment or not self._matches(facts):
            return False
        if self.skips_left:
            self.skips_left -= 1
            return False
        self.strikes_left -= 1
        return True

    @property
    def spent(self) -> bool:
        """No more strikes left; ``times=0`` never is."""
        return self.times > 0 and self.strikes_left <= 0

    def number(self, option: str) -> float:
        """An option that is a number."""
        return float(self.options[option])

    def error(self, facts: CallFacts) -> ApiError:
        """The refusal that it stands for."""
        message = str(self.options["message"])
        if self.name == "refuse_matching":
            contains = self.options["contains"]
            message = f"{facts.find(str(contains))}: refused, since it contains {contains!r}"
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
        """Whether the count is over the filter's limit; always without one."""
        return not self.options[limit] or count() > self.number(limit)


def _same_type_as(default: Option, value: Option, key: str) -> Option:
    """The value as what its default is; a whole number does where seconds or shares are asked."""
    accepted_types = str if isinstance(default, str) else (int, float)
    if isinstance(value, bool) or not isinstance(value, accepted_types):
        kind = "text" if isinstance(default, str) else "a number"
        message = f"the option {key} is {kind}, not {value!r}"
        raise ControlError(message)
    return value


class Faults:
    """The armed faults; each is used up as it happens."""

    def __init__(self) -> None:
        self._armed: list[ArmedFault] = []
        self._lock = threading.Lock()

    def arm(self, name: str, times: int, options: Mapping[str, Option]) -> None:
        """Order a fault; ``times=0`` is until the next reset."""
        armed = ArmedFault(name, times, options)
        with self._lock:
            self._armed.append(armed)

    def first(self, moment: Moment, facts: CallFacts) -> ArmedFault | None:
        """The fault that strikes here, if any: of several, the one that was armed first."""
        with self._lock:
            striking = next((a for a in self._armed if a.strikes(moment, facts)), None)
            self._sweep()
        return striking

    def all_striking(self, moment: Moment, facts: CallFacts) -> list[ArmedFault]:
        """All that strike here, for moments at which several can."""
        with self._lock:
            striking = [armed for armed in self._armed if armed.strikes(moment, facts)]
            self._sweep()
        return striking

    def still_armed(self) -> list[dict[str, object]]:
        """What is still armed."""
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
