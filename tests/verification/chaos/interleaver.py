"""A deterministic scheduler: what is to happen at once runs in threads that hand a interleaver to one another.

Only the thread that holds the interleaver runs. It offers the interleaver at every call that leaves the process, and a schedule
says who has it next: the same schedule gives the same run, so a failure can be seen again.
"""

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

type Schedule = tuple[int, ...]
"""At each step, the place of the one who goes on: 0 is whoever had the interleaver, if it can go on."""
type Chooser = Callable[[Sequence[str]], int]

STUCK_S = 60.0
"""Real time after which a thread that does not hand the interleaver on is taken for hung."""


@dataclass(frozen=True)
class Step:
    """One choice: who could go on, the last holder first; `free` if that one had ended by itself."""

    ready: tuple[str, ...]
    chosen: int
    free: bool
    call: str


def following(schedule: Schedule) -> Chooser:
    """Follow a schedule; behind its end, nobody is interrupted."""
    left = list(schedule)
    return lambda ready: min(left.pop(0), len(ready) - 1) if left else 0


def drawn(seed: int) -> Chooser:
    """Draw a schedule: every few calls, somebody else goes on."""
    draw = random.Random(seed)  # noqa: S311 - the seed is to be repeated, not to be secret
    often = draw.choice((0.1, 0.3, 0.6))
    return lambda ready: draw.randrange(len(ready)) if draw.random() < often else 0


@dataclass
class _Actor:
    name: str
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    call: str = "begins"
    done: bool = False


class Interleaver:
    """Runs acts at once, one call at a time.

    Args:
        choose: says who goes on, of those who can; its answers make up the schedule.
    """

    def __init__(self, choose: Chooser) -> None:
        self._choose = choose
        self._here = threading.local()
        self._back = threading.Semaphore(0)
        self.steps: list[Step] = []

    def run(self, acts: Mapping[str, Callable[[], object]]) -> None:
        """Run the acts to their ends.

        Raises:
            TimeoutError: one of them neither ended nor made a call.
        """
        actors = [_Actor(name) for name in acts]
        threads = [
            threading.Thread(target=self._act, args=(actor, acts[actor.name]), name=actor.name)
            for actor in actors
        ]
        for thread in threads:
            thread.start()
        last: _Actor | None = None
        while ready := self._ready(actors, last):
            chosen = self._choose([actor.name for actor in ready])
            names = tuple(actor.name for actor in ready)
            self.steps.append(Step(names, chosen, ready[0] is not last, ready[chosen].call))
            last = ready[chosen]
            last.go.release()
            if not self._back.acquire(timeout=STUCK_S):
                raise TimeoutError(last.name, last.call)
        for thread in threads:
            thread.join()

    def offer(self, call: str) -> None:
        """Offer the interleaver before a call; threads that are no actors have none to offer."""
        actor: _Actor | None = getattr(self._here, "actor", None)
        if actor is not None:
            actor.call = call
            self._back.release()
            actor.go.acquire()

    def _ready(self, actors: Sequence[_Actor], last: _Actor | None) -> list[_Actor]:
        return sorted((one for one in actors if not one.done), key=lambda one: one is not last)

    def _act(self, actor: _Actor, act: Callable[[], object]) -> None:
        self._here.actor = actor
        actor.go.acquire()
        try:
            act()
        finally:
            actor.done = True
            self._back.release()


def explored(
    play: Callable[[Schedule], Sequence[Step]],
    interruptions: int,
    thinned: int = 1,
    begun: Schedule = (),
) -> Iterator[Schedule]:
    """JobRun every schedule in which nobody is interrupted more often than this, all in all.

    Args:
        play: plays one schedule, and gives the choices that there were.
        interruptions: times that somebody who could have gone on did not.
        thinned: interrupt at each so-manieth call alone.
        begun: how every schedule begins; its interruptions count.
    """
    waiting: list[Schedule] = [begun]
    while waiting:
        schedule = waiting.pop()
        steps = play(schedule)
        yield schedule
        spent = sum(step.chosen > 0 and not step.free for step in steps[: len(schedule)])
        for at in range(len(schedule), len(steps)):
            if steps[at].free or (spent < interruptions and at % thinned == thinned - 1):
                until = schedule + (0,) * (at - len(schedule))
                waiting += [(*until, other) for other in range(1, len(steps[at].ready))]


def told(steps: Sequence[Step]) -> str:
    """Tell where a schedule changed hands, for people."""
    changes = [
        f"{step.ready[step.chosen]} goes on at {step.call} ({at})"
        for at, step in enumerate(steps)
        if step.chosen or step.free
    ]
    return ", ".join(changes)
