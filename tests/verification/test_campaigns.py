"""A sample of every campaign: each row is answered and paid for once. `make verify` runs all."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import batched

import pytest

from tests.verification.campaigns import CHAOS, CRASHES, FAULTS
from tests.verification.figures import Figures
from tests.verification.runner import merge_shares

HALVES = [*batched([*CRASHES, *FAULTS, *CHAOS], 2, strict=True)]


def name_of(halves: Sequence[partial[Figures]]) -> str:
    return halves[0].func.__name__


@pytest.fixture(autouse=True)
def no_logs() -> Iterator[None]:
    """Silence the stages' logs: thousands of crashes are expected here."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("halves", HALVES, ids=name_of)
def test_promises_1_and_2_hold_in_every_campaign(
    record_property: Callable[[str, object], None], halves: Sequence[partial[Figures]]
) -> None:
    results = merge_shares([campaign(False) for campaign in halves])  # noqa: FBT003 - a sample

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
    is_refused = name_of(halves) == "refusals"  # its only row is rejected, so nothing is billed
    assert all(figures.tried and (figures.billed or is_refused) for figures in results)
