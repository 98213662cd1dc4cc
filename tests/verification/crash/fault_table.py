"""Every fault of the simulator: how to arm it, and how it changes the rows of its batch.

Most faults only cost time. The others list the outcomes that they change; every other row is
byte for byte as in the baseline, even in every pair of faults.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from local.simulator.catalog import Option
from tests.verification.crash.crash_harness import CrashHarness


@dataclass(frozen=True)
class FaultCase:
    """One fault as the campaigns use it.

    Attributes:
        options: The fault's own options.
        times: How often it strikes; 0 means always.
        changed_rows: The number of rows that it changes when armed alone, by outcome.
        changed_rows_in_pairs: Further changes that are possible with another fault.
        pauses_sending: Whether it pauses sending, which later resumes automatically.
        loses_create_answer: Whether a batch exists that the relay does not know of.
        loses_results: Whether a batch and its results no longer exist.
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
        """Return how many rows may change in a pair of faults, by outcome."""
        return Counter(self.changed_rows) | Counter(self.changed_rows_in_pairs)


# A body that is too large (413) is split. A second fault may let the error strike a single row,
# which is rejected, or a later attempt, whose row keeps its first result.
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
    # The relay never retrieves a single batch: it learns of one from the listing.
    "retrieve_not_found": FaultCase({"endpoint": "list"}, times=3),
    "results_not_found": FaultCase(times=10),
    "reset_in_body": FaultCase(),
    "hidden_from_list": FaultCase({"listings": 4}),
    "foreign_batch": FaultCase(),
    # A cancellation in the Console is deliberate: canceled rows are delivered, not sent again.
    "canceled_in_console": FaultCase({"done": 0.5}, changed_rows={"canceled": 1}),
    # The two rows of the batch get an error; all others have their results.
    "deleted_before_collection": FaultCase(
        changed_rows={"errored results_gone": 2}, loses_results=True
    ),
    "archived_before_collection": FaultCase(
        changed_rows={"errored results_gone": 2}, loses_results=True
    ),
    "row_missing": FaultCase(times=2),
    "row_doubled": FaultCase(times=2),
    "row_unreadable": FaultCase(times=2),
    "row_foreign": FaultCase(times=2),
    # An unknown type is passed through unchanged.
    "unknown_result_type": FaultCase(changed_rows={"postponed": 1}),
    "unknown_error_type": FaultCase(changed_rows={"errored unheard_of_error": 1}),
    "cut_at_line": FaultCase({"framing": "close"}, times=2),
    "cut_inside_line": FaultCase({"framing": "close"}, times=2),
}


def arm_fault(relay: CrashHarness, name: str) -> None:
    """Arm a fault in the simulator."""
    case = CASES[name]
    relay.simulator.arm(name, case.times, **case.options)


def unused_faults(relay: CrashHarness) -> list[str]:
    """Return the armed faults that did not strike as often as they should."""
    armed: list[dict[str, object]] = relay.simulator.accounting()["armed"]  # type: ignore[assignment]
    return [
        f"fault never struck: {fault['name']}"
        for fault in armed
        if fault["times"] or fault["left"] == 0
    ]


def unavoidable_repeats(*names: str) -> int:
    """Return how many requests may be paid for twice.

    If a create lost its answer, and its batch is deleted or archived before its results are read,
    nothing identifies that batch: it is missing from the listing, or looks like a foreign one. Its
    two rows can only be answered by sending them again.
    """
    cases = [CASES[name] for name in names]
    return (
        2
        if any(case.loses_create_answer for case in cases)
        and any(case.loses_results for case in cases)
        else 0
    )
