"""Stages at once: two invocations on one item, or a stage and poll, interleaved call by call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tests.verification.chaos.bench import Bench, bench
from tests.verification.chaos.chaos_harness import ChaosHarness, Message, step_of
from tests.verification.chaos.interleaver import (
    Chooser,
    Interleaver,
    Schedule,
    Step,
    drawn,
    explored,
    following,
    told,
)
from tests.verification.crash import jobs
from tests.verification.figures import Figures

LEASE_S = 1000.0
"""Longer than any stage may work, and than its lease lasts."""
POLLS_LEASE_S = 140.0
Rival = Callable[[ChaosHarness, Message | None], None]


def twin(relay: ChaosHarness, message: Message | None) -> None:
    """Do the same: the message came twice."""
    if message is None:
        relay.poll_alone()
    else:
        relay.deliver(message)


def poller(relay: ChaosHarness, _message: Message | None) -> None:
    """Poll, a minute later, and do what that wakes."""
    relay.pass_time(60)
    relay.poll_alone()
    relay.work_off()


def heir(relay: ChaosHarness, message: Message | None) -> None:
    """Poll when the lease of whoever is at it is over, and do what that wakes: the same over again, or what follows."""
    relay.pass_time(POLLS_LEASE_S if message is None else LEASE_S)
    relay.poll_alone()
    relay.work_off()


def prover(relay: ChaosHarness, _message: Message | None) -> None:
    """Poll when the lease is over: what was being sent is unconfirmed; then it is proved, and found ended, and collected."""
    relay.pass_time(LEASE_S)
    for _ in range(3):
        relay.poll_alone()
        relay.work_off()
        relay.pass_time(60)


def successor(relay: ChaosHarness, _message: Message | None) -> None:
    """Poll until what was being sent is proved absent, and send it again; half an hour after it was begun."""
    relay.outlived |= relay.tokens
    relay.pass_time(LEASE_S)
    for _ in range(6):
        relay.poll_alone()
        relay.work_off()
        relay.pass_time(330)


@dataclass(frozen=True)
class Scene:
    """A moment of a job at which two are at work.

    Attributes:
        step: what one of them does; `poll`, or what a message asks for.
        nth: which one of these, counted from 1.
        rival: what the other one does.
        left_s: what a Lambda has left: with little, a job is assembled by an invocation of its own.
    """

    step: str
    nth: int
    rival: Rival
    left_s: float = 900.0

    def __str__(self) -> str:
        return f"{self.step} {self.nth}, {self.rival.__name__}"


class Stage:
    """Lets a scene happen when its moment has come, once."""

    def __init__(self, relay: ChaosHarness, scene: Scene, choose: Chooser) -> None:
        self._relay, self._scene = relay, scene
        self._met = 0
        self.interleaver = Interleaver(choose)
        relay.context.left_s = scene.left_s
        relay.post, relay.minute = self._bring, self._minute

    def _bring(self, messages: list[Message]) -> None:
        for message in messages:
            if self._is_it(step_of(message)):
                self._play(message, partial(self._relay.deliver, message))
            else:
                self._relay.deliver(message)

    def _minute(self) -> None:
        if self._is_it("poll"):
            self._play(None, self._relay.poll_alone)
        else:
            self._relay.poll_alone()

    def _is_it(self, step: str) -> bool:
        self._met += step == self._scene.step
        return step == self._scene.step and self._met == self._scene.nth

    def _play(self, message: Message | None, act: Callable[[], None]) -> None:
        rival = self._scene.rival
        acts = {"first": act, rival.__name__: lambda: rival(self._relay, message)}
        self._relay.at_once(self.interleaver, acts)


def _scenes(steps: Mapping[str, int], polls: int) -> list[Scene]:
    """Give each of the first so many of a step, with each rival that it can have."""
    found = [
        Scene(step, nth, rival, 250.0)
        for step, count in steps.items()
        for nth in range(1, count + 1)
        for rival in (twin, poller, heir)
    ]
    return found + [
        Scene("poll", nth, rival) for nth in range(1, polls + 1) for rival in (twin, heir)
    ]


EVERYWHERE = _scenes({"receive": 1, "send": 2, "collect": 2, "assemble": 1}, polls=3)
LAST_CHUNKS = _scenes({"collect": 2}, polls=0)
REFUSALS = [
    *_scenes({"send": 1}, polls=0),
    Scene("send", 1, successor),
]
"""A create that is refused: its chunk is halved, or its only row is rejected."""
ADOPTIONS = [Scene("poll", nth, rival) for nth in (2, 3) for rival in (twin, heir)]
"""The poll that proves whose a batch is, and the one that finds it ended."""
LATE = Scene("send", 1, prover)


def once(full: bool, half: int) -> Figures:  # noqa: FBT001 - as the list of campaigns calls it
    """Interrupt one of two once, at every call."""
    with bench("two at once, interrupted at every call", jobs.tiny()) as at:
        for scene in EVERYWHERE[half::2]:
            _explore(at, scene, 1, 1 if full else 40)
    return at.figures


def chunks(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """The same where several chunks are collected, and somebody's is the last."""
    with bench("two at once, interrupted at every call", jobs.small()) as at:
        for scene in LAST_CHUNKS[half::2] if full else []:
            _explore(at, scene, 1, 1)
    return at.figures


