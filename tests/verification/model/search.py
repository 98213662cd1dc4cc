"""Every run with at most so many disturbances: breadth over what may go wrong, the real functions in between."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.verification.model.checks import Moves, Violation, at_the_end
from tests.verification.model.fake_services import s3_event
from tests.verification.model.runs import Fault, Outcome, Point, Runner, no_chance
from tests.verification.model.scenarios import KEY, Scenario
from tests.verification.model.states import Invocation, Message, State, at

FAULTS = {
    "take": ("fails", "unheard"),
    "write": ("fails", "unheard"),
    "publish": ("fails", "unheard"),
    "send": ("fails", "unheard"),
    "create": ("lost", "hidden", "later", "paused", "error", "unreached"),
    "listing": ("busy",),
    "cancel": ("busy", "deaf"),
    "results": ("absent", "cut"),
}
"""What may happen in place of a call's usual answer."""


@dataclass(frozen=True, slots=True)
class Node:
    """A state between two invocations, how much may still go wrong, and how it came about."""

    state: State
    left: int
    how: str
    before: "Node | None" = None

    def story(self) -> list[str]:
        """Tell how this state came about."""
        told = [] if self.before is None else self.before.story()
        return [*told, self.how]


@dataclass
class Found:
    """What a search has seen."""

    scenario: Scenario
    states: int = 0
    transitions: int = 0
    ends: int = 0
    recoverable: int = 0
    longest: int = 0
    broken: list[str] = field(default_factory=list)
    moves: Moves = field(default_factory=Moves)


