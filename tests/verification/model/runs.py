"""Run the real functions call by call: each call reads the model's state and makes the next.

A frozen function needs no thread: it is run again with the recorded answers until it reaches
the same call. So the search can return to any call and continue differently.
"""

import hashlib
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from functions.adapters.queues import read_work_message
from functions.poll import poll
from functions.results import results
from functions.submit import submit
from tests.verification.model.checks import TransitionChecker, Violation
from tests.verification.model.scenarios import Scenario
from tests.verification.model.states import Invocation, RecordedCall, State, to_datetime

Applied = tuple[State, Any]


@dataclass(frozen=True, slots=True)
class CallPoint:
    """A call that a function was about to make, at which it may die, freeze, or fail."""

    index: int
    name: str
    has_effect: bool
    state: State


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What happens at one call instead of its usual answer."""

    index: int
    kind: str


@dataclass(frozen=True)
class Outcome:
    """The outcome of an invocation: its new calls, and the state that it left."""

    points: list[CallPoint]
    history: list[RecordedCall]
    final_state: State
    error: BaseException | None


class CallReplayer:
    """The boundary between the real functions and a state: every external call passes it."""

    def __init__(self, scenario: Scenario, checker: TransitionChecker) -> None:
        self.scenario, self.checker = scenario, checker
        self.state = State()
        self.history: list[RecordedCall] = []
        self.points: list[CallPoint] = []
        self.recorded_count, self.index, self.now_s, self.tokens = 0, 0, 0, 0
        self.disturbance: Disturbance | None = None
        self.invocation = Invocation(None, 0)

    def start(self, invocation: Invocation, state: State, fault: Disturbance | None) -> None:
        self.invocation, self.state, self.disturbance = invocation, state, fault
        self.history, self.points = list(invocation.history), []
        self.recorded_count, self.index, self.tokens = len(self.history), 0, 0
        self.now_s = self.history[0].now if self.history else state.now
        self.checker.start("poll" if invocation.message is None else "claim")

    def now(self) -> Any:
        return to_datetime(self.now_s)

    def token(self) -> uuid.UUID:
        """Return a deterministic token: unique, and the same when an invocation is run again."""
        self.tokens += 1
        seed = f"{self.invocation.serial}/{self.tokens}/{self.invocation.message}"
        digest = hashlib.md5(seed.encode(), usedforsecurity=False).hexdigest()
        self.checker.tokens.add(digest)
        return uuid.UUID(digest)

    def call(
        self,
        name: str,
        apply: Callable[[State], Applied],
        *,
        has_effect: bool = False,
        can_fail: bool = True,
    ) -> Any:
        """Make a call on the current state, or return its recorded answer in a repeated run.

        Args:
            name: Of the service and the operation.
            apply: Returns the state after the call, and its answer, which may be an error.
            has_effect: Whether the call changes anything outside.
            can_fail: Whether the search may disturb this call; files decide no transition.
        """
        index, self.index = self.index, self.index + 1
        if index < self.recorded_count:
            return self._return(self.history[index])
        self.now_s = self.state.now if index == self.recorded_count else self.now_s
        if can_fail:
            self.points.append(CallPoint(index, name, has_effect, self.state))
        answer = self._answer(index, apply)
        self.history.append(RecordedCall(answer, self.state.now))
        return self._return(self.history[-1])

    def _answer(self, index: int, apply: Callable[[State], Applied]) -> Any:
        kind = (
            self.disturbance.kind
            if self.disturbance is not None and self.disturbance.index == index
            else None
        )
        if kind == "fails":
            return ConnectionResetError("not done")
        self.state, answer = apply(self.state)
        return ConnectionResetError("done, answer lost") if kind == "unheard" else answer

    def current_disturbance(self) -> str | None:
        """Return the disturbance of the current call, or None."""
        fault = self.disturbance
        return fault.kind if fault is not None and fault.index == self.index - 1 else None

    def _return(self, entry: RecordedCall) -> Any:
        self.now_s = entry.now
        if isinstance(entry.answer, Exception):
            raise entry.answer
        return entry.answer


class Runner:
    """Run the real functions on a state."""

    def __init__(self, scenario: Scenario, checker: TransitionChecker) -> None:
        from tests.verification.model.fake_services import ModelServices  # noqa: PLC0415 - it needs the replayer's type

        self.replayer = CallReplayer(scenario, checker)
        self.services = ModelServices(self.replayer)
        self.runs = 0

    def run(
        self, invocation: Invocation, state: State, fault: Disturbance | None = None
    ) -> Outcome:
        """Run an invocation to its end on `state`, from where it was frozen."""
        self.runs += 1
        replayer, error = self.replayer, None
        replayer.start(invocation, state, fault)
        try:
            self._function()
        except Violation:
            raise
        except Exception as raised:  # noqa: BLE001 - Lambda catches them all
            error = raised
        return Outcome(replayer.points, replayer.history, replayer.state, error)

    def _function(self) -> None:
        message, services = self.replayer.invocation.message, self.services
        if message is None:
            poll(services.poll, services.work_queues)
        elif message.queue == "submit":
            submit(services.submit, message.body, services.context)
        else:
            results(services.results, read_work_message(message.body), services.context)

    def start(self, state: State, message: Any) -> tuple[Invocation, State]:
        """Return a new invocation, and the state that counts it."""
        invocation = Invocation(message, state.serial)
        return invocation, replace(state, serial=state.serial + 1)


@contextmanager
def deterministic(runner: Runner) -> Iterator[None]:
    """Replace random tokens by the model's, and disable logging and jobs.json, which no function reads."""
    original_uuid4 = uuid.uuid4
    uuid.uuid4 = runner.replayer.token
    logging.disable(logging.CRITICAL)
    try:
        with patch("functions.poll.write_jobs_file", lambda *arguments: arguments[-1]):
            yield
    finally:
        logging.disable(logging.NOTSET)
        uuid.uuid4 = original_uuid4
