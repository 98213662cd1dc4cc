"""A harness in which messages arrive twice and late, and stages run concurrently."""

import json
from collections.abc import Callable, Mapping

from tests.verification.chaos.interleaver import Interleaver
from tests.verification.crash.crash_harness import CrashHarness

Message = tuple[str, str]
"""The queue's name and the message body."""
DeliverAll = Callable[[list[Message]], None]


class ChaosHarness(CrashHarness):
    """A harness in which a campaign decides when messages arrive and when polls run.

    Attributes:
        on_messages: Receives the messages instead of their stages.
        on_poll: Called instead of poll.
    """

    def __post_init__(self) -> None:
        self.reset_hooks()
        super().__post_init__()
        self.reset_hooks()

    def reset_hooks(self) -> None:
        """Restore sequential, undisturbed operation."""
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
        """Deliver one message to its stage; redeliver it later if the stage fails."""
        self._deliver(*message)

    def poll_alone(self) -> None:
        """Poll as the schedule does."""
        super()._poll()

    def delay(self, message: Message, seconds: float) -> None:
        """Deliver a message after this many seconds."""
        self.redeliveries.append((self.seconds() + seconds, *message))

    def run_concurrently(
        self, interleaver: Interleaver, actions: Mapping[str, Callable[[], object]]
    ) -> None:
        """Run actions concurrently; the interleaver may switch between them before each call.

        It does not switch inside a stream: no other stage can change those.
        """

        def yield_control(name: str, after: bool) -> None:  # noqa: FBT001 - called positionally
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
    """Let one kind of call fail for this long, starting with its n-th call."""
    matching_calls, fails_until = 0, 0.0

    def on_call(call_name: str, after: bool) -> None:  # noqa: FBT001 - called positionally
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
    """Return the step that a message asks for; S3's own event asks to receive an upload."""
    return str(json.loads(message[1]).get("next_step", "claim"))
