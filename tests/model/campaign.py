"""The model as a campaign: all runs of the small jobs, with everything that may go wrong once or, in full, twice."""

import time

from tests.crash.figures import Figures
from tests.model.scenarios import ALL, Scenario
from tests.model.search import Found, Search


def depth(scenario: Scenario, *, full: bool) -> int:
    """Say how often something may go wrong; where files are unreadable, five tries make the runs long."""
    return 2 if full and scenario.poison is None else 1


def explore(scenario: Scenario, *, full: bool) -> Found:
    """Search one scenario; in full, two invocations may stand still at once."""
    most = depth(scenario, full=full)
    return Search(scenario, most, frozen=2 if full else 1).run()


def campaign(full: bool) -> Figures:  # noqa: FBT001 - every campaign is called so
    """Explore every scenario.

    Returns:
        `calls` are transitions, `tried` the states explored, `recovered` those from which the end is reached.
    """
    begun = time.monotonic()
    figures = Figures("model")
    for scenario in ALL:
        found = explore(scenario, full=full)
        figures.calls += found.transitions
        figures.tried += found.states
        figures.recovered += found.recoverable
        figures.longest_ticks = max(figures.longest_ticks, found.longest)
        figures.broken += found.broken
    figures.seconds = time.monotonic() - begun
    return figures
