"""Concurrent stages: two invocations of one item, or a stage and poll, interleaved by call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tests.verification.chaos.bench import Bench, open_bench
from tests.verification.chaos.chaos_harness import ChaosHarness, Message, step_of
from tests.verification.chaos.interleaver import (
    Choice,
    Chooser,
    Interleaver,
    Schedule,
    describe_switches,
    explore_schedules,
    random_schedule,
    replay,
)
from tests.verification.crash import jobs
from tests.verification.crash.call_counter import first_create
from tests.verification.crash.jobs import JobSpec
from tests.verification.figures import Figures

PAST_LEASE_S = 1000.0
"""Longer than any lease of a stage."""
PAST_POLL_LEASE_S = 140.0
Competitor = Callable[[ChaosHarness, Message | None], None]


def duplicate(relay: ChaosHarness, message: Message | None) -> None:
    """Repeat the action: its message was delivered twice."""
    if message is None:
        relay.poll_alone()
    else:
        relay.deliver(message)


def poll_later(relay: ChaosHarness, _message: Message | None) -> None:
    """Poll a minute later, and run the steps that it wakes."""
    relay.pass_time(60)
    relay.poll_alone()
    relay.drain_queues()


def poll_after_lease(relay: ChaosHarness, message: Message | None) -> None:
    """Poll after the lease has expired, and run the steps that it wakes."""
    relay.pass_time(PAST_POLL_LEASE_S if message is None else PAST_LEASE_S)
    relay.poll_alone()
    relay.drain_queues()


def reconcile_after_lease(relay: ChaosHarness, _message: Message | None) -> None:
    """Poll after the lease has expired until an unconfirmed create is reconciled and collected."""
    relay.pass_time(PAST_LEASE_S)
    for _ in range(3):
        relay.poll_alone()
        relay.drain_queues()
        relay.pass_time(60)


def resend_after_absence(relay: ChaosHarness, _message: Message | None) -> None:
    """Poll until a create is declared absent, and send it again half an hour after its start."""
    relay.expired_tokens |= relay.tokens
    relay.pass_time(PAST_LEASE_S)
    for _ in range(6):
        relay.poll_alone()
        relay.drain_queues()
        relay.pass_time(330)


@dataclass(frozen=True)
class Overlap:
    """A moment of a job at which two actors run concurrently.

    Attributes:
        step: What the first one does: `poll`, or the step that a message asks for.
        nth: Which run of this step, counted from 1.
        competitor: What the other one does.
        left_s: Remaining Lambda time; if it is short, a job is assembled by another invocation.
    """

    step: str
    nth: int
    competitor: Competitor
    left_s: float = 900.0

    def __str__(self) -> str:
        return f"{self.step} {self.nth}, {self.competitor.__name__}"


class OverlapScheduler:
    """Run an overlap once, when its moment has come."""

    def __init__(self, relay: ChaosHarness, overlap: Overlap, choose: Chooser) -> None:
        self._relay, self._overlap = relay, overlap
        self._seen = 0
        self.interleaver = Interleaver(choose)
        relay.context.left_s = overlap.left_s
        relay.on_messages, relay.on_poll = self._deliver_all, self._on_poll

    def _deliver_all(self, messages: list[Message]) -> None:
        for message in messages:
            if self._is_due(step_of(message)):
                self._run_overlapping(message, partial(self._relay.deliver, message))
            else:
                self._relay.deliver(message)

    def _on_poll(self) -> None:
        if self._is_due("poll"):
            self._run_overlapping(None, self._relay.poll_alone)
        else:
            self._relay.poll_alone()

    def _is_due(self, step: str) -> bool:
        self._seen += step == self._overlap.step
        return step == self._overlap.step and self._seen == self._overlap.nth

    def _run_overlapping(self, message: Message | None, action: Callable[[], None]) -> None:
        competitor = self._overlap.competitor
        actions = {"first": action, competitor.__name__: lambda: competitor(self._relay, message)}
        self._relay.run_concurrently(self.interleaver, actions)


def _overlaps(count_by_step: Mapping[str, int], poll_count: int) -> list[Overlap]:
    """Return the first runs of each step, each with every possible competitor."""
    for_steps = [
        Overlap(step, nth, competitor, 250.0)
        for step, count in count_by_step.items()
        for nth in range(1, count + 1)
        for competitor in (duplicate, poll_later, poll_after_lease)
    ]
    return for_steps + [
        Overlap("poll", nth, competitor)
        for nth in range(1, poll_count + 1)
        for competitor in (duplicate, poll_after_lease)
    ]


ALL_OVERLAPS = _overlaps({"claim": 1, "send": 2, "collect": 2, "assemble": 1}, poll_count=3)
LAST_CHUNK_OVERLAPS = _overlaps({"collect": 2}, poll_count=0)
COPY_OVERLAPS = _overlaps({"collect": 7}, poll_count=0)[-6:]
"""The collection of both batches that copy results of other chunks: the last ones of their job."""
REFUSAL_OVERLAPS = [
    *_overlaps({"send": 1}, poll_count=0),
    Overlap("send", 1, resend_after_absence),
]
"""A rejected create: its chunk is split, or its only row is rejected."""
ADOPTION_OVERLAPS = [
    Overlap("poll", nth, competitor)
    for nth in (2, 3)
    for competitor in (duplicate, poll_after_lease)
]
"""The poll that reconciles a batch, and the one that finds it ended."""
LATE_ANSWER_OVERLAP = Overlap("send", 1, reconcile_after_lease)


def interrupted_once(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Interrupt one of two actors once, at every call."""
    with open_bench("two concurrent stages, interrupted once", jobs.one_row()) as bench:
        for overlap in ALL_OVERLAPS[half::2]:
            _explore(bench, overlap, 1, 1 if full else 40)
    return bench.figures