class Search:
    """Explores one scenario."""

    def __init__(self, scenario: Scenario, disturbances: int, frozen: int = 1) -> None:
        self.scenario, self.most, self.frozen = scenario, disturbances, frozen
        self.found = Found(scenario)
        self.runner = Runner(scenario, self.found.moves)
        self._best: dict[bytes, int] = {}
        self._next: dict[bytes, tuple[bytes | None, int]] = {}
        self._nodes: dict[bytes, Node] = {}
        self._stack: list[Node] = []

    def run(self) -> Found:
        """Explore everything; then see whether each state leads to the end."""
        node = Node(self.scenario.begin(), self.most, "upload")
        with no_chance(self.runner):
            self._visit(node)
            while self._stack and not self.found.broken:
                node = self._stack.pop()
                try:
                    self._expand(node)
                except Violation as violation:
                    self._break(str(violation), node)
        if not self.found.broken:
            self._all_end()
        self.found.states = len(self._nodes)
        return self.found

    def _break(self, what: str, node: Node) -> None:
        self.found.broken.append(f"{self.scenario.name}: {what}; after {' / '.join(node.story())}")

    def _visit(self, node: Node) -> bytes:
        """Note a state, to be explored if it is new, or if more may go wrong from here than before."""
        self.found.transitions += 1
        key = node.state.key()
        if self._best.get(key, -1) < node.left:
            self._best[key] = node.left
            self._nodes.setdefault(key, node)
            self._stack.append(node)
        return key

    def _expand(self, node: Node) -> None:
        state = node.state
        key = state.key()
        if node.left < self._best[key]:
            return
        usual = self._usual(node)
        if not state.frozen:
            self._next[key] = usual
        else:
            alone = _marked(replace(state, frozen=()), "died")
            for one in state.frozen:
                alone = _again(alone, one.message)
            self._next[key] = (self._visit(Node(alone, 0, "all die", node)), 0)
            for one in state.frozen:
                others = tuple(f for f in state.frozen if f is not one)
                self._play(node, one, replace(state, frozen=others), "wakes")
        if node.left:
            self._meanwhile(node)

    def _usual(self, node: Node) -> tuple[bytes | None, int]:
        """Let happen what happens if nothing goes wrong: the next message or, where there is none, the next poll."""
        state = node.state
        if state.messages:
            first, *others = state.messages
            started, state = self.runner.start(replace(state, messages=tuple(others)), first)
            return self._play(node, started, state, "message"), 0
        if not any("open" in item.attributes for item in state.table.values()):
            if not state.frozen:
                at_the_end(state, self.scenario.rows_out)
                self.found.ends += 1
            return None, 0
        later = replace(state, now=state.now + self.scenario.step_s)
        started, later = self.runner.start(later, None)
        return self._play(node, started, later, "poll"), 1

    def _meanwhile(self, node: Node) -> None:
        """Let happen what may happen between two invocations."""
        state, left = node.state, node.left - 1
        if "cancel" not in state.marks and self._may("cancel"):
            wish = s3_event(KEY + ".cancel", 0, at(state.now))
            after = replace(
                state, messages=(wish, *state.messages), marks=state.marks | {"cancel"}
            )
            self._visit(Node(after, left, "canceled", node))
        if not state.messages:
            return
        first, *others = state.messages
        if self._may("twice"):
            after = replace(state, messages=(first, first, *others))
            self._visit(Node(after, left, "comes twice", node))
            again = replace(state, messages=(first, *others, first))
            self._visit(Node(again, left, "comes again later", node))
        if not first.event and self._may("lost work message"):
            after = replace(state, messages=tuple(others))
            self._visit(Node(after, left, "work message lost", node))

    def _may(self, what: str) -> bool:
        return self.scenario.faults is None or what in self.scenario.faults

    def _play(self, node: Node, invocation: Invocation, state: State, how: str) -> bytes:
        """Run an invocation, and all that may become of it; give the state that it leaves if all goes well."""
        step = invocation.message.body[-40:] if invocation.message else "poll"
        outcome = self.runner.run(invocation, state)
        self.found.transitions += len(outcome.points)
        told = Node(outcome.end, node.left, f"{how} {step}", node)
        key = self._visit(self._left(told, invocation, outcome))
        if node.left:
            self._disturb(told, invocation, outcome, node.left - 1)
        return key

    def _left(self, node: Node, invocation: Invocation, outcome: Outcome) -> Node:
        """Give what an invocation leaves: an event that it did not work off comes again."""
        failed = outcome.error is not None
        return replace(
            node, state=_again(outcome.end, invocation.message) if failed else outcome.end
        )

    def _disturb(self, node: Node, invocation: Invocation, outcome: Outcome, left: int) -> None:
        """Strike an invocation at each of its calls."""
        before: Point | None = None
        for point in outcome.points:
            past = tuple(outcome.past[: point.at])
            where = f"{node.how} at {point.at} {point.name}"
            if point.effect and self._may("crash"):
                after = _again(_marked(point.state, "died"), invocation.message)
                self._visit(Node(after, left, f"{where}: dies", node.before))
            if (point.effect or before is None or before.effect) and self._may("freeze"):
                self._freeze(node, replace(invocation, past=past), point, left)
            for kind in self._kinds(point):
                self._fault(
                    node, replace(invocation, past=past), point, Fault(point.at, kind), left
                )
            before = point

    def _freeze(self, node: Node, stands: Invocation, point: Point, left: int) -> None:
        """Let an invocation stand still here, while others go on."""
        if len(point.state.frozen) < self.frozen:
            frozen = (*point.state.frozen, stands)
            after = _marked(replace(point.state, frozen=frozen), "frozen")
            self._visit(
                Node(after, left, f"{node.how} at {point.at} {point.name}: freezes", node.before)
            )

    def _kinds(self, point: Point) -> Iterator[str]:
        return (kind for kind in FAULTS.get(point.name, ()) if self._may(kind))

    def _fault(
        self, node: Node, stands: Invocation, point: Point, fault: Fault, left: int
    ) -> None:
        """Let one call be answered otherwise; what follows may be struck as well."""
        state = _marked(point.state, "failed" if fault.kind == "fails" else fault.kind)
        outcome = self.runner.run(stands, state, fault)
        self.found.transitions += len(outcome.points)
        told = Node(
            outcome.end, left, f"{node.how} at {point.at} {point.name}: {fault.kind}", node.before
        )
        self._visit(self._left(told, stands, outcome))
        if left:
            rest = replace(outcome, points=outcome.points[1:])
            self._disturb(told, stands, rest, left - 1)

    def _all_end(self) -> None:
        """Follow each state where it leads if nothing more goes wrong; none may go round in a circle."""
        polls: dict[bytes, int] = {}
        for key in self._nodes:
            way: list[bytes] = []
            at_: bytes | None = key
            on_way: set[bytes] = set()
            while at_ is not None and at_ not in polls:
                if at_ in on_way:
                    self._break("waits for ever", self._nodes[at_])
                    return
                on_way.add(at_)
                way.append(at_)
                at_ = self._next[at_][0]
            for one in reversed(way):
                following, count = self._next[one]
                polls[one] = count + (polls[following] if following is not None else 0)
        self.found.recoverable = len(polls)
        self.found.longest = max(polls.values())


def _again(state: State, message: Message | None) -> State:
    """Bring S3's event again; poll brings what else there is to do."""
    if message is None or not message.event:
        return state
    return replace(state, messages=(*state.messages, message))


def _marked(state: State, mark: str) -> State:
    return replace(state, marks=state.marks | {mark})
