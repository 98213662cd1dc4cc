"""Admission: which batches may be sent, within the limits and with jobs in turns."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.model import timestamps
from functions.model.items import Batch, status_key
from functions.polling.admission import Limits, admit
from tests.unit.factories import batch

_jobs = st.sampled_from(["a" * 20, "b" * 20, "c" * 20])


@st.composite
def batches(draw: st.DrawFn, max_size: int = 12) -> list[Batch]:
    drawn_batches = draw(
        st.lists(st.tuples(_jobs, st.integers(1, 9), st.integers(0, 3)), max_size=max_size)
    )
    return [
        batch(job, chunk, requests, status_key=f"WAITING#2026-11-2{day}T00:00:00.000Z")
        for chunk, (job, requests, day) in enumerate(drawn_batches, 1)
    ]


situations = st.tuples(
    batches(),
    batches(5),
    st.builds(Limits, st.integers(1, 8), st.integers(1, 30), st.integers(2, 20)),
)


NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def waiting_since(hours: float) -> str:
    """Return the status key of a batch that has waited since this many hours after `NOW`."""
    return status_key("WAITING", timestamps.after(NOW, hours * 3600))


def running_since(hours: float, job_id: str, chunk: int = 1, requests: int = 10) -> Batch:
    sent_at = timestamps.after(NOW, hours * 3600)
    return batch(
        job_id, chunk, requests, status="IN_PROGRESS", next_step=None,
        status_key=status_key("IN_PROGRESS", sent_at), intent_at=sent_at,
    )  # fmt: skip


def keys_of(items: list[Batch]) -> list[tuple[str, str]]:
    return [(item.job, item.item) for item in items]


@given(situations)
def test_admission_respects_both_limits(
    situation: tuple[list[Batch], list[Batch], Limits],
) -> None:
    waiting, running, limits = situation
    admitted = admit(waiting, running, limits)
    if len(running) + len(admitted) == 1:
        return  # a batch larger than the limit is sent alone
    if admitted:
        assert len(running) + len(admitted) <= limits.batches
        assert sum(item.requests for item in [*running, *admitted]) <= limits.requests


@given(situations, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_change_the_choice(
    situation: tuple[list[Batch], list[Batch], Limits], shuffler: random.Random
) -> None:
    waiting, running, limits = situation
    shuffled = shuffler.sample(waiting, len(waiting))

    assert keys_of(admit(shuffled, running[::-1], limits)) == keys_of(
        admit(waiting, running, limits)
    )


@given(situations)
def test_no_further_batch_is_admitted_after_the_chosen_ones_are_sent(
    situation: tuple[list[Batch], list[Batch], Limits],
) -> None:
    waiting, running, limits = situation
    admitted = admit(waiting, running, limits)
    remaining = [item for item in waiting if item not in admitted]

    assert admit(remaining, [*running, *admitted], limits) == []


@given(situations)
def test_every_waiting_batch_is_admitted_eventually(
    situation: tuple[list[Batch], list[Batch], Limits],
) -> None:
    """Every batch is admitted once running ones have ended."""
    waiting, running, limits = situation
    for _ in range(2 * len(waiting) + 2):
        admitted = admit(waiting, running, limits)
        assert admitted or running or not waiting
        waiting = [item for item in waiting if item not in admitted]
        running = admitted
    assert waiting == []


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
    st.integers(1, 30),
    st.builds(Limits, st.integers(2, 100), st.integers(10, 30), st.integers(2, 20)),
)
def test_a_large_batch_is_admitted_while_small_jobs_keep_arriving(
    sizes: list[int], large_size: int, limits: Limits
) -> None:
    """In each round, half an hour later, a batch ends and a new job arrives; the large one ages."""
    large = batch("f" * 20, requests=min(large_size, limits.requests), status_key=waiting_since(0))
    running = [running_since(-1, f"{n:020x}", requests=size) for n, size in enumerate(sizes)]
    for half_hours in range(2 * len(sizes) + 6):
        size = sizes[half_hours % len(sizes)]
        new_batch = batch(f"{half_hours:020x}", 2, size, status_key=waiting_since(half_hours / 2))
        old = waiting_since(half_hours / 2 - 1)
        admitted = admit([large, new_batch], running, limits, old)
        if large in admitted:
            return
        sent = [running_since(half_hours / 2, item.job, 2, item.requests) for item in admitted]
        running = [*running[1:], *sent]
    raise AssertionError(running)


@given(situations, st.sampled_from(["WAITING#2026-11-21", "WAITING#2026-11-24"]))
def test_priority_for_old_batches_respects_the_limits(
    situation: tuple[list[Batch], list[Batch], Limits], old: str
) -> None:
    waiting, running, limits = situation
    admitted = admit(waiting, running, limits, old)
    remaining = [item for item in waiting if item not in admitted]

    assert admit(remaining, [*running, *admitted], limits, old) == []
    if len(running) + len(admitted) > 1 and admitted:
        assert len(running) + len(admitted) <= limits.batches
        assert sum(item.requests for item in [*running, *admitted]) <= limits.requests


@given(st.integers(1, 30), st.integers(1, 6))
def test_a_small_job_does_not_wait_behind_a_large_one(chunk_count: int, room: int) -> None:
    huge = [
        batch("a" * 20, chunk, status_key="WAITING#2026-11-20")
        for chunk in range(1, chunk_count + 1)
    ]
    small = batch("b" * 20, 1, status_key="WAITING#2026-11-23")

    # Batches of the large job that already run count as its turns.
    admitted = admit([*huge[1:], small], huge[:1], Limits(1 + room, 10**6))

    assert keys_of(admitted)[0] == (small.job, small.item)


def test_jobs_take_turns() -> None:
    older = [batch("a" * 20, chunk, status_key="WAITING#2026-11-20") for chunk in (1, 2, 3)]
    newer = [batch("b" * 20, chunk, status_key="WAITING#2026-11-23") for chunk in (1, 2, 3)]

    admitted = admit([*older, *newer], [], Limits(4, 10**6))

    assert admitted == [older[0], newer[0], older[1], newer[1]]


def test_the_job_that_has_waited_longer_goes_first() -> None:
    newer = batch("a" * 20, status_key="WAITING#2026-11-23")
    older = batch("b" * 20, status_key="WAITING#2026-11-22")

    assert admit([newer, older], [], Limits(1, 10**6)) == [older]


def test_small_jobs_overtake_a_large_batch_that_does_not_fit() -> None:
    """A batch that does not fit yet delays no other while it is not old."""
    large = batch("a" * 20, requests=90, status_key="WAITING#2026-11-22")
    small = [batch(f"{n:020x}", requests=1, status_key="WAITING#2026-11-23") for n in range(50)]
    running = [batch("c" * 20, requests=20)]

    assert admit([*small, large], running, Limits(100, 100)) == small
    assert admit([*small, large], [], Limits(100, 100)) == [large, *small[:10]]


@pytest.mark.parametrize(
    ("large_size", "sent_since", "expected"),
    [
        (100, [], 3),  # 3 x 3 requests fit into the reserve of 10
        (100, [1], 3),
        (100, [5], 1),
        (100, [10], 0),
        (100, [1, 1, 1, 1, 1], 0),  # no more than 5 batches
        (190, [], 3),
        (191, [], 0),  # it needs a part of the reserve itself
    ],
)
def test_small_jobs_overtake_an_old_batch_within_the_reserve(
    large_size: int, sent_since: list[int], expected: int
) -> None:
    """What was sent before it became old leaves the reserve to others; what was sent since does not."""
    limits = Limits(100, 200)
    large = batch("a" * 20, requests=large_size, status_key=waiting_since(-2))
    small = [batch(f"{n:020x}", requests=3, status_key=waiting_since(-0.5)) for n in range(10)]
    running = [
        running_since(-1.5, "b" * 20, requests=150),
        *(running_since(-0.9, f"{n}" * 20, requests=size) for n, size in enumerate(sent_since, 1)),
    ]

    admitted = admit([*small, large], running, limits, old=waiting_since(-1))

    assert admitted == small[:expected]


def test_jobs_with_batches_running_do_not_overtake_an_old_batch() -> None:
    large = batch("a" * 20, requests=100, status_key=waiting_since(-2))
    next_chunk = batch("b" * 20, 2, requests=3, status_key=waiting_since(-0.5))
    running = [running_since(-1.5, "b" * 20, requests=150)]

    assert admit([next_chunk, large], running, Limits(100, 200), old=waiting_since(-1)) == []


def test_a_batch_larger_than_the_limit_is_sent_alone() -> None:
    large, small = batch("a" * 20, requests=500), batch("b" * 20, requests=1)

    assert admit([large, small], [], Limits(10, 100)) == [large]


def test_a_job_uses_all_the_room_while_no_other_waits() -> None:
    limits = Limits(1_000, 200_000)
    chunks = [batch("a" * 20, chunk, 10_000) for chunk in range(1, 101)]
    large = [batch("a" * 20, chunk, 100_000) for chunk in range(1, 4)]

    assert admit(chunks, [], limits) == chunks[:20]
    assert admit(large, [], limits) == large[:2]


def test_running_jobs_leave_a_reserve_while_a_job_waits_with_nothing_running() -> None:
    """It does not fit itself, but the next small job need not wait for a batch to end."""
    limits = Limits(1_000, 200_000)
    running = [batch("a" * 20, chunk, 10_000) for chunk in range(1, 16)]
    remaining_chunks = [batch("a" * 20, chunk, 10_000) for chunk in range(16, 101)]
    large = batch("b" * 20, 1, 100_000, status_key="WAITING#2026-11-22")
    small = batch("c" * 20, 1, 5_000, status_key="WAITING#2026-11-30")

    assert admit([*remaining_chunks, large], running, limits) == remaining_chunks[:4]
    assert admit(
        [*remaining_chunks[4:], large, small], [*running, *remaining_chunks[:4]], limits
    ) == [small]
