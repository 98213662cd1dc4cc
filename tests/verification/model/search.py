"""Search all runs with a limited number of disturbances; between them, the real functions run."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.verification.model.checks import TransitionChecker, Violation, check_final_state
from tests.verification.model.fake_services import s3_event
from tests.verification.model.runs import CallPoint, Disturbance, Outcome, Runner, deterministic
from tests.verification.model.scenarios import KEY, Scenario
from tests.verification.model.states import Invocation, Message, State, timestamp

DISTURBANCES = {
    "take": ("fails", "unheard"),
    "write": ("fails", "unheard"),
    "publish": ("fails", "unheard"),
    "send": ("fails", "unheard"),
    "create": ("lost", "hidden", "later", "paused", "error", "unreached"),
    "listing": ("busy",),
    "cancel": ("busy", "deaf"),
    "results": ("absent", "cut"),
}
"""What may happen instead of a call's usual answer."""


@dataclass(frozen=True, slots=True)
class Node:
    """A state between two invocations, its remaining disturbances, and the path to it."""

    state: State
    disturbances_left: int
    description: str
    previous: "Node | None" = None

    def path_description(self) -> list[str]:
        """Return the steps that led to this state."""
        after_run = [] if self.previous is None else self.previous.path_description()
        return [*after_run, self.description]


@dataclass
class SearchResult:
    """The result of a search."""

    scenario: Scenario
    states: int = 0
    transitions: int = 0
    ends: int = 0
    recoverable: int = 0
    longest: int = 0
    violations: list[str] = field(default_factory=list)
    checker: TransitionChecker = field(default_factory=TransitionChecker)


