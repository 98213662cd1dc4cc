"""Every fault that can be ordered, by name, and the list of those that are armed."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from local.simulator.errors import ApiError, ControlError

type Option = str | int | float
type Moment = Literal["body", "refuse", "accepted", "answer", "collect", "rows", "stream"]

# Filters that every fault takes; they say which calls it strikes.
FILTERS: Mapping[str, Option] = MappingProxyType(
    {
        "after": 0,  # leave the first so many matching calls alone
        "batch_id": "",  # only calls about this batch
        "workspace": "",  # only calls under this workspace's keys
        "contains": "",  # only creates of which a custom_id or params contains this text
        "more_than": 0,  # only creates (or results) of more requests than this
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Args:
        endpoint: the calls it strikes: create, retrieve, list, results, cancel, delete, or any.
            Faults of the moments refuse and answer take an option ``endpoint`` that says another.
        moment: when: while the body comes in; instead of doing it (refuse); after the batch was
            stored (accepted); in place of the answer to what was done (answer); before
            results are opened (collect); in their rows; in their stream.
        says: what happens, in a sentence.
        options: its own options and their defaults.
    """

    endpoint: str
    moment: Moment
    says: str
    options: Mapping[str, Option] = field(default_factory=dict)


def _refusal(status: int, kind: str, says: str, **options: Option) -> Fault:
    told = {"status": status, "kind": kind, "message": says, "endpoint": "create", **options}
    return Fault("create", "refuse", f"{status} {kind}, and nothing is done: {says}", told)


_FRAMING: Mapping[str, Option] = {"framing": "length", "rows": -1}

FAULTS: Mapping[str, Fault] = {
    # What happens to the answer after the work was done.
    "lost_answer": Fault(
        "create", "answer", "It is done, and the connection closes without an answer.",
        {"endpoint": "create"},
    ),
    "bad_gateway_after_accept": Fault(
        "create", "answer", "It is done, and a proxy answers 502 in HTML.", {"endpoint": "create"}
    ),
    "slow_answer": Fault(
        "create", "answer", "It is done, and the answer comes delay_s seconds late.",
        {"endpoint": "create", "delay_s": 1.0},
    ),
    # Refusals: nothing is done.
    "bad_request": _refusal(400, "invalid_request_error", "This request is refused."),
    "refuse_matching": _refusal(
        400, "invalid_request_error",
        "A create holding a request that contains the text is refused; the message names it.",
        contains="refuse-me",
    ),
    "unauthorized": _refusal(401, "authentication_error", "invalid x-api-key"),
    "billing": _refusal(
        402, "billing_error", "Your credit balance is too low to access the Anthropic API."
    ),
    "forbidden": _refusal(
        403, "permission_error", "Your API key may not use the specified resource."
    ),
    "not_found": _refusal(404, "not_found_error", "Not found"),
    "conflict": _refusal(409, "invalid_request_error", "The request conflicts with another."),
    "too_large": _refusal(
        413, "request_too_large", "Request exceeds the maximum allowed number of bytes."
    ),
    "rate_limited": _refusal(
        429, "rate_limit_error", "This request would exceed your rate limit.", retry_after=1
    ),
    "rate_limited_without_retry_after": _refusal(
        429, "rate_limit_error", "This request would exceed your rate limit."
    ),
    "spend_limit": _refusal(
        429, "rate_limit_error", "You have reached your specified API usage limits.",
        error_code="enforced_spend_limit_reached",
    ),
    "server_error": _refusal(500, "api_error", "Internal server error"),
    "service_unavailable": _refusal(503, "api_error", "Service unavailable"),
    "overloaded": _refusal(529, "overloaded_error", "Overloaded"),
    "retrieve_not_found": _refusal(
        404, "not_found_error", "A good batch is not found.", endpoint="retrieve"
    ),
    "results_not_found": _refusal(
        404, "not_found_error", "Results of a good batch are not found.", endpoint="results"
    ),
    # The body of a create.
    "reset_in_body": Fault(
        "create", "body", "The connection is reset after so many bytes of the request's body.",
        {"bytes": 1},
    ),
    # What becomes of a batch once it is accepted.
    "hidden_from_list": Fault(
        "create", "accepted", "The new batch is missing from that many list calls.",
        {"listings": 1},
    ),
    "foreign_batch": Fault(
        "create", "accepted",
        "A foreign batch appears in the workspace with it (count 0: as many requests).",
        {"count": 0},
    ),
    "canceled_in_console": Fault(
        "create", "accepted", "Somebody cancels the new batch when this share of it is done.",
        {"done": 0.5},
    ),
    "deleted_before_collection": Fault(
        "results", "collect", "The batch is deleted just before its results are fetched."
    ),
    "archived_before_collection": Fault(
        "results", "collect", "The batch is archived just before its results are fetched."
    ),
    # The rows of one download; the next one is good again.
    "row_missing": Fault("results", "rows", "So many rows are missing.", {"rows": 1}),
    "row_doubled": Fault("results", "rows", "So many rows come twice.", {"rows": 1}),
    "row_foreign": Fault("results", "rows", "So many rows of nobody's come first.", {"rows": 1}),
    "unknown_result_type": Fault(
        "results", "rows", "So many rows have a result type nobody has heard of.", {"rows": 1}
    ),
    "unknown_error_type": Fault(
        "results", "rows", "So many rows are errored with a type nobody has heard of.",
        {"rows": 1},
    ),
    # The stream of one download. framing: length, chunked or close; rows: whole rows before the
    # cut (-1: half of them).
    "cut_at_line": Fault(
        "results", "stream", "The download stops between two lines.", _FRAMING
    ),
    "cut_inside_line": Fault(
        "results", "stream", "The download stops in the middle of a line.", _FRAMING
    ),
}  # fmt: skip


