"""A world in which nothing happens in turn: messages come twice and late, and stages run at once."""

import json
from collections.abc import Callable, Mapping

from tests.crash.harness import CrashHarness
from tests.disorder.interleaver import Baton

Message = tuple[str, str]
"""The queue's name, and the body."""
Bring = Callable[[list[Message]], None]


class Restless(CrashHarness):
    """A world whose post and whose schedule somebody else may take into his hands.

    Attributes:
        post: is given the messages instead of their stages.
        minute: is called instead of poll.
    """

    def __post_init__(self) -> None:
        self.calm()
        super().__post_init__()
        self.calm()

    def calm(self) -> None:
        """Let everything happen in turn."""
        self.post: Bring | None = None
        self.minute: Callable[[], None] | None = None

    def anew(self) -> None:
        super().anew()
        self.calm()
        self.fate.befall, self.fate.block = None, 1 << 30
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

    def at_once(self, baton: Baton, acts: Mapping[str, Callable[[], object]]) -> None:
        """Let these happen at once, as the baton goes: it is offered before each call.

        Not between two blocks of a stream, which nobody else can change.
        """

        def offer(name: str, after: bool) -> None:  # noqa: FBT001 - as it is called
            if not after and not name.endswith(" block"):
                baton.offer(name)

        self.fate.befall, self.fate.watching = offer, True
        try:
            baton.run(acts)
        finally:
            self.fate.befall, self.fate.watching = None, False


def step_of(message: Message) -> str:
    """Name the step that a message asks for: S3's own event asks to receive an upload."""
    return str(json.loads(message[1]).get("next_step", "receive"))
