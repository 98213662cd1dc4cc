"""Who may be sent now: within the limits, jobs in turns."""

import random

from hypothesis import given
from hypothesis import strategies as st

from functions.model.items import Batch
from functions.polling.admission import Limits, admit
from tests.unit.factories import batch

_jobs = st.sampled_from(["a" * 20, "b" * 20, "c" * 20])


@st.composite
def batches(draw: st.DrawFn, most: int = 12) -> list[Batch]:
    drawn = draw(st.lists(st.tuples(_jobs, st.integers(1, 9), st.integers(0, 3)), max_size=most))
    return [
        batch(job, chunk, requests, status_key=f"WAITING#2026-11-2{day}T00:00:00.000Z")
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
    """Where what is there ends, everything has its turn."""
    waiting, there, limits = given_
    for _ in range(2 * len(waiting) + 2):
        admitted = admit(waiting, there, limits)
        assert admitted or there or not waiting
        waiting = [one for one in waiting if one not in admitted]
        there = admitted
    assert waiting == []


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(10, 30))
def test_a_large_batch_has_its_turn_though_small_jobs_keep_coming(
    sizes: list[int], limit: int
) -> None:
    """Each round one small batch ends and a new small job comes; the large one is old from the second round on."""
    large = batch("f" * 20, requests=limit, status_key="WAITING#1")
    there = [
        batch(f"{n:020x}", requests=size, status_key="WAITING#0") for n, size in enumerate(sizes)
    ]
    for n in range(2 * len(sizes) + 2):
        come = batch(f"{n:020x}", 2, sizes[n % len(sizes)], status_key="WAITING#2")
        admitted = admit(
            [large, come], there, Limits(100, limit), old="WAITING#1" if n < 1 else "WAITING#2"
        )
        if large in admitted:
            return
        there = [*there[1:], *admitted]
    raise AssertionError(there)


@given(worlds, st.sampled_from(["WAITING#2026-11-21", "WAITING#2026-11-24"]))
def test_what_is_old_keeps_the_limits_and_the_choice(
    given_: tuple[list[Batch], list[Batch], Limits], old: str
) -> None:
    waiting, there, limits = given_
    admitted = admit(waiting, there, limits, old)
    rest = [one for one in waiting if one not in admitted]

    assert admit(rest, [*there, *admitted], limits, old) == []
    if len(there) + len(admitted) > 1 and admitted:
        assert len(there) + len(admitted) <= limits.batches
        assert sum(one.requests for one in [*there, *admitted]) <= limits.requests


@given(st.integers(1, 30), st.integers(1, 6))
def test_a_small_job_does_not_wait_behind_a_huge_one(ahead: int, room: int) -> None:
    huge = [
        batch("a" * 20, chunk, status_key="WAITING#2026-11-20") for chunk in range(1, ahead + 1)
    ]
    small = batch("b" * 20, 1, status_key="WAITING#2026-11-23")

    # What the huge one has at Anthropic already counts as its turns.
    admitted = admit([*huge[1:], small], huge[:1], Limits(1 + room, 10**6))

    assert named(admitted)[0] == (small.job, small.item)


def test_jobs_take_turns() -> None:
    old = [batch("a" * 20, chunk, status_key="WAITING#2026-11-20") for chunk in (1, 2, 3)]
    young = [batch("b" * 20, chunk, status_key="WAITING#2026-11-23") for chunk in (1, 2, 3)]

    admitted = admit([*old, *young], [], Limits(4, 10**6))

    assert admitted == [old[0], young[0], old[1], young[1]]


def test_of_two_jobs_with_none_there_the_one_that_waits_longer_goes_first() -> None:
    young = batch("a" * 20, status_key="WAITING#2026-11-23")
    old = batch("b" * 20, status_key="WAITING#2026-11-22")

    assert admit([young, old], [], Limits(1, 10**6)) == [old]


def test_small_jobs_pass_a_large_batch_that_does_not_fit() -> None:
    """One that does not fit yet holds nothing back, until it is old."""
    large = batch("a" * 20, requests=90, status_key="WAITING#2026-11-22")
    small = [batch(f"{n:020x}", requests=1, status_key="WAITING#2026-11-23") for n in range(50)]
    there = [batch("c" * 20, requests=20)]

    assert admit([*small, large], there, Limits(100, 100)) == small
    assert admit([*small, large], there, Limits(100, 100), old="WAITING#2026-11-22x") == []
    assert admit([*small, large], [], Limits(100, 100)) == [large, *small[:10]]


def test_a_batch_beyond_the_limit_goes_alone() -> None:
    large, small = batch("a" * 20, requests=500), batch("b" * 20, requests=1)

    assert admit([large, small], [], Limits(10, 100)) == [large]


def test_a_job_fills_all_room_while_nobody_else_waits() -> None:
    limits = Limits(1_000, 200_000)
    chunks = [batch("a" * 20, chunk, 10_000) for chunk in range(1, 101)]
    large = [batch("a" * 20, chunk, 100_000) for chunk in range(1, 4)]

    assert admit(chunks, [], limits) == chunks[:20]
    assert admit(large, [], limits) == large[:2]


def test_while_a_job_waits_that_has_nothing_there_the_others_leave_a_reserve() -> None:
    """It does not fit itself; but the next small one need not wait until one of theirs has ended."""
    limits = Limits(1_000, 200_000)
    there = [batch("a" * 20, chunk, 10_000) for chunk in range(1, 16)]
    more = [batch("a" * 20, chunk, 10_000) for chunk in range(16, 101)]
    large = batch("b" * 20, 1, 100_000, status_key="WAITING#2026-11-22")
    small = batch("c" * 20, 1, 5_000, status_key="WAITING#2026-11-30")

    assert admit([*more, large], there, limits) == more[:4]
    assert admit([*more[4:], large, small], [*there, *more[:4]], limits) == [small]
