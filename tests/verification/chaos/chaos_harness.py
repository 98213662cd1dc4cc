"""A world in which nothing happens in turn: messages come twice and late, and stages run at once."""

import json
from collections.abc import Callable, Mapping

from tests.verification.chaos.interleaver import Interleaver
from tests.verification.crash.crash_harness import CrashHarness

Message = tuple[str, str]
"""The queue's name, and the body."""
DeliverAll = Callable[[list[Message]], None]


class ChaosHarness(CrashHarness):
    """A harness in which a campaign decides when messages arrive and when polls run.

    Attributes:
        post: receives the messages in place of their stages.
        minute: is called in place of poll.
    """

    def __post_init__(self) -> None:
        self.reset_hooks()
        super().__post_init__()
        self.reset_hooks()

    def reset_hooks(self) -> None:
        """Let everything happen in turn."""
        self.on_messages: DeliverAll | None = None
        self.on_poll: Callable[[], None] | None = None

    def start_over(self) -> None:
        super().start_over()
        self.reset_hooks()
        self.call_counter.on_call, self.call_counter.block = None, 1 << 30
        self.context.left_s = 900.0
        self.simulator.clock = self.seconds

    def deliver_all(self, messages: list[Message]) -> None:
        if self.on_messages is None:
            super().deliver_all(messages)
        else:
            self.on_messages(messages)

    def _poll(self) -> None:
        if self.on_poll is None:
            super()._poll()
        else:
            self.on_poll()

    def deliver(self, message: Message) -> None:
        """Give one message to its stage; it comes again later where that fails."""
        self._deliver(*message)

    def poll_alone(self) -> None:
        """Poll, as the schedule does it."""
        super()._poll()

    def delay(self, message: Message, seconds: float) -> None:
        """Let a message come later."""
        self.redeliveries.append((self.seconds() + seconds, *message))

    def run_concurrently(
        self, interleaver: Interleaver, actions: Mapping[str, Callable[[], object]]
    ) -> None:
        """Let these happen at once, as the interleaver goes: it is offered before each call.

        Not between two blocks of a stream, which nobody else can change.
        """

        def yield_control(name: str, after: bool) -> None:  # noqa: FBT001 - as it is called
            if not after and not name.endswith(" block"):
                interleaver.yield_control(name)

        self.call_counter.on_call, self.call_counter.counting = yield_control, True
        try:
            interleaver.run(actions)
        finally:
            self.call_counter.on_call, self.call_counter.counting = None, False


def fail_calls_for(
    relay: ChaosHarness, name: str, nth: int, duration_s: float, error: Callable[[], Exception]
) -> None:
    """Let one kind of call fail for this long, from its n-th time on."""
    matching_calls, fails_until = 0, 0.0

    def on_call(call_name: str, after: bool) -> None:  # noqa: FBT001 - as it is called
        nonlocal matching_calls, fails_until
        if call_name != name or after:
            return
        matching_calls += 1
        if matching_calls == nth:
            fails_until = relay.seconds() + duration_s
        if relay.seconds() < fails_until:
            raise error()

    relay.call_counter.on_call = on_call


def step_of(message: Message) -> str:
    """Name the step that a message asks for: S3's own event asks to receive an upload."""
    return str(json.loads(message[1]).get("next_step", "receive"))
