"""Who may be sent now: within the limits, jobs in turns."""

import random

from hypothesis import given
from hypothesis import strategies as st

from functions.batches.admission import Limits, admit
from functions.batches.items import Batch
from tests.unit.made import batch

_jobs = st.sampled_from(["a" * 20, "b" * 20, "c" * 20])


@st.composite
def batches(draw: st.DrawFn, most: int = 12) -> list[Batch]:
    drawn = draw(st.lists(st.tuples(_jobs, st.integers(1, 9), st.integers(0, 3)), max_size=most))
    return [
        batch(job, chunk, requests, since=f"WAITING#2026-11-2{day}T00:00:00.000Z")
        for chunk, (job, requests, day) in enumerate(drawn, 1)
    ]


worlds = st.tuples(batches(), batches(5), st.builds(Limits, st.integers(1, 8), st.integers(1, 30)))


def named(found: list[Batch]) -> list[tuple[str, str]]:
    return [(one.job, one.item) for one in found]


@given(worlds)
def test_keeps_both_limits(given_: tuple[list[Batch], list[Batch], Limits]) -> None:
    waiting, there, limits = given_
    admitted = admit(waiting, there, limits)
    if len(there) + len(admitted) == 1:
        return  # one that is larger than the limit goes alone
    if admitted:
        assert len(there) + len(admitted) <= limits.batches
        assert sum(one.requests for one in [*there, *admitted]) <= limits.requests


@given(worlds, st.randoms(use_true_random=False))
def test_chooses_the_same_again_in_whatever_order_it_is_told(
    given_: tuple[list[Batch], list[Batch], Limits], dice: random.Random
) -> None:
    waiting, there, limits = given_
    shuffled = dice.sample(waiting, len(waiting))

    assert named(admit(shuffled, there[::-1], limits)) == named(admit(waiting, there, limits))


@given(worlds)
def test_once_they_are_sent_nobody_else_is_admitted(
    given_: tuple[list[Batch], list[Batch], Limits],
) -> None:
    waiting, there, limits = given_
    admitted = admit(waiting, there, limits)
    rest = [one for one in waiting if one not in admitted]

    assert admit(rest, [*there, *admitted], limits) == []


@given(worlds)
def test_nobody_starves(given_: tuple[list[Batch], list[Batch], Limits]) -> None:
    """Where what is there ends, everything has its turn, the oldest of each job first."""
    waiting, there, limits = given_
    for _ in range(2 * len(waiting) + 2):
        admitted = admit(waiting, there, limits)
        assert admitted or there or not waiting
        waiting = [one for one in waiting if one not in admitted]
        there = admitted
    assert waiting == []


@given(st.integers(1, 30), st.integers(1, 6))
def test_a_small_job_does_not_wait_behind_a_huge_one(ahead: int, room: int) -> None:
    huge = [batch("a" * 20, chunk, since="WAITING#2026-11-20") for chunk in range(1, ahead + 1)]
    small = batch("b" * 20, 1, since="WAITING#2026-11-23")

    # What the huge one has at Anthropic already counts as its turns.
    admitted = admit([*huge[1:], small], huge[:1], Limits(1 + room, 10**6))

    assert named(admitted)[0] == (small.job, small.item)


def test_jobs_take_turns() -> None:
    old = [batch("a" * 20, chunk, since="WAITING#2026-11-20") for chunk in (1, 2, 3)]
    young = [batch("b" * 20, chunk, since="WAITING#2026-11-23") for chunk in (1, 2, 3)]

    admitted = admit([*old, *young], [], Limits(4, 10**6))

    assert admitted == [old[0], young[0], old[1], young[1]]


def test_of_two_jobs_with_none_there_the_one_that_waits_longer_goes_first() -> None:
    young = batch("a" * 20, since="WAITING#2026-11-23")
    old = batch("b" * 20, since="WAITING#2026-11-22")

    assert admit([young, old], [], Limits(1, 10**6)) == [old]


def test_a_large_batch_is_not_overtaken_for_ever() -> None:
    """One that does not fit yet holds back what comes after it, until there is room."""
    large = batch("a" * 20, requests=90, since="WAITING#2026-11-22")
    small = batch("b" * 20, requests=1, since="WAITING#2026-11-23")
    there = [batch("c" * 20, requests=20)]

    assert admit([small, large], there, Limits(10, 100)) == []
    assert admit([small, large], [], Limits(10, 100)) == [large, small]


def test_a_batch_beyond_the_limit_goes_alone() -> None:
    large, small = batch("a" * 20, requests=500), batch("b" * 20, requests=1)

    assert admit([large, small], [], Limits(10, 100)) == [large]


def test_a_huge_job_leaves_room_for_who_comes_next() -> None:
    """Its batches may take a day: nobody should have to wait for the first of them to end."""
    limits = Limits(100, 200_000)
    huge = [batch("a" * 20, chunk, 10_000) for chunk in range(1, 101)]
    there = admit(huge, [], limits)
    rest = [one for one in huge if one not in there]
    small = batch("b" * 20, 1, 1_000, since="WAITING#2026-11-30")

    assert sum(one.requests for one in there) == 190_000
    assert admit([*rest, small], there, limits) == [small]