class Search:
    """The search of one scenario."""

    def __init__(self, scenario: Scenario, disturbances: int, frozen: int = 1) -> None:
        self.scenario, self.max_disturbances, self.frozen = scenario, disturbances, frozen
        self.result = SearchResult(scenario)
        self.runner = Runner(scenario, self.result.checker)
        self._most_disturbances_left: dict[bytes, int] = {}
        self._successors: dict[bytes, tuple[bytes | None, int]] = {}
        self._nodes: dict[bytes, Node] = {}
        self._stack: list[Node] = []

    def run(self) -> SearchResult:
        """Explore all states; then check that each of them leads to the end."""
        node = Node(self.scenario.initial_state(), self.max_disturbances, "upload")
        with deterministic(self.runner):
            self._visit(node)
            while self._stack and not self.result.violations:
                node = self._stack.pop()
                try:
                    self._expand(node)
                except Violation as violation:
                    self._report_violation(str(violation), node)
        if not self.result.violations:
            self._check_all_end()
        self.result.states = len(self._nodes)
        return self.result

    def _report_violation(self, kind: str, node: Node) -> None:
        self.result.violations.append(
            f"{self.scenario.name}: {kind}; after {' / '.join(node.path_description())}"
        )

    def _visit(self, node: Node) -> bytes:
        """Queue a state if it is new, or if more disturbances are left than at its last visit."""
        self.result.transitions += 1
        key = node.state.key()
        if self._most_disturbances_left.get(key, -1) < node.disturbances_left:
            self._most_disturbances_left[key] = node.disturbances_left
            self._nodes.setdefault(key, node)
            self._stack.append(node)
        return key

    def _expand(self, node: Node) -> None:
        state = node.state
        key = state.key()
        if node.disturbances_left < self._most_disturbances_left[key]:
            return
        next_step = self._next_without_disturbance(node)
        if not state.frozen:
            self._successors[key] = next_step
        else:
            without_frozen = _add_mark(replace(state, frozen=()), "died")
            for invocation in state.frozen:
                without_frozen = _redeliver(without_frozen, invocation.message)
            self._successors[key] = (self._visit(Node(without_frozen, 0, "all die", node)), 0)
            for invocation in state.frozen:
                others = tuple(f for f in state.frozen if f is not invocation)
                self._run_and_explore(node, invocation, replace(state, frozen=others), "wakes")
        if node.disturbances_left:
            self._disturb_between_invocations(node)

    def _next_without_disturbance(self, node: Node) -> tuple[bytes | None, int]:
        """Continue undisturbed: with the next message or, if there is none, the next poll."""
        state = node.state
        if state.messages:
            first, *others = state.messages
            started, state = self.runner.start(replace(state, messages=tuple(others)), first)
            return self._run_and_explore(node, started, state, "message"), 0
        if not any("open" in item.attributes for item in state.table.values()):
            if not state.frozen:
                check_final_state(state, self.scenario.expected_lines)
                self.result.ends += 1
            return None, 0
        next_poll_state = replace(state, now=state.now + self.scenario.step_s)
        started, next_poll_state = self.runner.start(next_poll_state, None)
        return self._run_and_explore(node, started, next_poll_state, "poll"), 1

    def _disturb_between_invocations(self, node: Node) -> None:
        """Explore what may happen between two invocations."""
        state, disturbances_left = node.state, node.disturbances_left - 1
        if "cancel" not in state.marks and self._is_enabled("cancel"):
            marker = s3_event(KEY + ".cancel", 0, timestamp(state.now))
            after = replace(
                state, messages=(marker, *state.messages), marks=state.marks | {"cancel"}
            )
            self._visit(Node(after, disturbances_left, "canceled", node))
        if not state.messages:
            return
        first, *others = state.messages
        if self._is_enabled("twice"):
            after = replace(state, messages=(first, first, *others))
            self._visit(Node(after, disturbances_left, "delivered twice", node))
            again = replace(state, messages=(first, *others, first))
            self._visit(Node(again, disturbances_left, "redelivered later", node))
        if not first.is_s3_event and self._is_enabled("lost work message"):
            after = replace(state, messages=tuple(others))
            self._visit(Node(after, disturbances_left, "work message lost", node))

    def _is_enabled(self, kind: str) -> bool:
        return self.scenario.faults is None or kind in self.scenario.faults

    def _run_and_explore(
        self, node: Node, invocation: Invocation, state: State, description: str
    ) -> bytes:
        """Run an invocation and explore its disturbances; return its undisturbed state."""
        step = invocation.message.body[-40:] if invocation.message else "poll"
        outcome = self.runner.run(invocation, state)
        self.result.transitions += len(outcome.points)
        after_run = Node(
            outcome.final_state, node.disturbances_left, f"{description} {step}", node
        )
        key = self._visit(self._state_after(after_run, invocation, outcome))
        if node.disturbances_left:
            self._disturb_calls(after_run, invocation, outcome, node.disturbances_left - 1)
        return key

    def _state_after(self, node: Node, invocation: Invocation, outcome: Outcome) -> Node:
        """Return the state after an invocation; a failed one gets its S3 event again."""
        failed = outcome.error is not None
        return replace(
            node,
            state=_redeliver(outcome.final_state, invocation.message)
            if failed
            else outcome.final_state,
        )

    def _disturb_calls(
        self, node: Node, invocation: Invocation, outcome: Outcome, disturbances_left: int
    ) -> None:
        """Explore a disturbance at each call of an invocation."""
        previous: CallPoint | None = None
        for point in outcome.points:
            history = tuple(outcome.history[: point.index])
            where = f"{node.description} at {point.index} {point.name}"
            if point.has_effect and self._is_enabled("crash"):
                after = _redeliver(_add_mark(point.state, "died"), invocation.message)
                self._visit(Node(after, disturbances_left, f"{where}: dies", node.previous))
            if (point.has_effect or previous is None or previous.has_effect) and self._is_enabled(
                "freeze"
            ):
                self._freeze_at(
                    node, replace(invocation, history=history), point, disturbances_left
                )
            for kind in self._disturbance_kinds(point):
                self._disturb_at(
                    node,
                    replace(invocation, history=history),
                    point,
                    Disturbance(point.index, kind),
                    disturbances_left,
                )
            previous = point

    def _freeze_at(
        self, node: Node, frozen_invocation: Invocation, point: CallPoint, disturbances_left: int
    ) -> None:
        """Freeze an invocation at this call while others continue."""
        if len(point.state.frozen) < self.frozen:
            frozen = (*point.state.frozen, frozen_invocation)
            after = _add_mark(replace(point.state, frozen=frozen), "frozen")
            self._visit(
                Node(
                    after,
                    disturbances_left,
                    f"{node.description} at {point.index} {point.name}: freezes",
                    node.previous,
                )
            )

    def _disturbance_kinds(self, point: CallPoint) -> Iterator[str]:
        return (kind for kind in DISTURBANCES.get(point.name, ()) if self._is_enabled(kind))

    def _disturb_at(
        self,
        node: Node,
        frozen_invocation: Invocation,
        point: CallPoint,
        disturbance: Disturbance,
        disturbances_left: int,
    ) -> None:
        """Disturb one call; later calls may be disturbed as well."""
        state = _add_mark(
            point.state, "failed" if disturbance.kind == "fails" else disturbance.kind
        )
        outcome = self.runner.run(frozen_invocation, state, disturbance)
        self.result.transitions += len(outcome.points)
        after_run = Node(
            outcome.final_state,
            disturbances_left,
            f"{node.description} at {point.index} {point.name}: {disturbance.kind}",
            node.previous,
        )
        self._visit(self._state_after(after_run, frozen_invocation, outcome))
        if disturbances_left:
            rest = replace(outcome, points=outcome.points[1:])
            self._disturb_calls(after_run, frozen_invocation, rest, disturbances_left - 1)

    def _check_all_end(self) -> None:
        """Check that each state leads to the end without disturbances, and none into a cycle."""
        polls: dict[bytes, int] = {}
        for key in self._nodes:
            path: list[bytes] = []
            current: bytes | None = key
            visited: set[bytes] = set()
            while current is not None and current not in polls:
                if current in visited:
                    self._report_violation("never finishes", self._nodes[current])
                    return
                visited.add(current)
                path.append(current)
                current = self._successors[current][0]
            for key_ in reversed(path):
                following, count = self._successors[key_]
                polls[key_] = count + (polls[following] if following is not None else 0)
        self.result.recoverable = len(polls)
        self.result.longest = max(polls.values())


def _redeliver(state: State, message: Message | None) -> State:
    """Deliver S3's event again; poll finds all other work."""
    if message is None or not message.is_s3_event:
        return state
    return replace(state, messages=(*state.messages, message))


def _add_mark(state: State, mark: str) -> State:
    return replace(state, marks=state.marks | {mark})
