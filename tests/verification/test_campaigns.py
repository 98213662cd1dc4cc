"""A sample of every campaign: each row is answered and paid for once. `make verify` runs all."""

from collections.abc import Callable, Sequence

import pytest

from tests.verification.campaigns import CHAOS, CRASHES, FAULTS, Campaign
from tests.verification.runner import merge_shares, run


@pytest.mark.parametrize("campaigns", [CRASHES, FAULTS, CHAOS], ids=["crashes", "faults", "chaos"])
def test_promises_1_and_2_hold_in_every_campaign(
    record_property: Callable[[str, object], None], campaigns: Sequence[Campaign]
) -> None:
    results = merge_shares([*run(campaigns, full=False)])

    for figures in results:
        record_property(
            figures.campaign,
            f"{figures.calls} calls, {figures.tried} tried, {figures.seconds:.0f} s",
        )
    assert [problem for figures in results for problem in figures.violations] == []
    assert [
        (figures.tried, figures.undelivered, figures.rows_lost, figures.paid_twice)
        for figures in results
    ] == [(figures.recovered, 0, 0, 0) for figures in results]
    assert all(figures.tried and figures.billed for figures in results)
