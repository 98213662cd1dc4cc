"""Every fault of the simulator: how it is armed, and what becomes of the rows of the batch that it strikes.

Most cost time and nothing else. Those that change how rows end say so here; all other rows are byte for byte what
they would have been, also in every pair.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from local.simulator.catalog import Option
from tests.verification.crash.crash_harness import CrashHarness


@dataclass(frozen=True)
class Case:
    """A fault, as it is tried.

    Attributes:
        options: its own.
        times: how often it strikes; 0 is for ever.
        rows: how many rows end otherwise, and how, where it strikes alone.
        may: the same together with another fault, where that is something else.
        pauses: whether sending stops for it, and goes on by itself.
        unconfirmed: a batch exists, and we do not know of it.
        gone: a batch and its results are no more.
    """

    options: Mapping[str, Option] = field(default_factory=dict)
    times: int = 1
    rows: Mapping[str, int] = field(default_factory=dict)
    may: Mapping[str, int] = field(default_factory=dict)
    pauses: bool = False
    unconfirmed: bool = False
    gone: bool = False

    @property
    def most(self) -> Counter[str]:
        """How many rows may end otherwise in a pair, by how they do."""
        return Counter(self.rows) | Counter(self.may)


# A body that is too large (413) is halved; a second fault may let it strike a single row, which is rejected,
# or a later attempt, whose row keeps the result of the first.
_HALVED = Case(may={"rejected refused": 1, "expired": 1})

CASES: Mapping[str, Case] = {
    "lost_answer": Case(unconfirmed=True),
    "bad_gateway_after_accept": Case(unconfirmed=True),
    "overloaded_after_accept": Case(unconfirmed=True),
    "slow_answer": Case({"delay_s": 0.05}),
    "bad_request": Case(pauses=True),
    "too_large": _HALVED,
    "refuse_matching": Case({"contains": "march 2"}, times=0, rows={"rejected refused": 1}),
    "unauthorized": Case(pauses=True),
    "billing": Case(pauses=True),
    "forbidden": Case(pauses=True),
    "not_found": Case(pauses=True),
    "spend_limit": Case(times=3, pauses=True),
    "conflict": Case(),
    "rate_limited": Case({"retry_after": 600}),
    "rate_limited_without_retry_after": Case(),
    "ramp_limit": Case(),
    "server_error": Case(),
    "service_unavailable": Case(),
    "overloaded": Case(),
    # Nobody here retrieves a single batch: what is known of one comes from the listing.
    "retrieve_not_found": Case({"endpoint": "list"}, times=3),
    "results_not_found": Case(times=10),
    "reset_in_body": Case(),
    "hidden_from_list": Case({"listings": 4}),
    "foreign_batch": Case(),
    # Whoever cancels in the Console meant it: what was not done is delivered as canceled, and not sent again.
    "canceled_in_console": Case({"done": 0.5}, rows={"canceled": 1}),
    # The two rows of that batch end with a sentence; all else lives.
    "deleted_before_collection": Case(rows={"errored results_gone": 2}, gone=True),
    "archived_before_collection": Case(rows={"errored results_gone": 2}, gone=True),
    "row_missing": Case(times=2),
    "row_doubled": Case(times=2),
    "row_foreign": Case(times=2),
    # What nobody has heard of is passed through as it came.
    "unknown_result_type": Case(rows={"postponed": 1}),
    "unknown_error_type": Case(rows={"errored unheard_of_error": 1}),
    "cut_at_line": Case({"framing": "close"}, times=2),
    "cut_inside_line": Case({"framing": "close"}, times=2),
}


def arm(relay: CrashHarness, name: str) -> None:
    """Order a fault."""
    case = CASES[name]
    relay.simulator.arm(name, case.times, **case.options)


def unmet(relay: CrashHarness) -> list[str]:
    """Name the faults that were ordered, and did not strike as often as they should have."""
    armed: list[dict[str, object]] = relay.simulator.accounting()["armed"]  # type: ignore[assignment]
    return [f"never met: {one['name']}" for one in armed if one["times"] or one["left"] == 0]


def unavoidable(*names: str) -> int:
    """Say how many requests may be paid for twice.

    A batch whose create lost its answer, and which is deleted or archived before one line of its results could be
    read, can be known by nobody: it is absent from the list, or it cannot be told from a stranger's. It is
    sent again, which is the only way to its answers; the two rows of one batch are then paid for twice.
    """
    cases = [CASES[name] for name in names]
    return 2 if any(one.unconfirmed for one in cases) and any(one.gone for one in cases) else 0
