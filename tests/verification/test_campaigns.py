"""Whatever befalls a job, at any call: every row is still answered, and paid once. `make verify` has all of it."""

from collections.abc import Callable, Sequence

import pytest

from tests.verification.campaigns import DISORDER, FAULTS, STRIKES, Campaign
from tests.verification.runner import added, run


@pytest.mark.parametrize(
    "campaigns", [STRIKES, FAULTS, DISORDER], ids=["strikes", "faults", "disorder"]
)
def test_promises_1_and_2_hold_whatever_befalls_a_job(
    record_property: Callable[[str, object], None], campaigns: Sequence[Campaign]
) -> None:
    """A fixed sample of every campaign; `make verify` runs them in full."""
    found = added([*run(campaigns, full=False)])

    for one in found:
        record_property(one.campaign, f"{one.calls} calls, {one.tried} tried, {one.seconds:.0f} s")
    assert [wrong for one in found for wrong in one.broken] == []
    assert [(one.tried, one.undelivered, one.rows_lost, one.paid_twice) for one in found] == [
        (one.recovered, 0, 0, 0) for one in found
    ]
    assert all(one.tried and one.billed for one in found)
