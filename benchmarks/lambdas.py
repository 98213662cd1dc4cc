"""Warm Lambda functions: processes that run their stage once per message, one per core and stage."""

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

from benchmarks.processes import LAUNCH, REPORT_PREFIX, ROOT, BenchmarkError, build_env
from benchmarks.relay import STAGE, Relay

LAMBDA_S = 900
STAGES = {"plan": "submit", "send": "submit", "collect": "results", "assemble": "results"}
"""The stage of each step."""


@dataclass(frozen=True)
class Invocation:
    """One invocation and its resource usage.

    Attributes:
        step: plan, send, collect, assemble, or poll.
        work_s: seconds by the process's own clock, as Lambda bills them.
        work_cpu_s: CPU seconds.
    """

    step: str
    work_s: float
    work_cpu_s: float


class Container:
    """A warm process of a stage.

    Args:
        command_prefix: a command that runs the process, such as one that limits it.
    """

    def __init__(
        self, relay: Relay, stage: str, folder: Path, command_prefix: Sequence[str] = ()
    ) -> None:
        self._usage_file = Path(tempfile.mkdtemp(dir=folder), "took.json")
        arguments = [
            *command_prefix,
            sys.executable,
            "-S",
            LAUNCH,
            self._usage_file,
            *STAGE,
            stage,
        ]
        self._process = subprocess.Popen(
            [*(str(word) for word in arguments), str(LAMBDA_S)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=ROOT, env=build_env(relay.stage_env()),
        )  # fmt: skip
        self._read_line_starting_with("ready", stage)

    def invoke(self, message: dict[str, Any], step: str) -> Invocation:
        """Send a message and wait for its result.

        Raises:
            BenchmarkError: the stage failed; the message is its last line of output.
        """
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        usage = json.loads(self._read_line_starting_with(REPORT_PREFIX, step))
        return Invocation(step, usage["work_s"], usage["work_cpu_s"])

    def _read_line_starting_with(self, prefix: str, step: str) -> str:
        """Skip the stage's log and metrics up to a line with this prefix."""
        assert self._process.stdout is not None  # noqa: S101 - as above
        for line in self._process.stdout:
            if line.startswith(prefix):
                return line
        last_line = self._process.communicate()[1].strip().rpartition("\n")[2]
        message = f"{step} failed: {last_line}"
        raise BenchmarkError(message)

    def stop(self) -> float:
        """Stop the process and return its peak memory in MB."""
        self._process.communicate()
        return float(json.loads(self._usage_file.read_text(encoding="utf-8"))["peak_mb"])


@dataclass
class Lambdas:
    """The three functions.

    Attributes:
        concurrency: containers each of submit and results; with 1, everything is sequential.
        invocations: all invocations so far.
        peaks: the peak memory of each function in MB; set when they stop.
    """

    relay: Relay
    concurrency: int
    invocations: list[Invocation] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    _idle: dict[str, "SimpleQueue[Container]"] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def warm(
        cls,
        relay: Relay,
        folder: Path,
        command_prefix: Callable[[], Sequence[str]] = list,
        concurrency: int | None = None,
    ) -> Iterator[Self]:
        """Start the functions, and stop them at exit.

        Args:
            relay: their environment.
            folder: receives their resource usage.
            command_prefix: returns the prefix of a container's command.
            concurrency: containers each of submit and results; by default the number of cores.
        """
        lambdas = cls(relay, concurrency or os.cpu_count() or 1)
        with ExitStack() as stack:
            for stage, count in (
                ("submit", lambdas.concurrency),
                ("results", lambdas.concurrency),
                ("poll", 1),
            ):
                containers = [
                    Container(relay, stage, folder, command_prefix()) for _ in range(count)
                ]
                stack.callback(lambdas._stop, stage, containers)
                lambdas._idle[stage] = SimpleQueue()
                for container in containers:
                    lambdas._idle[stage].put(container)
            yield lambdas

    def _stop(self, stage: str, containers: Sequence[Container]) -> None:
        self.peaks[stage] = max(container.stop() for container in containers)

    def seconds(self) -> dict[str, float]:
        """Return the total seconds of each step."""
        total: dict[str, float] = defaultdict(float)
        for invocation in self.invocations:
            total[invocation.step] += invocation.work_s
        return dict(total)

    def invoke(self, message: dict[str, Any]) -> None:
        """Invoke the stage of a message."""
        step = message.get("next_step", "plan")
        self._invoke(STAGES[step], step, message)

    def poll(self) -> int:
        """Poll, process all work messages, and return their number."""
        self._invoke("poll", "poll", {})
        work_queues = self._work_messages()
        with ThreadPoolExecutor(1 if self.concurrency == 1 else 2 * self.concurrency) as pool:
            for _ in pool.map(self.invoke, work_queues):
                pass
        return len(work_queues)

    def _invoke(self, stage: str, step: str, message: dict[str, Any]) -> None:
        container = self._idle[stage].get()
        self.invocations.append(container.invoke(message, step))
        self._idle[stage].put(container)

    def _work_messages(self) -> list[dict[str, Any]]:
        """Receive all messages of the queue."""
        queue, sqs, messages = self.relay.queue, self.relay.cloud.sqs, list[dict[str, Any]]()
        while received := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            messages += [json.loads(message["Body"]) for message in received]
            for message in received:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return messages
