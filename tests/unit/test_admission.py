"""Admission: which batches may be sent, within the limits and with jobs in turns."""

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.model import timestamps
from functions.model.items.batch import Batch
from functions.model.items.priority import Share
from functions.model.items.work_item import status_key
from functions.polling.admission import AGEING, Limits, admit
from tests.unit.factories import batch

PRIORITIES = ("high", "normal", "low")
Situation = tuple[list[Batch], list[Batch], Limits]


@st.composite
def _situations(draw: st.DrawFn) -> Situation:
    """Draw batches that wait, batches in flight, and limits. Each job has a priority; two share a folder."""
    limit = st.none() | st.integers(1, 9)
    share = Share(folder="team", open_batches=draw(limit), requests=draw(limit))
    jobs = {
        name * 20: {
            "priority": draw(st.sampled_from(PRIORITIES)),
            "share": share if name in "ab" else None,
        }
        for name in "abcd"
    }

    def batches(first_chunk: int, max_size: int) -> list[Batch]:
        kinds = st.tuples(st.sampled_from([*jobs]), st.integers(1, 9), st.integers(0, 3))
        return [
            batch(
                job, chunk, requests, status_key=f"WAITING#2026-11-2{day}T00:00:00.000Z", **jobs[job]
            )
            for chunk, (job, requests, day) in enumerate(
                draw(st.lists(kinds, max_size=max_size)), first_chunk
            )
        ]  # fmt: skip

    limits = st.builds(Limits, st.integers(1, 8), st.integers(1, 30), st.integers(2, 20))
    return batches(1, 12), batches(50, 5), draw(limits)


situations = _situations()
times = st.none() | st.sampled_from(
    [datetime(2026, 11, day, hour, tzinfo=UTC) for day in (20, 22, 24) for hour in (2, 7, 13)]
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
    situation: Situation,
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
    situation: Situation, shuffler: random.Random
) -> None:
    waiting, running, limits = situation
    shuffled = shuffler.sample(waiting, len(waiting))

    assert keys_of(admit(shuffled, running[::-1], limits)) == keys_of(
        admit(waiting, running, limits)
    )


@given(situations)
def test_no_further_batch_is_admitted_after_the_chosen_ones_are_sent(
    situation: Situation,
) -> None:
    waiting, running, limits = situation
    admitted = admit(waiting, running, limits)
    remaining = [item for item in waiting if item not in admitted]

    assert admit(remaining, [*running, *admitted], limits) == []


