"""A job and the options file that it waits for: in any order, at the same time, twice, or without its event."""

from collections.abc import Callable
from dataclasses import replace

from tests.verification.chaos.bench import Bench, open_bench
from tests.verification.chaos.chaos_harness import ChaosHarness, Message, step_of
from tests.verification.chaos.interleaver import (
    Choice,
    Interleaver,
    Schedule,
    describe_switches,
    explore_schedules,
    replay,
)
from tests.verification.crash import jobs
from tests.verification.crash.jobs import OPTIONS_KEY
from tests.verification.figures import Figures

CAMPAIGN = "options arrive in any order"
JOB = replace(
    jobs.of_kind("a.csv"),
    options=b'equal_rows = "once"\nretry_truncated = {factor = 2}\n'
    + jobs.of_kind("a.csv").options,
)
"""With options that are frozen into the job, and that do not change how often its rows are sent."""
UNUSABLE = b"[request]\nparms = 1\n"
SAMPLE_STEP = 30
"""A sample interrupts at every n-th call."""
ANNOUNCEMENTS = ("event JOB/waiting", "event options/")
"""Events that say for what a job waits. Only they may differ from those of a job that never waits."""
type Arrival = Callable[[ChaosHarness, Message], None]


def _put(relay: ChaosHarness, text: bytes = JOB.options) -> Message:
    """Store the options file; return the message of its event."""
    return "submit", relay.put(OPTIONS_KEY, text)


def after(relay: ChaosHarness, upload: Message) -> None:
    """Deliver the upload, then the options."""
    relay.deliver(upload)
    relay.deliver(_put(relay))


def twice(relay: ChaosHarness, upload: Message) -> None:
    """Deliver each event twice; the options arrive in between."""
    relay.deliver(upload)
    options = _put(relay)
    for message in (options, upload, options):
        relay.deliver(message)


def event_late(relay: ChaosHarness, upload: Message) -> None:
    """Store the options before the upload is planned; deliver their event an hour later."""
    relay.delay(_put(relay), 3600)
    relay.deliver(upload)


def event_lost(relay: ChaosHarness, upload: Message) -> None:
    """Store the options behind the waiting job; their event never arrives."""
    relay.deliver(upload)
    _put(relay)


def event_first(relay: ChaosHarness, upload: Message) -> None:
    """Deliver the event of the options, then that of the upload, which was stored before them."""
    relay.deliver(_put(relay))
    relay.deliver(upload)


def hours_later(relay: ChaosHarness, upload: Message) -> None:
    """Store the options hours after the upload, and other options meanwhile that do not govern it."""
    relay.deliver(upload)
    for _ in range(30):
        relay.tick(600.0)
    relay.deliver(("submit", relay.put("other/_relay.toml", JOB.options)))
    relay.tick(600.0)
    relay.deliver(_put(relay))


def corrected(relay: ChaosHarness, upload: Message) -> None:
    """Store options that cannot be used, and correct them when the job waits for that."""
    relay.deliver(_put(relay, UNUSABLE))
    relay.deliver(upload)
    relay.tick(600.0)
    relay.deliver(_put(relay))


def replaced_while_planned(relay: ChaosHarness, upload: Message) -> None:
    """Replace the options by unusable ones once the job has begun: it has frozen its own."""
    relay.deliver(_put(relay))
    relay.deliver(upload)
    relay.deliver(_put(relay, UNUSABLE))


ARRIVALS: list[Arrival] = [
    after, twice, event_late, event_lost, event_first, hours_later, corrected, replaced_while_planned,
]  # fmt: skip


def options_in_any_order(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Let options arrive in each order, and at the same time as their upload, interleaved at every call."""
    with open_bench(CAMPAIGN, JOB) as bench:
        bench.job = replace(JOB, options=b"")
        for arrival in ARRIVALS[half::2]:
            _run(bench, arrival, arrival.__name__)
        if half == 0:
            _explore(bench, 1 if full else SAMPLE_STEP)
    return bench.figures


def _run(bench: Bench, arrival: Arrival, description: str) -> bool:
    """Run the job, whose upload and options arrive in this way; return whether it had no problem."""

    def deliver_all(messages: list[Message]) -> None:
        for message in messages:
            if step_of(message) == "claim":
                bench.relay.on_messages = None
                arrival(bench.relay, message)
            else:
                bench.relay.deliver(message)

    def setup() -> None:
        bench.relay.on_messages = deliver_all

    run = bench.run(description, setup, allowed_differences=ANNOUNCEMENTS)
    return not run.problems


def _explore(bench: Bench, every_nth: int) -> None:
    """Deliver the upload and the options at the same time, one interrupted once by the other."""

    def play(schedule: Schedule) -> list[Choice]:
        interleaver = Interleaver(replay(schedule))

        def at_once(relay: ChaosHarness, upload: Message) -> None:
            actions = {
                "upload": lambda: relay.deliver(upload),
                "options": lambda: relay.deliver(_put(relay)),
            }
            relay.run_concurrently(interleaver, actions)

        if not _run(bench, at_once, f"at once {schedule}"):
            bench.figures.violations.append(describe_switches(interleaver.choices))
        return interleaver.choices

    for _ in explore_schedules(play, interruptions=1, every_nth=every_nth):
        pass
