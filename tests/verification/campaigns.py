"""Every campaign against the promises, in the order of the table; each is run in a process of its own."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from tests.verification.chaos import clocks, concurrency, delivery, environment, trouble
from tests.verification.crash import faults, kills
from tests.verification.crash.late import late
from tests.verification.figures import Figures
from tests.verification.fuzz.campaign import campaign as fuzz
from tests.verification.model.campaign import campaign as model
from tests.verification.model.scenarios import ALL

Campaign = Callable[[bool], Figures]
"""Runs at full length, or a sample of itself, and gives its figures. Several of one name are added up."""


class _Half(Protocol):
    def __call__(self, full: bool, half: int) -> Figures: ...  # noqa: FBT001 - as all are called


def _shared(campaign: _Half) -> list[Campaign]:
    """Cut a campaign so that every core has a share of it."""
    return [partial(campaign, half=half) for half in range(kills.HALVES)]


STRIKES: list[Campaign] = [
    *_shared(kills.kills),
    *_shared(kills.large),
    *_shared(kills.pairs),
    *_shared(kills.recovery),
    *_shared(kills.adoption),
    *_shared(kills.errors),
    *_shared(kills.parts_fail),
    *_shared(kills.freezes),
    *_shared(late),
]

FAULTS: list[Campaign] = [*_shared(faults.alone), *_shared(faults.pairs)]

DISORDER: list[Campaign] = [
    *_shared(delivery.post),
    *_shared(concurrency.once),
    *_shared(concurrency.chunks),
    *_shared(concurrency.splits),
    *_shared(concurrency.refusals),
    *_shared(concurrency.adoptions),
    *_shared(concurrency.late_answers),
    *_shared(concurrency.again),
    *_shared(concurrency.mob),
    *_shared(trouble.random_trouble),
    *_shared(trouble.outages),
    *_shared(clocks.deadlines),
    *_shared(clocks.skew),
    *_shared(environment.environment),
]

CAMPAIGNS: list[Campaign] = [
    *STRIKES,
    *FAULTS,
    *DISORDER,
    fuzz,
    *(partial(model, scenario) for scenario in reversed(ALL)),  # the longest last
]
