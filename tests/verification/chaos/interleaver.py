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

HANG_TIMEOUT_S = 60.0
"""Real time after which a thread that does not hand the interleaver on is taken for hung."""


@dataclass(frozen=True)
class Choice:
    """One choice: who could go on, the last holder first; `free` if that one had ended by itself."""

    runnable: tuple[str, ...]
    chosen: int
    previous_ended: bool
    call: str


def replay(schedule: Schedule) -> Chooser:
    """Follow a schedule; behind its end, nobody is interrupted."""
    remaining = list(schedule)
    return lambda runnable: min(remaining.pop(0), len(runnable) - 1) if remaining else 0


def random_schedule(seed: int) -> Chooser:
    """Draw a schedule: every few calls, somebody else goes on."""
    rng = random.Random(seed)  # noqa: S311 - the seed is to be repeated, not to be secret
    switch_rate = rng.choice((0.1, 0.3, 0.6))
    return lambda runnable: rng.randrange(len(runnable)) if rng.random() < switch_rate else 0


@dataclass
class _Task:
    name: str
    resume: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    call: str = "begins"
    done: bool = False


class Interleaver:
    """Runs acts at once, one call at a time.

    Args:
        choose: says who goes on, of those who can; its answers make up the schedule.
    """

    def __init__(self, choose: Chooser) -> None:
        self._choose = choose
        self._local = threading.local()
        self._control = threading.Semaphore(0)
        self.choices: list[Choice] = []

    def run(self, actions: Mapping[str, Callable[[], object]]) -> None:
        """Run the acts to their ends.

        Raises:
            TimeoutError: one of them neither ended nor made a call.
        """
        tasks = [_Task(name) for name in actions]
        threads = [
            threading.Thread(
                target=self._run_task, args=(task, actions[task.name]), name=task.name
            )
            for task in tasks
        ]
        for thread in threads:
            thread.start()
        last: _Task | None = None
        while runnable := self._runnable(tasks, last):
            chosen = self._choose([task.name for task in runnable])
            names = tuple(task.name for task in runnable)
            self.choices.append(
                Choice(names, chosen, runnable[0] is not last, runnable[chosen].call)
            )
            last = runnable[chosen]
            last.resume.release()
            if not self._control.acquire(timeout=HANG_TIMEOUT_S):
                raise TimeoutError(last.name, last.call)
        for thread in threads:
            thread.join()

    def yield_control(self, call: str) -> None:
        """Offer the interleaver before a call; threads that are no actors have none to offer."""
        task: _Task | None = getattr(self._local, "actor", None)
        if task is not None:
            task.call = call
            self._control.release()
            task.resume.acquire()

    def _runnable(self, tasks: Sequence[_Task], last: _Task | None) -> list[_Task]:
        return sorted((task for task in tasks if not task.done), key=lambda task: task is not last)

    def _run_task(self, task: _Task, action: Callable[[], object]) -> None:
        self._local.actor = task
        task.resume.acquire()
        try:
            action()
        finally:
            task.done = True
            self._control.release()


def explore_schedules(
    play: Callable[[Schedule], Sequence[Choice]],
    interruptions: int,
    every_nth: int = 1,
    prefix: Schedule = (),
) -> Iterator[Schedule]:
    """JobRun every schedule in which nobody is interrupted more often than this, all in all.

    Args:
        play: plays one schedule, and gives the choices that there were.
        interruptions: times that somebody who could have gone on did not.
        thinned: interrupt at each so-manieth call alone.
        begun: how every schedule begins; its interruptions count.
    """
    pending: list[Schedule] = [prefix]
    while pending:
        schedule = pending.pop()
        choices = play(schedule)
        yield schedule
        preemptions = sum(
            choice.chosen > 0 and not choice.previous_ended for choice in choices[: len(schedule)]
        )
        for index in range(len(schedule), len(choices)):
            if choices[index].previous_ended or (
                preemptions < interruptions and index % every_nth == every_nth - 1
            ):
                unchanged = schedule + (0,) * (index - len(schedule))
                pending += [
                    (*unchanged, choice) for choice in range(1, len(choices[index].runnable))
                ]


def describe_switches(choices: Sequence[Choice]) -> str:
    """Tell where a schedule changed hands, for people."""
    changes = [
        f"{choice.runnable[choice.chosen]} goes on at {choice.call} ({position})"
        for position, choice in enumerate(choices)
        if choice.chosen or choice.previous_ended
    ]
    return ", ".join(changes)
