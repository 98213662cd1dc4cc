"""A deterministic scheduler: concurrent tasks run in threads that hand control to one another.

Only one thread runs at a time. It yields control at every call that leaves the process, and a
schedule decides who continues. The same schedule gives the same run, so failures can be replayed.
"""

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

type Schedule = tuple[int, ...]
"""At each choice, the index of the task that continues; 0 is the one that ran last, if it can."""
type Chooser = Callable[[Sequence[str]], int]

HANG_TIMEOUT_S = 60.0
"""Real time after which a thread that does not yield is considered hung."""


@dataclass(frozen=True)
class Choice:
    """One choice: the tasks that could continue, and whether the previous one had ended."""

    runnable: tuple[str, ...]
    chosen: int
    previous_ended: bool
    call: str


def replay(schedule: Schedule) -> Chooser:
    """Follow a schedule; after its end, interrupt nothing."""
    remaining = list(schedule)
    return lambda runnable: min(remaining.pop(0), len(runnable) - 1) if remaining else 0


def random_schedule(seed: int) -> Chooser:
    """Return a random schedule that switches tasks every few calls."""
    rng = random.Random(seed)  # noqa: S311 - the seed makes a run reproducible
    switch_rate = rng.choice((0.1, 0.3, 0.6))
    return lambda runnable: rng.randrange(len(runnable)) if rng.random() < switch_rate else 0


@dataclass
class _Task:
    name: str
    resume: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    call: str = "begins"
    done: bool = False


class Interleaver:
    """Run tasks concurrently, one call at a time.

    Args:
        choose: Returns which of the runnable tasks continues; its answers make up the schedule.
    """

    def __init__(self, choose: Chooser) -> None:
        self._choose = choose
        self._local = threading.local()
        self._control = threading.Semaphore(0)
        self.choices: list[Choice] = []

    def run(self, actions: Mapping[str, Callable[[], object]]) -> None:
        """Run the tasks until all have ended.

        Raises:
            TimeoutError: A task neither ended nor made a call.
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
        """Yield control before a call; threads outside the scheduler continue immediately."""
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
    """Run every schedule with at most this many interruptions.

    Args:
        play: Runs one schedule and returns the choices that were made.
        interruptions: How often a task that could continue is interrupted.
        every_nth: Interrupt only at every n-th call.
        prefix: The start of every schedule; its interruptions count.
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
    """Describe where a schedule switched tasks."""
    changes = [
        f"{choice.runnable[choice.chosen]} continues at {choice.call} ({position})"
        for position, choice in enumerate(choices)
        if choice.chosen or choice.previous_ended
    ]
    return ", ".join(changes)
