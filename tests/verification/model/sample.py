"""The part of the search that `make test` runs; `make verify` runs all of it."""

from dataclasses import replace
from functools import cache

from tests.verification.model.scenarios import RETRIED, SPLIT, Scenario
from tests.verification.model.search import Search, SearchResult

_FEWER = {scenario.name: frozenset({"crash", "cancel", "fails", "unheard", "lost"})
          for scenario in (RETRIED, SPLIT)}  # fmt: skip
_FEWEST = frozenset({"crash", "cancel"})
"""Disturbances of jobs with unreadable files."""


@cache
def search_result(scenario: Scenario) -> SearchResult:
    """Search a scenario with one disturbance at every call, once for all tests."""
    faults = _FEWER.get(scenario.name, _FEWEST if scenario.unreadable else None)
    return Search(replace(scenario, faults=faults), 1).run()
