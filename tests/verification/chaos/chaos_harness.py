"""A world in which nothing happens in turn: messages come twice and late, and stages run at once."""

import json
from collections.abc import Callable, Mapping

from tests.verification.chaos.interleaver import Interleaver
from tests.verification.crash.crash_harness import CrashHarness

Message = tuple[str, str]
"""The queue's name, and the body."""
Bring = Callable[[list[Message]], None]


class ChaosHarness(CrashHarness):
    """A harness in which a campaign decides when messages arrive and when polls run.

    Attributes:
        post: receives the messages in place of their stages.
        minute: is called in place of poll.
    """

    def __post_init__(self) -> None:
        self.calm()
        super().__post_init__()
        self.calm()

    def calm(self) -> None:
        """Let everything happen in turn."""
        self.post: Bring | None = None
        self.minute: Callable[[], None] | None = None

    def start_over(self) -> None:
        super().start_over()
        self.calm()
        self.call_counter.at_each_call, self.call_counter.block = None, 1 << 30
        self.context.left_s = 900.0
        self.simulator.clock = self.seconds

    def bring(self, messages: list[Message]) -> None:
        if self.post is None:
            super().bring(messages)
        else:
            self.post(messages)

    def _poll(self) -> None:
        if self.minute is None:
            super()._poll()
        else:
            self.minute()

    def deliver(self, message: Message) -> None:
        """Give one message to its stage; it comes again later where that fails."""
        self._deliver(*message)

    def poll_alone(self) -> None:
        """Poll, as the schedule does it."""
        super()._poll()

    def late(self, message: Message, seconds: float) -> None:
        """Let a message come later."""
        self.again.append((self.seconds() + seconds, *message))

    def at_once(self, interleaver: Interleaver, acts: Mapping[str, Callable[[], object]]) -> None:
        """Let these happen at once, as the interleaver goes: it is offered before each call.

        Not between two blocks of a stream, which nobody else can change.
        """

        def offer(name: str, after: bool) -> None:  # noqa: FBT001 - as it is called
            if not after and not name.endswith(" block"):
                interleaver.offer(name)

        self.call_counter.at_each_call, self.call_counter.watching = offer, True
        try:
            interleaver.run(acts)
        finally:
            self.call_counter.at_each_call, self.call_counter.watching = None, False


def fail_for(
    relay: ChaosHarness, name: str, nth: int, duration_s: float, error: Callable[[], Exception]
) -> None:
    """Let one kind of call fail for this long, from its n-th time on."""
    met, until = 0, 0.0

    def at_each_call(called: str, after: bool) -> None:  # noqa: FBT001 - as it is called
        nonlocal met, until
        if called != name or after:
            return
        met += 1
        if met == nth:
            until = relay.seconds() + duration_s
        if relay.seconds() < until:
            raise error()

    relay.call_counter.at_each_call = at_each_call


def step_of(message: Message) -> str:
    """Name the step that a message asks for: S3's own event asks to receive an upload."""
    return str(json.loads(message[1]).get("next_step", "receive"))
