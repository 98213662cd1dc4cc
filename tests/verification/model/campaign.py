"""The model as a campaign: all runs of the small jobs, with everything that may go wrong once or, in full, twice."""

import time

from tests.verification.figures import Figures
from tests.verification.model.scenarios import Scenario
from tests.verification.model.search import Search, SearchResult


def max_disturbances(scenario: Scenario, *, full: bool) -> int:
    """Say how often something may go wrong; where files are unreadable, five tries make the runs long."""
    return 2 if full and scenario.unreadable is None else 1


def explore(scenario: Scenario, *, full: bool) -> SearchResult:
    """Search one scenario; in full, two invocations may stand still at once."""
    limit = max_disturbances(scenario, full=full)
    return Search(scenario, limit, frozen=2 if full else 1).run()


def campaign(scenario: Scenario, full: bool) -> Figures:  # noqa: FBT001 - every campaign is called so
    """Explore a scenario.

    Returns:
        `tried` are the states explored, `recovered` those from which the end is reached.
    """
    started = time.monotonic()
    result = explore(scenario, full=full)
    return Figures(
        "model", tried=result.states, recovered=result.recoverable,
        longest_ticks=result.longest, violations=[*result.violations], seconds=time.monotonic() - started,
    )  # fmt: skip