def nothing_holds(_text: str) -> str | None:
    """Stand in for the search in calls that carry no requests."""
    return None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a fault may look at before it strikes.

    Args:
        find: says which request contains a text, in words, or None.
    """

    endpoint: str
    workspace: str
    batch_id: str = ""
    requests: int = 0
    find: Callable[[str], str | None] = nothing_holds


class Armed:
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
            key: _like(default, options.get(key, default), key) for key, default in known.items()
        }
        self.left = times
        self.spared = int(self.options["after"])

    def strikes(self, moment: Moment, facts: Facts) -> bool:
        """Whether this call is one it waits for; counts it."""
        if self.fault.moment != moment or not self._matches(facts):
            return False
        if self.spared:
            self.spared -= 1
            return False
        self.left -= 1
        return True

    @property
    def spent(self) -> bool:
        """No more strikes left; ``times=0`` never is."""
        return self.times > 0 and self.left <= 0

    def number(self, option: str) -> float:
        """An option that is a number."""
        return float(self.options[option])

    def error(self, facts: Facts) -> ApiError:
        """The refusal that it stands for."""
        message = str(self.options["message"])
        if contains := self.options["contains"]:
            message = f"{facts.find(str(contains))}: refused, since it contains {contains!r}"
        code, wait = self.options.get("error_code"), self.options.get("retry_after")
        return ApiError(
            int(self.options["status"]),
            str(self.options["kind"]),
            message,
            headers={} if wait is None else {"retry-after": str(wait)},
            details={"error_code": code} if code else None,
        )

    def _matches(self, facts: Facts) -> bool:
        wanted = self.options
        endpoint = wanted.get("endpoint", self.fault.endpoint)
        return (
            endpoint in {facts.endpoint, "any"}
            and wanted["workspace"] in {"", facts.workspace}
            and wanted["batch_id"] in {"", facts.batch_id}
            and (not wanted["more_than"] or facts.requests > self.number("more_than"))
            and (not wanted["contains"] or facts.find(str(wanted["contains"])) is not None)
        )


def _like(default: Option, value: Option, key: str) -> Option:
    """The value as what its default is; a whole number does where seconds or shares are asked."""
    right = str if isinstance(default, str) else (int, float)
    if isinstance(value, bool) or not isinstance(value, right):
        kind = "text" if isinstance(default, str) else "a number"
        message = f"the option {key} is {kind}, not {value!r}"
        raise ControlError(message)
    return value


class Faults:
    """The armed faults; each is used up as it happens."""

    def __init__(self) -> None:
        self._armed: list[Armed] = []
        self._lock = threading.Lock()

    def arm(self, name: str, times: int, options: Mapping[str, Option]) -> None:
        """Order a fault; ``times=0`` is until the next reset."""
        armed = Armed(name, times, options)
        with self._lock:
            self._armed.append(armed)

    def first(self, moment: Moment, facts: Facts) -> Armed | None:
        """The fault that strikes here, if any: of several, the one that was armed first."""
        with self._lock:
            struck = next((a for a in self._armed if a.strikes(moment, facts)), None)
            self._sweep()
        return struck

    def every(self, moment: Moment, facts: Facts) -> list[Armed]:
        """All that strike here, for moments at which several can."""
        with self._lock:
            struck = [armed for armed in self._armed if armed.strikes(moment, facts)]
            self._sweep()
        return struck

    def waiting(self) -> list[dict[str, object]]:
        """What is still armed."""
        with self._lock:
            return [{"name": a.name, "times": a.times, "left": a.left} for a in self._armed]

    def clear(self) -> None:
        """Disarm everything."""
        with self._lock:
            self._armed.clear()

    def _sweep(self) -> None:
        self._armed = [armed for armed in self._armed if not armed.spent]
