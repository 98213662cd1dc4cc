"""Run campaigns in two processes, and add up their figures."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context

from tests.verification.campaigns import Campaign
from tests.verification.figures import Figures

PROCESSES = 2


def run(campaigns: Sequence[Campaign], *, full: bool) -> Iterator[Figures]:
    """Run the campaigns; yield the figures of each as it ends."""
    with _logging_disabled(), ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(campaign, full) for campaign in campaigns]):
            yield future.result()


def merge_shares(shares: Sequence[Figures]) -> list[Figures]:
    """Add up the figures of campaigns that were run in shares; the shares stay unchanged."""
    merged: dict[str, Figures] = {}
    for share in shares:
        if share.campaign not in merged:
            merged[share.campaign] = replace(share, violations=[*share.violations])
            continue
        campaign_total = merged[share.campaign]
        campaign_total.calls = max(campaign_total.calls, share.calls)
        campaign_total.tried += share.tried
        campaign_total.killed_twice += share.killed_twice
        campaign_total.recovered += share.recovered
        campaign_total.billed += share.billed
        campaign_total.undelivered += share.undelivered
        campaign_total.rows_lost += share.rows_lost
        campaign_total.paid_twice += share.paid_twice
        campaign_total.duplicates += share.duplicates
        campaign_total.longest_ticks = max(campaign_total.longest_ticks, share.longest_ticks)
        campaign_total.seconds += share.seconds
        campaign_total.violations += share.violations
    return [*merged.values()]


@contextmanager
def _logging_disabled() -> Iterator[None]:
    """Silence the stages' logs: thousands of crashes are expected here."""
    previous_level = os.environ.get("POWERTOOLS_LOG_LEVEL")
    os.environ["POWERTOOLS_LOG_LEVEL"] = "CRITICAL"
    try:
        yield
    finally:
        if previous_level is None:
            del os.environ["POWERTOOLS_LOG_LEVEL"]
        else:
            os.environ["POWERTOOLS_LOG_LEVEL"] = previous_level