@given(situations)
def test_every_waiting_batch_is_admitted_eventually(
    situation: Situation,
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
        now = NOW + timedelta(hours=half_hours / 2)
        admitted = admit([large, new_batch], running, limits, now)
        if large in admitted:
            return
        sent = [running_since(half_hours / 2, item.job, 2, item.requests) for item in admitted]
        running = [*running[1:], *sent]
    raise AssertionError(running)


@given(situations, times)
def test_limits_hold_for_batches_of_any_age(situation: Situation, now: datetime | None) -> None:
    waiting, running, limits = situation
    admitted = admit(waiting, running, limits, now)
    remaining = [item for item in waiting if item not in admitted]

    assert admit(remaining, [*running, *admitted], limits, now) == []
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

    admitted = admit([*small, large], running, limits, NOW)

    assert admitted == small[:expected]


def test_batches_that_overtake_an_old_one_stay_within_their_share() -> None:
    large = batch("a" * 20, requests=100, status_key=waiting_since(-2))
    small = [in_team(n, 3, open_batches=1) for n in (1, 2)]
    running = [running_since(-1.5, "b" * 20, requests=150)]

    assert admit([*small, large], running, Limits(100, 200), NOW) == small[:1]


def test_jobs_with_batches_running_do_not_overtake_an_old_batch() -> None:
    large = batch("a" * 20, requests=100, status_key=waiting_since(-2))
    next_chunk = batch("b" * 20, 2, requests=3, status_key=waiting_since(-0.5))
    running = [running_since(-1.5, "b" * 20, requests=150)]

    assert admit([next_chunk, large], running, Limits(100, 200), NOW) == []


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


@given(situations, times)
def test_each_folder_stays_within_its_share(situation: Situation, now: datetime | None) -> None:
    waiting, running, limits = situation
    admitted = [item for item in admit(waiting, running, limits, now) if item.share is not None]
    in_flight = [item for item in [*running, *admitted] if item.share is not None]
    if not admitted or len(in_flight) == 1:
        return  # a batch larger than the share is sent alone
    share = in_flight[0].share
    assert share is not None
    assert share.open_batches is None or len(in_flight) <= share.open_batches
    assert share.requests is None or sum(item.requests for item in in_flight) <= share.requests


@given(situations, times)
def test_a_share_takes_no_room_from_other_folders(
    situation: Situation, now: datetime | None
) -> None:
    """Batches of a folder whose share is used up are passed over, as if they did not wait."""
    waiting, running, limits = situation
    full = Share(folder="team", open_batches=1)
    running = [*running, batch("e" * 20, requests=1, share=full)]
    waiting = [
        msgspec.structs.replace(item, share=full if item.share else None) for item in waiting
    ]
    others = [item for item in waiting if item.share is None]

    assert admit(waiting, running, limits, now) == admit(others, running, limits, now)


HIGH, NORMAL, LOW = (
    batch(name * 20, priority=priority, status_key=waiting_since(-0.5))
    for name, priority in zip("zyx", PRIORITIES, strict=True)
)


@pytest.mark.parametrize(
    ("hours_waited", "place"),
    [(0.5, 2), (5.9, 2), (6.1, 1), (11.9, 1), (12.1, 0), (48, 0)],
)
def test_a_low_job_rises_by_one_priority_every_six_hours(hours_waited: float, place: int) -> None:
    """It goes before younger jobs of the priority that it counts as."""
    low = msgspec.structs.replace(LOW, status_key=waiting_since(-hours_waited))
    others = [HIGH, NORMAL]

    admitted = admit([low, *others], [], Limits(9, 10**6), NOW)

    assert admitted == [*others[:place], low, *others[place:]]


@pytest.mark.parametrize(
    ("case", "waiting", "in_flight", "expected"),
    [
        ("higher priorities go first", [LOW, NORMAL, HIGH], [], [HIGH, NORMAL, LOW]),
        (
            "whatever has waited longer",
            [HIGH, msgspec.structs.replace(NORMAL, status_key=waiting_since(-5))],
            [],
            [HIGH, msgspec.structs.replace(NORMAL, status_key=waiting_since(-5))],
        ),
        (
            "and whatever is in flight",
            [NORMAL, HIGH],
            [batch(HIGH.job, 7, priority="high"), batch(HIGH.job, 8, priority="high")],
            [HIGH, NORMAL],
        ),
        (
            "a word of a later version counts as normal",
            [LOW, msgspec.structs.replace(NORMAL, priority="urgent"), HIGH],
            [],
            [HIGH, msgspec.structs.replace(NORMAL, priority="urgent"), LOW],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_higher_priorities_are_admitted_first(
    case: str, waiting: list[Batch], in_flight: list[Batch], expected: list[Batch]
) -> None:
    assert admit(waiting, in_flight, Limits(9, 10**6), NOW) == expected, case


def test_only_the_next_batch_of_an_old_low_job_rises() -> None:
    """Otherwise all of a large job would soon count as high."""
    large = [
        batch(LOW.job, chunk, priority="low", status_key=waiting_since(-13)) for chunk in (1, 2, 3)
    ]

    high = [HIGH, batch(HIGH.job, 2, priority="high", status_key=waiting_since(-0.5))]

    assert admit([*large, *high], [], Limits(9, 10**6), NOW) == [large[0], *high, *large[1:]]
    assert admit([*large[1:], *high], large[:1], Limits(9, 10**6), NOW) == [*high, *large[1:]]


def in_team(chunk: int, requests: int, hours: float = -0.5, **limits: int) -> Batch:
    share = Share(folder="team", **(limits or {"open_batches": 2, "requests": 25}))
    return batch(f"{chunk:020}", chunk, requests, share=share, status_key=waiting_since(hours))


OTHER = batch("e" * 20, 1, 10, status_key=waiting_since(-0.1))


@pytest.mark.parametrize(
    ("case", "waiting", "in_flight", "expected"),
    [
        ("within both", [in_team(1, 10), in_team(2, 15)], [], [1, 2]),
        ("too many batches", [in_team(1, 5), in_team(2, 5), in_team(3, 5)], [], [1, 2]),
        ("too many requests", [in_team(1, 10), in_team(2, 16)], [], [1]),
        ("a small one passes a large one", [in_team(1, 20), in_team(2, 4)], [in_team(9, 10)], [2]),
        ("but not an old one", [in_team(1, 20, -2), in_team(2, 4)], [in_team(9, 10)], []),
        ("larger than the share, alone", [in_team(1, 90), in_team(2, 1)], [], [1]),
        ("larger than the share, not alone", [in_team(1, 90)], [in_team(9, 1)], []),
        (
            "each batch has the limits of its own job",
            [in_team(1, 10, open_batches=1), in_team(2, 10, open_batches=3)],
            [in_team(9, 10)],
            [2],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_share_limits_its_folder_only(
    case: str, waiting: list[Batch], in_flight: list[Batch], expected: list[int]
) -> None:
    admitted = admit([*waiting, OTHER], in_flight, Limits(9, 10**6), NOW)

    assert [int(item.chunk) for item in admitted if item != OTHER] == expected, case
    assert OTHER in admitted


@given(st.sampled_from(PRIORITIES[:2]), st.booleans(), st.integers(1, 10), st.integers(1, 4))
def test_a_low_job_is_sent_within_a_day_while_more_than_fits_keeps_arriving(
    priority: str,
    same_share: bool,  # noqa: FBT001 - drawn
    size: int,
    hours: int,
) -> None:
    """Every hour, eight jobs of a higher priority arrive where four fit; a batch takes some hours."""
    limits = Limits(100, 100) if same_share else Limits(4, 40)
    share = Share(folder="team", open_batches=4, requests=40) if same_share else None
    low = batch("f" * 20, 1, size, priority="low", share=share, status_key=waiting_since(0))
    waiting, running = [low], list[Batch]()
    for hour in range(25):
        waiting += [
            batch(f"{hour:019x}{n}", 1, 10, priority=priority, share=share, status_key=waiting_since(hour))
            for n in range(8)
        ]  # fmt: skip
        running = [
            item
            for item in running
            if (item.intent_at or "") > timestamps.after(NOW, (hour - hours) * 3600)
        ]
        admitted = admit(waiting, running, limits, NOW + timedelta(hours=hour))
        assert sum(item.requests for item in [*running, *admitted]) <= 40
        if low in admitted:
            assert hour <= 2 * AGEING / timedelta(hours=1) + hours + 1
            return
        waiting = [item for item in waiting if item not in admitted]
        running += [
            msgspec.structs.replace(item, status="IN_PROGRESS", intent_at=timestamps.after(NOW, hour * 3600))
            for item in admitted
        ]  # fmt: skip
    raise AssertionError(running)
