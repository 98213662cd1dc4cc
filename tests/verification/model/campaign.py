"""The model as a campaign: all runs of small jobs with one disturbance, or two in full."""

import time

from tests.verification.figures import Figures
from tests.verification.model.scenarios import Scenario
from tests.verification.model.search import Search, SearchResult


def max_disturbances(scenario: Scenario, *, full: bool) -> int:
    """Return how many disturbances to search; unreadable files need five tries, so only one."""
    return 2 if full and scenario.unreadable is None else 1


def explore(scenario: Scenario, *, full: bool) -> SearchResult:
    """Search one scenario; in full, two invocations may be frozen at once."""
    limit = max_disturbances(scenario, full=full)
    return Search(scenario, limit, frozen=2 if full else 1).run()


def campaign(scenario: Scenario, full: bool) -> Figures:  # noqa: FBT001 - called positionally
    """Explore a scenario.

    Returns:
        `tried` counts the states explored, `recovered` those from which the end is reached.
    """
    started = time.monotonic()
    result = explore(scenario, full=full)
    return Figures(
        "model", tried=result.states, recovered=result.recoverable,
        longest_ticks=result.longest, violations=[*result.violations], seconds=time.monotonic() - started,
    )  # fmt: skip
