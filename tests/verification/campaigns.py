"""All verification campaigns in the order of the table; each runs in its own process."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from tests.verification.chaos import (
    aws_errors,
    clocks,
    concurrency,
    delivery,
    long_outages,
    options,
)
from tests.verification.crash import api_faults, formats, kills
from tests.verification.crash.late_creates import late_creates
from tests.verification.figures import Figures
from tests.verification.fuzz.campaign import campaign as fuzz
from tests.verification.model.campaign import campaign as model
from tests.verification.model.scenarios import ALL

Campaign = Callable[[bool], Figures]
"""Run in full, or a sample; return the figures. Campaigns with one name are added up."""


class _HalfCampaign(Protocol):
    def __call__(self, full: bool, half: int) -> Figures: ...  # noqa: FBT001 - called positionally


def _both_halves(campaign: _HalfCampaign) -> list[partial[Figures]]:
    """Split a campaign into two halves, one for each core."""
    return [partial(campaign, half=half) for half in range(kills.HALVES)]


CRASHES: list[partial[Figures]] = [
    *_both_halves(kills.kills),
    *_both_halves(kills.kills_in_large_job),
    *_both_halves(kills.kills_in_held_job),
    *_both_halves(kills.kills_in_warmed_job),
    *_both_halves(kills.kill_pairs),
    *_both_halves(kills.kills_in_recovery),
    *_both_halves(kills.kills_in_adoption),
    *_both_halves(formats.kills_in_other_formats),
    *_both_halves(kills.call_errors),
    *_both_halves(kills.multipart_errors),
    *_both_halves(kills.freezes),
    *_both_halves(late_creates),
]

FAULTS: list[partial[Figures]] = [
    *_both_halves(api_faults.single_faults),
    *_both_halves(api_faults.fault_pairs),
]

CHAOS: list[partial[Figures]] = [
    *_both_halves(delivery.unreliable_delivery),
    *_both_halves(delivery.unreliable_delivery_in_a_budget),
    *_both_halves(delivery.unreliable_delivery_of_copies),
    *_both_halves(options.options_in_any_order),
    *_both_halves(concurrency.interrupted_once),
    *_both_halves(concurrency.interrupted_with_two_chunks),
    *_both_halves(concurrency.interrupted_while_copying),
    *_both_halves(concurrency.splits),
    *_both_halves(concurrency.refusals),
    *_both_halves(concurrency.adoptions),
    *_both_halves(concurrency.late_answers),
    *_both_halves(concurrency.interrupted_twice),
    *_both_halves(concurrency.all_at_once),
    *_both_halves(concurrency.all_at_once_in_a_budget),
    *_both_halves(aws_errors.random_aws_errors),
    *_both_halves(aws_errors.hour_long_outages),
    *_both_halves(clocks.lambda_timeouts),
    *_both_halves(clocks.clock_skew),
    *_both_halves(long_outages.long_outages),
    *_both_halves(long_outages.long_outages_of_copies),
]

CAMPAIGNS: list[Campaign] = [
    *CRASHES,
    *FAULTS,
    *CHAOS,
    fuzz,
    *(partial(model, scenario) for scenario in reversed(ALL)),  # the longest last
]