def interrupted_with_two_chunks(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Do the same with two chunks, of which one is collected last."""
    with open_bench("two concurrent stages, interrupted once", jobs.two_chunks()) as bench:
        for overlap in (LAST_CHUNK_OVERLAPS if full else LAST_CHUNK_OVERLAPS[:2])[half::2]:
            _explore(bench, overlap, 1, 1 if full else 40)
    return bench.figures


def interrupted_while_copying(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Do the same while results are copied to equal rows of other chunks."""
    with open_bench("two concurrent stages, interrupted once", jobs.equal_rows()) as bench:
        for overlap in (COPY_OVERLAPS if full else COPY_OVERLAPS[:2])[half::2]:
            _explore(bench, overlap, 1, 1 if full else 40)
    return bench.figures


def splits(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Do the same where a create is rejected and its chunk is split."""
    with open_bench("two concurrent stages, interrupted once", jobs.split_chunk()) as bench:
        for overlap in (REFUSAL_OVERLAPS if full else REFUSAL_OVERLAPS[2:])[half::2]:
            _explore(bench, overlap, 1, 1 if full else 15)
    return bench.figures


def refusals(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Do the same where a create is rejected and its only row is rejected."""
    with open_bench("two concurrent stages, interrupted once", jobs.refused_row()) as bench:
        for overlap in (REFUSAL_OVERLAPS if full else REFUSAL_OVERLAPS[2:])[half::2]:
            _explore(bench, overlap, 1, 1 if full else 15)
    return bench.figures


def adoptions(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Do the same where an unconfirmed batch is adopted beside a foreign batch of its size."""
    with open_bench(
        "two concurrent stages, interrupted once", jobs.one_row_with_lost_answer()
    ) as bench:
        for overlap in ADOPTION_OVERLAPS[half::2]:
            _explore(bench, overlap, 1, 1 if full else 40)
    return bench.figures


def late_answers(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Let a stage receive the answer to a create only during the polls that reconcile it.

    By half: before it reads the table, or before it writes the answer to it.
    """
    with open_bench(
        "two concurrent stages, interrupted twice", jobs.one_row_beside_foreign_batch()
    ) as bench:
        calls = [step.call for step in _run(bench, LATE_ANSWER_OVERLAP, replay(()), "baseline")]
        answer_call = first_create(calls)
        prefix = (*(0 for _ in range(answer_call + half)), 1)
        _explore(bench, LATE_ANSWER_OVERLAP, 2, 1 if full else 40, prefix)
    return bench.figures


def interrupted_twice(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Interrupt twice where an invocation continues after its lease has expired."""
    overlaps = [overlap for overlap in ALL_OVERLAPS if overlap.competitor is poll_after_lease]
    with open_bench("two concurrent stages, interrupted twice", jobs.one_row()) as bench:
        for overlap in (overlaps if full else overlaps[3:5])[half::2]:
            _explore(bench, overlap, 2, 7 if full else 19)
    return bench.figures


def _explore(
    bench: Bench, overlap: Overlap, interruptions: int, every_nth: int, prefix: Schedule = ()
) -> None:
    def run_schedule(schedule: Schedule) -> Sequence[Choice]:
        return _run(bench, overlap, replay(schedule), str(schedule))

    for _ in explore_schedules(run_schedule, interruptions, every_nth, prefix):
        pass


def _run(bench: Bench, overlap: Overlap, choose: Chooser, description: str) -> Sequence[Choice]:
    schedulers: list[OverlapScheduler] = []
    run = bench.run(
        f"{overlap}: {description}",
        lambda: schedulers.append(OverlapScheduler(bench.relay, overlap, choose)),
    )
    choices = schedulers[0].interleaver.choices
    if not choices:
        bench.figures.violations.append(f"{overlap}: did not occur within {run.ticks} ticks")
    elif run.problems:
        bench.figures.violations.append(f"{overlap}: {describe_switches(choices)}")
    return choices


def all_at_once(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Run everything twice and concurrently, poll included, by random schedules."""
    return _run_all_at_once(jobs.three_chunks(), range(40 if full else 4)[half::2])


def all_at_once_in_a_budget(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Do the same with a job that is held, released, and sent within a budget of the day."""
    return _run_all_at_once(jobs.held_job(), range(40 if full else 4)[half::2])


def _run_all_at_once(job: JobSpec, seeds: Sequence[int]) -> Figures:
    with open_bench("all stages concurrently, twice", job) as bench:
        for seed in seeds:
            bench.run(
                f"concurrent {seed}",
                partial(_hold_until_poll, bench.relay, random_schedule(seed)),
            )
    return bench.figures


def _hold_until_poll(relay: ChaosHarness, choose: Chooser) -> None:
    """Hold each message until the next poll, and run them together."""
    held: list[Message] = []

    def run_poll() -> None:
        actions: dict[str, Callable[[], object]] = {
            f"{step_of(message)} {number}": partial(relay.deliver, message)
            for number, message in enumerate([*held, *held])
        }
        held.clear()
        relay.run_concurrently(
            Interleaver(choose),
            {"poll": relay.poll_alone, "poll again": relay.poll_alone} | actions,
        )

    def hold_messages(messages: list[Message]) -> None:
        held.extend(messages)
        if any(step_of(message) == "claim" for message in messages):
            run_poll()

    relay.on_messages, relay.on_poll = hold_messages, run_poll
