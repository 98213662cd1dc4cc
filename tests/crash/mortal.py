"""A world whose stages can be struck at any call they make: to AWS, or to Claude."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from functions.batches.files import Files
from functions.batches.hints import Hints
from functions.batches.settings import Settings
from functions.poll import poll
from functions.results import results
from functions.submit import submit
from tests.world import RESULTS, World, json_hint, world

VISIBLE_S = 1200.0
"""A message whose function died is there again after this."""


class Killed(BaseException):
    """The process is gone: no `except Exception` sees it."""


@dataclass
class Strike:
    """What happens at one call of a run: the N-th that any stage makes."""

    at: int
    after: bool
    do: Callable[[], None]


@dataclass
class Fate:
    """Counts the calls that stages make, and strikes at one of them."""

    strike: Strike | None = None
    watching: bool = False
    calls: list[str] = field(default_factory=list)

    def around[**P, R](self, name: str, call: Callable[P, R]) -> Callable[P, R]:
        """Make a call that can be struck just before and just after."""

        def struck(*args: P.args, **kwargs: P.kwargs) -> R:
            number = self._count(name)
            self._hit(number, after=False)
            answer = call(*args, **kwargs)
            self._hit(number, after=True)
            return answer

        return struck

    def _count(self, name: str) -> int:
        if not self.watching:
            return -1
        self.calls.append(name)
        return len(self.calls)

    def _hit(self, number: int, *, after: bool) -> None:
        strike = self.strike
        if self.watching and strike and (strike.at, strike.after) == (number, after):
            self.strike = None
            strike.do()


class Mortal(World):
    """A world in which a stage may die; what it was told comes again, as SQS does it."""

    def __post_init__(self) -> None:
        self.fate, self.polling = Fate(), False
        self.again: list[tuple[float, str, str]] = []
        self.deaths: list[BaseException] = []
        for client in (self.s3, self.sqs, self.sns, self.dynamodb):
            self._wrap(client)
        super().__post_init__()

    def _wrap(self, client: Any) -> None:
        call = client._make_api_call  # noqa: SLF001 - the one way that every call goes

        def named(operation: str, arguments: dict[str, Any]) -> Any:
            name = f"{client.meta.service_model.service_name}.{operation}"
            return self.fate.around(name, call)(operation, arguments)

        client._make_api_call = named  # noqa: SLF001

    def _doors[S: Settings](self, kind: type[S], more: dict[str, str]) -> Any:
        doors = super()._doors(kind, more)
        claude: Any = doors.claude
        for name in ("create", "listing", "cancel"):
            setattr(claude, name, self.fate.around(f"claude.{name}", getattr(claude, name)))
        streamed = claude.results

        def whole(batch_id: str) -> Iterator[bytes]:
            blocks = [*streamed(batch_id)]  # struck after it: all of it was read
            return (block for block in blocks)

        claude.results = self.fate.around("claude.results", whole)
        return replace(doors, files=Files(RESULTS, client=self.s3, threads=1))

    def submit_message(self, body: str) -> None:
        self._deliver("submit", body)

    def tick(self, seconds: float = 60.0) -> Any:
        self.pass_time(seconds)
        self.polling = True
        self._run(lambda: poll(self.poll, self.hints))
        self.polling = False
        self.work_off()

    @property
    def hints(self) -> Hints:
        return Hints(self.queues["submit"], self.queues["results"], client=self.sqs)

    def work_off(self) -> None:
        due = [one for one in self.again if one[0] <= self.seconds()]
        self.again = [one for one in self.again if one[0] > self.seconds()]
        for _, queue, body in due:
            self._deliver(queue, body)
        for queue in ("submit", "results"):
            for body in self._drain(queue):
                self._deliver(queue, body)

    def _deliver(self, queue: str, body: str) -> None:
        context: Any = self.context

        def stage() -> None:
            if queue == "submit":
                submit(self.submit, body, context)
            else:
                results(self.results, json_hint(body), context)

        ok = self._run(stage)
        if not ok:
            self.again.append((self.seconds() + VISIBLE_S, queue, body))

    def _run(self, stage: Callable[[], Any]) -> bool:
        """Run a stage as the runtime does: whatever it dies of, the next invocation finds the table."""
        self.fate.watching = True
        try:
            stage()
        except (Killed, Exception) as error:  # noqa: BLE001 - the runtime takes them all
            self.deaths.append(error)
            return False
        else:
            return True
        finally:
            self.fate.watching = False


@contextmanager
def mortal(folder: Path, **simulated: Any) -> Iterator[Mortal]:
    """Make a world of its own."""
    with world(folder, **simulated) as made:
        taken = {one.name: getattr(made, one.name) for one in fields(made)}
        yield Mortal(**taken)
