"""Runs campaigns, two at a time, each in a process of its own, and adds up what they say."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context

from tests.verification.campaigns import Campaign
from tests.verification.figures import Figures

AT_ONCE = 2


def run(campaigns: Sequence[Campaign], *, full: bool) -> Iterator[Figures]:
    """Run the campaigns; gives the figures of each as it ends."""
    with _quiet(), ProcessPoolExecutor(AT_ONCE, get_context("spawn")) as pool:
        for done in as_completed([pool.submit(campaign, full) for campaign in campaigns]):
            yield done.result()


def added(found: Sequence[Figures]) -> list[Figures]:
    """Add up the figures of each campaign that was cut in pieces; what was found stays as it is."""
    total: dict[str, Figures] = {}
    for one in found:
        if one.campaign not in total:
            total[one.campaign] = replace(one, broken=[*one.broken])
            continue
        sum_ = total[one.campaign]
        sum_.calls = max(sum_.calls, one.calls)
        sum_.tried += one.tried
        sum_.struck_twice += one.struck_twice
        sum_.recovered += one.recovered
        sum_.billed += one.billed
        sum_.undelivered += one.undelivered
        sum_.rows_lost += one.rows_lost
        sum_.paid_twice += one.paid_twice
        sum_.duplicates += one.duplicates
        sum_.longest_ticks = max(sum_.longest_ticks, one.longest_ticks)
        sum_.seconds += one.seconds
        sum_.broken += one.broken
    return [*total.values()]


@contextmanager
def _quiet() -> Iterator[None]:
    """Let the stages log nothing: thousands of crashes are no news here."""
    before = os.environ.get("POWERTOOLS_LOG_LEVEL")
    os.environ["POWERTOOLS_LOG_LEVEL"] = "CRITICAL"
    try:
        yield
    finally:
        if before is None:
            del os.environ["POWERTOOLS_LOG_LEVEL"]
        else:
            os.environ["POWERTOOLS_LOG_LEVEL"] = before
