"""Run the real functions, call by call: what they ask of the outside is answered out of a state, and makes the next.

A function that stands still needs no thread: it is started again, is given the answers that it has had, and stands
where it stood. So a search can go back to any call and let it go otherwise.
"""

import hashlib
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from functions.adapters.queues import read_work_message
from functions.poll import poll
from functions.results import results
from functions.submit import submit
from tests.verification.model.checks import Moves, Violation
from tests.verification.model.scenarios import Scenario
from tests.verification.model.states import Entry, Invocation, State, moment

Applied = tuple[State, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """A call that a function was about to make: here it may die, stand still, or be answered otherwise."""

    at: int
    name: str
    effect: bool
    state: State


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at one call in place of the usual."""

    at: int
    kind: str


@dataclass(frozen=True)
class Outcome:
    """How an invocation went: each call that it made anew, and the state that it left."""

    points: list[Point]
    past: list[Entry]
    end: State
    error: BaseException | None


class Cable:
    """Between the real functions and a state: every call to AWS and to Claude goes through here."""

    def __init__(self, scenario: Scenario, moves: Moves) -> None:
        self.scenario, self.moves = scenario, moves
        self.state = State()
        self.past: list[Entry] = []
        self.points: list[Point] = []
        self.known, self.index, self.now_s, self.tokens = 0, 0, 0, 0
        self.fault: Fault | None = None
        self.invocation = Invocation(None, 0)

    def begin(self, invocation: Invocation, state: State, fault: Fault | None) -> None:
        self.invocation, self.state, self.fault = invocation, state, fault
        self.past, self.points = list(invocation.past), []
        self.known, self.index, self.tokens = len(self.past), 0, 0
        self.now_s = self.past[0].now if self.past else state.now
        self.moves.begin("poll" if invocation.message is None else "receive")

    def now(self) -> Any:
        return moment(self.now_s)

    def token(self) -> uuid.UUID:
        """Give what chance would: no two alike, and the same one when an invocation is run again."""
        self.tokens += 1
        of = f"{self.invocation.serial}/{self.tokens}/{self.invocation.message}"
        found = hashlib.md5(of.encode(), usedforsecurity=False).hexdigest()
        self.moves.tokens.add(found)
        return uuid.UUID(found)

    def call(
        self,
        name: str,
        apply: Callable[[State], Applied],
        *,
        effect: bool = False,
        seen: bool = True,
    ) -> Any:
        """Make a call: in the state as it is now or, when run again, as it was answered before.

        Args:
            name: of the service and the operation.
            apply: gives the state after it, and its answer; an error may be the answer.
            effect: whether it changes anything outside.
            seen: whether a function may be struck here; no item is decided by files.
        """
        index, self.index = self.index, self.index + 1
        if index < self.known:
            return self._told(self.past[index])
        self.now_s = self.state.now if index == self.known else self.now_s
        if seen:
            self.points.append(Point(index, name, effect, self.state))
        answer = self._answer(index, apply)
        self.past.append(Entry(answer, self.state.now))
        return self._told(self.past[-1])

    def _answer(self, index: int, apply: Callable[[State], Applied]) -> Any:
        kind = self.fault.kind if self.fault is not None and self.fault.at == index else None
        if kind == "fails":
            return ConnectionResetError("not done")
        self.state, answer = apply(self.state)
        return ConnectionResetError("done, and nobody knows") if kind == "unheard" else answer

    def answered_as(self) -> str | None:
        """Say what Claude is to answer to the call that is being made; None for the usual."""
        fault = self.fault
        return fault.kind if fault is not None and fault.at == self.index - 1 else None

    def _told(self, entry: Entry) -> Any:
        self.now_s = entry.now
        if isinstance(entry.answer, Exception):
            raise entry.answer
        return entry.answer


class Runner:
    """Starts the real functions on a state."""

    def __init__(self, scenario: Scenario, moves: Moves) -> None:
        from tests.verification.model.fake_services import Opened  # noqa: PLC0415 - it needs the cable's type

        self.cable = Cable(scenario, moves)
        self.opened = Opened(self.cable)
        self.runs = 0

    def run(self, invocation: Invocation, state: State, fault: Fault | None = None) -> Outcome:
        """Run an invocation to its end, in `state`, from where it stands."""
        self.runs += 1
        cable, error = self.cable, None
        cable.begin(invocation, state, fault)
        try:
            self._function()
        except Violation:
            raise
        except Exception as raised:  # noqa: BLE001 - the runtime takes them all
            error = raised
        return Outcome(cable.points, cable.past, cable.state, error)

    def _function(self) -> None:
        message, opened = self.cable.invocation.message, self.opened
        if message is None:
            poll(opened.poll, opened.work_queues)
        elif message.queue == "submit":
            submit(opened.submit, message.body, opened.context)
        else:
            results(opened.results, read_work_message(message.body), opened.context)

    def start(self, state: State, message: Any) -> tuple[Invocation, State]:
        """Make an invocation that nobody has seen yet."""
        invocation = Invocation(message, state.serial)
        return invocation, replace(state, serial=state.serial + 1)


@contextmanager
def no_chance(runner: Runner) -> Iterator[None]:
    """Take chance out, as the clock is: tokens come from the model. Logs are not written."""
    real = uuid.uuid4
    uuid.uuid4 = runner.cable.token
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        uuid.uuid4 = real
