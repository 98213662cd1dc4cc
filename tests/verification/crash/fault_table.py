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
class FaultCase:
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
    changed_rows: Mapping[str, int] = field(default_factory=dict)
    changed_rows_in_pairs: Mapping[str, int] = field(default_factory=dict)
    pauses_sending: bool = False
    loses_create_answer: bool = False
    loses_results: bool = False

    @property
    def max_changed_rows(self) -> Counter[str]:
        """How many rows may end otherwise in a pair, by how they do."""
        return Counter(self.changed_rows) | Counter(self.changed_rows_in_pairs)


# A body that is too large (413) is halved; a second fault may let it strike a single row, which is rejected,
# or a later attempt, whose row keeps the result of the first.
_HALVED = FaultCase(changed_rows_in_pairs={"rejected refused": 1, "expired": 1})

CASES: Mapping[str, FaultCase] = {
    "lost_answer": FaultCase(loses_create_answer=True),
    "bad_gateway_after_accept": FaultCase(loses_create_answer=True),
    "overloaded_after_accept": FaultCase(loses_create_answer=True),
    "slow_answer": FaultCase({"delay_s": 0.05}),
    "bad_request": FaultCase(pauses_sending=True),
    "too_large": _HALVED,
    "refuse_matching": FaultCase(
        {"contains": "march 2"}, times=0, changed_rows={"rejected refused": 1}
    ),
    "unauthorized": FaultCase(pauses_sending=True),
    "billing": FaultCase(pauses_sending=True),
    "forbidden": FaultCase(pauses_sending=True),
    "not_found": FaultCase(pauses_sending=True),
    "spend_limit": FaultCase(times=3, pauses_sending=True),
    "conflict": FaultCase(),
    "rate_limited": FaultCase({"retry_after": 600}),
    "rate_limited_without_retry_after": FaultCase(),
    "ramp_limit": FaultCase(),
    "server_error": FaultCase(),
    "service_unavailable": FaultCase(),
    "overloaded": FaultCase(),
    # Nobody here retrieves a single batch: what is known of one comes from the listing.
    "retrieve_not_found": FaultCase({"endpoint": "list"}, times=3),
    "results_not_found": FaultCase(times=10),
    "reset_in_body": FaultCase(),
    "hidden_from_list": FaultCase({"listings": 4}),
    "foreign_batch": FaultCase(),
    # Whoever cancels in the Console meant it: what was not done is delivered as canceled, and not sent again.
    "canceled_in_console": FaultCase({"done": 0.5}, changed_rows={"canceled": 1}),
    # The two rows of that batch end with a sentence; all else lives.
    "deleted_before_collection": FaultCase(
        changed_rows={"errored results_gone": 2}, loses_results=True
    ),
    "archived_before_collection": FaultCase(
        changed_rows={"errored results_gone": 2}, loses_results=True
    ),
    "row_missing": FaultCase(times=2),
    "row_doubled": FaultCase(times=2),
    "row_foreign": FaultCase(times=2),
    # What nobody has heard of is passed through as it came.
    "unknown_result_type": FaultCase(changed_rows={"postponed": 1}),
    "unknown_error_type": FaultCase(changed_rows={"errored unheard_of_error": 1}),
    "cut_at_line": FaultCase({"framing": "close"}, times=2),
    "cut_inside_line": FaultCase({"framing": "close"}, times=2),
}


def arm_fault(relay: CrashHarness, name: str) -> None:
    """Order a fault."""
    case = CASES[name]
    relay.simulator.arm(name, case.times, **case.options)


def unused_faults(relay: CrashHarness) -> list[str]:
    """Name the faults that were ordered, and did not strike as often as they should have."""
    armed: list[dict[str, object]] = relay.simulator.accounting()["armed"]  # type: ignore[assignment]
    return [
        f"never met: {fault['name']}" for fault in armed if fault["times"] or fault["left"] == 0
    ]


def unavoidable_repeats(*names: str) -> int:
    """Say how many requests may be paid for twice.

    A batch whose create lost its answer, and which is deleted or archived before one line of its results could be
    read, can be known by nobody: it is absent from the list, or it cannot be told from a stranger's. It is
    sent again, which is the only way to its answers; the two rows of one batch are then paid for twice.
    """
    cases = [CASES[name] for name in names]
    return (
        2
        if any(case.loses_create_answer for case in cases)
        and any(case.loses_results for case in cases)
        else 0
    )