def splits(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """The same where a create is refused, and its chunk is halved."""
    with bench("two at once, interrupted at every call", jobs.halved()) as at:
        for scene in (REFUSALS if full else REFUSALS[2:])[half::2]:
            _explore(at, scene, 1, 1 if full else 15)
    return at.figures


def refusals(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """The same where a create is refused, and its only row is rejected."""
    with bench("two at once, interrupted at every call", jobs.refused()) as at:
        for scene in (REFUSALS if full else REFUSALS[2:])[half::2]:
            _explore(at, scene, 1, 1 if full else 15)
    return at.figures


def adoptions(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """The same where a batch is adopted whose create lost its answer, with a stranger's of its size beside it."""
    with bench("two at once, interrupted at every call", jobs.unconfirmed()) as at:
        for scene in ADOPTIONS[half::2]:
            _explore(at, scene, 1, 1 if full else 40)
    return at.figures


def late_answers(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Let a stage hear at last that its create was accepted, at any call of the polls that prove just that.

    By half: before it looks at the table, and before it writes what it has heard.
    """
    with bench("two at once, interrupted twice", jobs.beside()) as at:
        calls = [step.call for step in _run(at, LATE, following(()), "undisturbed")]
        heard = 1 + next(n for n, call in enumerate(calls) if call.startswith("claude.POST"))
        begun = (*(0 for _ in range(heard + half)), 1)
        _explore(at, LATE, 2, 1 if full else 40, begun)
    return at.figures


def again(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Interrupt twice, where somebody goes on whose lease is over."""
    scenes = [scene for scene in EVERYWHERE if scene.rival is heir]
    with bench("two at once, interrupted twice", jobs.tiny()) as at:
        for scene in (scenes if full else scenes[3:5])[half::2]:
            _explore(at, scene, 2, 7 if full else 19)
    return at.figures


def _explore(at: Bench, scene: Scene, interruptions: int, step: int, begun: Schedule = ()) -> None:
    def play(schedule: Schedule) -> Sequence[Step]:
        return _run(at, scene, following(schedule), str(schedule))

    for _ in explored(play, interruptions, step, begun):
        pass


def _run(at: Bench, scene: Scene, choose: Chooser, how: str) -> Sequence[Step]:
    stages: list[Stage] = []
    run = at.run(f"{scene}: {how}", lambda: stages.append(Stage(at.relay, scene, choose)))
    steps = stages[0].interleaver.steps
    if not steps:
        at.figures.broken.append(f"{scene}: never came to it, in {run.ticks} ticks")
    elif run.wrong:
        at.figures.broken.append(f"{scene}: {told(steps)}")
    return steps


def mob(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Do everything that there is to do at once, each of it twice, poll, too; by schedules that are drawn."""
    seeds = range(40 if full else 4)
    with bench("all at once and twice", jobs.march()) as at:
        for seed in seeds[half::2]:
            at.run(f"all at once {seed}", partial(_gather, at.relay, drawn(seed)))
    return at.figures


def _gather(relay: ChaosHarness, choose: Chooser) -> None:
    """Let each message wait for the next poll, and go with it."""
    waiting: list[Message] = []

    def minute() -> None:
        acts: dict[str, Callable[[], object]] = {
            f"{step_of(message)} {number}": partial(relay.deliver, message)
            for number, message in enumerate([*waiting, *waiting])
        }
        waiting.clear()
        relay.at_once(
            Interleaver(choose), {"poll": relay.poll_alone, "poll again": relay.poll_alone} | acts
        )

    def bring(messages: list[Message]) -> None:
        waiting.extend(messages)
        if any(step_of(message) == "receive" for message in messages):
            minute()

    relay.post, relay.minute = bring, minute
