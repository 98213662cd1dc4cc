"""Warm Lambdas: processes that run their stage once for each message, as many of one kind as there are cores."""

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from benchmarks.processes import LAUNCH, ROOT, TOLD, BenchmarkError, environment
from benchmarks.relay import STAGE, Relay

LAMBDA_S = 900
STAGES = {"plan": "submit", "send": "submit", "collect": "results", "assemble": "results"}
"""Whose step it is."""


@dataclass(frozen=True)
class Invocation:
    """One message, and what its work took.

    Attributes:
        step: plan, send, collect, assemble, or poll.
        work_s: seconds, by the process's own clock; Lambda bills them.
        work_cpu_s: what it had of the processors.
    """

    step: str
    work_s: float
    work_cpu_s: float


class Container:
    """One process of a stage, kept warm.

    Args:
        before: words of a command that runs the process, such as one that limits it.
    """

    def __init__(self, relay: Relay, stage: str, folder: Path, before: Sequence[str] = ()) -> None:
        self._took = Path(tempfile.mkdtemp(dir=folder), "took.json")
        words = [*before, sys.executable, "-S", LAUNCH, self._took, *STAGE, stage]
        self._process = subprocess.Popen(
            [*(str(word) for word in words), str(LAMBDA_S)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment(relay.environment()),
        )  # fmt: skip
        self._line("ready", stage)

    def invoke(self, message: dict[str, Any], step: str) -> Invocation:
        """Give it a message, and wait until it is done.

        Raises:
            BenchmarkError: the stage failed; the message is its last words.
        """
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        took = json.loads(self._line(TOLD, step))
        return Invocation(step, took["work_s"], took["work_cpu_s"])

    def _line(self, begin: str, step: str) -> str:
        """Read on to a line that begins so; others are the stage's log and metrics."""
        assert self._process.stdout is not None  # noqa: S101 - as above
        for line in self._process.stdout:
            if line.startswith(begin):
                return line
        said = self._process.communicate()[1].strip().rpartition("\n")[2]
        message = f"{step} failed: {said}"
        raise BenchmarkError(message)

    def end(self) -> float:
        """Let the process end; gives its peak memory, in MB."""
        self._process.communicate()
        return float(json.loads(self._took.read_text(encoding="utf-8"))["peak_mb"])


@dataclass
class Lambdas:
    """The three functions.

    Attributes:
        at_once: containers of submit, and of results; with one of each, everything happens in turn.
        invocations: everything that was done.
        peaks: the peak memory of each function, in MB; known at the end.
    """

    relay: Relay
    at_once: int
    invocations: list[Invocation] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    _idle: dict[str, "SimpleQueue[Container]"] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def warm(
        cls,
        relay: Relay,
        folder: Path,
        before: Callable[[], Sequence[str]] = list,
        at_once: int | None = None,
    ) -> Iterator[Self]:
        """Start them, and end them.

        Args:
            relay: what they need.
            folder: where they note what they took.
            before: gives the words before a container's command.
            at_once: containers of submit, and of results; as many as there are cores, if left out.
        """
        made = cls(relay, at_once or os.cpu_count() or 1)
        with ExitStack() as ending:
            for stage, count in (("submit", made.at_once), ("results", made.at_once), ("poll", 1)):
                containers = [Container(relay, stage, folder, before()) for _ in range(count)]
                ending.callback(made._end, stage, containers)
                made._idle[stage] = SimpleQueue()
                for container in containers:
                    made._idle[stage].put(container)
            yield made

    def _end(self, stage: str, containers: Sequence[Container]) -> None:
        self.peaks[stage] = max(container.end() for container in containers)

    def seconds(self) -> dict[str, float]:
        """Add up what each step took."""
        total: dict[str, float] = defaultdict(float)
        for one in self.invocations:
            total[one.step] += one.work_s
        return dict(total)

    def invoke(self, message: dict[str, Any]) -> None:
        """Give one message to its stage."""
        step = message.get("next_step", "plan")
        self._invoke(STAGES[step], step, message)

    def poll(self) -> int:
        """Poll, and give all work messages to their stages, each as soon as a container is free; gives how many there were."""
        self._invoke("poll", "poll", {})
        work_queues = self._work_messages()
        with ThreadPoolExecutor(1 if self.at_once == 1 else 2 * self.at_once) as pool:
            for _ in pool.map(self.invoke, work_queues):
                pass
        return len(work_queues)

    def _invoke(self, stage: str, step: str, message: dict[str, Any]) -> None:
        container = self._idle[stage].get()
        self.invocations.append(container.invoke(message, step))
        self._idle[stage].put(container)

    def _work_messages(self) -> list[dict[str, Any]]:
        """Take all there are."""
        queue, sqs, found = self.relay.queue, self.relay.cloud.sqs, list[dict[str, Any]]()
        while got := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            found += [json.loads(one["Body"]) for one in got]
            for one in got:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=one["ReceiptHandle"])
        return found
