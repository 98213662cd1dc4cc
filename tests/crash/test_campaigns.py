"""Whatever befalls a job, at any call: every row is still answered, and paid once. `make crash` has all of it."""

from collections.abc import Callable, Sequence

import pytest

from tests.crash.campaigns import DISORDER, FAULTS, STRIKES, Campaign
from tests.crash.figures import Figures
from tests.crash.runner import added, run


@pytest.mark.parametrize(
    "campaigns", [STRIKES, FAULTS, DISORDER], ids=["strikes", "faults", "disorder"]
)
def test_promises_1_and_2_hold_whatever_befalls_a_job(
    record_property: Callable[[str, object], None], campaigns: Sequence[Campaign]
) -> None:
    """Killed at every single call; a sample of all else: pairs, errors, faults, disorder."""
    found = added([*run(campaigns, full=False)])

    for one in found:
        record_property(one.campaign, f"{one.calls} calls, {one.tried} tried, {one.seconds:.0f} s")
    assert [wrong for one in found for wrong in one.broken] == []
    assert [(one.tried, one.rows_lost, one.paid_twice) for one in found] == [
        (one.recovered, 0, 0) for one in found
    ]
    assert all(one.tried for one in found)
    assert [one for one in found if _is_short(one)] == []


def _is_short(figures: Figures) -> bool:
    return figures.campaign == "killed at every call" and figures.tried != 2 * figures.calls
