"""Run the relay in memory through two made-up weeks, and collect the metrics that it writes.

The stages and their metrics are real. AWS and Claude are simulated, and so are the users: the last day has a backlog, a
rate limit, an outage of the API, a spend limit, denied writes to S3, and a canceled job.
"""

import io
import json
import logging
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from functions import poll
from functions.results import results
from functions.submit import submit
from tests.fakes.strict_s3 import S3ErrorResponse, reject_requests
from tests.harness import Harness, make_row, open_harness, parse_work_message

STACK = "claude-batch-relay"
SETTINGS = {"openBatches": 12, "queuedRequests": 1_500, "requestsPerBatch": 100}
"""A small stack, so that its limits show."""
DAYS, DAY_S, MINUTE_S = 14, 86_400, 60
BEGIN = datetime(2026, 11, 12, tzinfo=UTC)
END = BEGIN + timedelta(days=DAYS)
_QUIET_STEP_S = 1_800
_DENIED = S3ErrorResponse(403, "AccessDenied", "Access Denied")
_FATES = (
    (37, "[fate:invalid_request_error]"), (53, "[fate:always-expired]"),
)  # fmt: skip
"""One of this many rows ends this way."""
_OUTPUT_TOKENS, _PROCESSING_S = 2_500, 1_500

type Points = Mapping[tuple[str, str], list[tuple[datetime, float]]]
"""The values of metrics by name and resource, with their times."""


@dataclass
class _Day:
    """A relay, its users, and what CloudWatch would have received.

    Attributes:
        points: by metric and resource.
        failed: messages that are received again, with the time of their first receive, by queue.
        running: context managers of faults that last.
        woken: whether the last poll has sent messages.
    """

    relay: Harness
    points: dict[tuple[str, str], list[tuple[datetime, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    failed: dict[str, list[tuple[datetime, str]]] = field(
        default_factory=lambda: {"submit": [], "results": []}
    )
    running: ExitStack = field(default_factory=ExitStack)
    woken: bool = False

    def upload(self, key: str, rows: int, output_tokens: int = _OUTPUT_TOKENS) -> None:
        """Upload a file; each answer is billed for this many tokens."""
        self.relay.simulator.processing_s = _PROCESSING_S + 37 * rows % 1_700
        usage = f'[usage:{{"input_tokens":900,"output_tokens":{output_tokens}}}]'
        lines = [make_row(row, f"{key} {usage} {_fate(row)}") for row in range(1, rows + 1)]
        self._enqueue(key, b"\n".join(lines) + b"\n{}" * (rows // 90))

    def cancel(self, key: str) -> None:
        self._enqueue(f"{key}.cancel", b"")

    def _enqueue(self, key: str, body: bytes) -> None:
        event = self.relay.put(key, body)
        self.relay.sqs.send_message(QueueUrl=self.relay.queues["submit"], MessageBody=event)

    def pass_time(self, seconds: float) -> None:
        """Handle messages and poll until nothing is due; then let the rest of the time pass."""
        end = self.relay.now() + timedelta(seconds=seconds)
        self.woken = True
        while self.woken:
            self._do(self._handle)
            self._do(self._poll)
        self.relay.pass_time((end - self.relay.now()).total_seconds())

    def _do(self, work: Callable[[], None]) -> None:
        """Do work, which takes two seconds, and take its metrics from what it prints."""
        self.relay.pass_time(2)
        printed = io.StringIO()
        with redirect_stdout(printed):
            work()
        for line in printed.getvalue().splitlines():
            record: dict[str, Any] = json.loads(line)
            for metric in record["_aws"]["CloudWatchMetrics"][0]["Metrics"]:
                for value in record[metric["Name"]]:
                    self._note(metric["Name"], STACK, value)

    def _poll(self) -> None:
        summary = self.relay.poll_once()
        self.woken = summary.woken > 0
        poll._emit_metrics(summary, self.relay.now())  # noqa: SLF001 - what the handler does
        poll.metrics.flush_metrics()
        self.relay.poll.emit_metrics(OpenRequests=summary.open_requests)
        self._note_invocation("Poll", failed=False)

    def _handle(self) -> None:
        """Handle the messages of both queues. A message whose work fails is received again later."""
        for queue in self.failed:
            now = self.relay.now()
            messages = self.failed[queue] + [
                (now, body)
                for body in self.relay._drain(queue)  # noqa: SLF001 - messages as they are
            ]
            self._note_queue(queue, messages)
            self.failed[queue] = [
                message for message in messages if not self._handle_message(queue, message[1])
            ]

    def _handle_message(self, queue: str, body: str) -> bool:
        """Handle a message. Return False if its work fails."""
        relay, failed = self.relay, False
        context: Any = relay.context
        try:
            if queue == "submit":
                submit(relay.submit, body, context)
            else:
                results(relay.results, parse_work_message(body), context)
        except Exception:  # noqa: BLE001 - as Lambda does: any error is an error of the function
            failed = True
        self._note_invocation(queue.capitalize(), failed=failed)
        return not failed

    def _note_invocation(self, function: str, *, failed: bool) -> None:
        """Note what Lambda would measure. Concurrency is not simulated, so nothing is throttled."""
        self._note("Errors", f"{function}Function", float(failed))
        self._note("Throttles", f"{function}Function", 0.0)

    def _note_queue(self, queue: str, messages: list[tuple[datetime, str]]) -> None:
        """Note what SQS would measure. No message fails often enough to become a dead letter."""
        now, name = self.relay.now(), queue.capitalize()
        age_s = max(((now - since).total_seconds() for since, _ in messages), default=0.0)
        self._note("ApproximateNumberOfMessagesVisible", f"Storage{name}Queue", len(messages))
        self._note("ApproximateAgeOfOldestMessage", f"Storage{name}Queue", age_s)
        self._note("ApproximateNumberOfMessagesVisible", f"Storage{name}Dead", 0.0)

    def _note(self, metric: str, resource: str, value: float) -> None:
        self.points[metric, resource].append((self.relay.now(), value))


def run() -> Points:
    """Run the two weeks; takes about a minute."""
    logging.disable()
    try:
        with tempfile.TemporaryDirectory() as folder, open_harness(Path(folder)) as relay:
            relay.moment = BEGIN
            relay.deploy(
                dashboard=True, estimate_rows=0, report="off", requests_per_batch=SETTINGS["requestsPerBatch"],
                open_batches=SETTINGS["openBatches"], queued_requests=SETTINGS["queuedRequests"],
            )  # fmt: skip
            return _run(_Day(relay))
    finally:
        logging.disable(logging.NOTSET)


def _run(day: _Day) -> Points:
    for number in range(DAYS - 1):
        is_weekend = (BEGIN + timedelta(days=number)).weekday() >= 5  # noqa: PLR2004 - Saturday
        # Few rows of many tokens: of these days only the dollars are shown.
        day.upload(
            f"past/{number}.jsonl",
            8,
            (160_000 if is_weekend else 860_000) + 57_000 * (number * 5 % 7),
        )
        for _ in range(DAY_S // _QUIET_STEP_S):
            day.pass_time(_QUIET_STEP_S)
    actions = dict(_actions(day))
    for minute in range(DAY_S // MINUTE_S):
        for action in actions.get(minute, ()):
            action()
        day.pass_time(MINUTE_S)
    return day.points


def _actions(day: _Day) -> Iterator[tuple[int, list[Callable[[], object]]]]:
    """Yield what happens on the last day, by minute."""
    simulator, s3 = day.relay.simulator, day.relay.s3

    def deny() -> None:
        day.running.enter_context(reject_requests(s3, "PutObject", _DENIED, "work/"))

    yield 70, [lambda: day.upload("nightly/catalog.jsonl", 1_900)]
    yield 395, [lambda: day.upload("support/tickets.jsonl", 240)]
    yield (
        450,
        [
            lambda: simulator.arm("rate_limited", times=2, retry_after=240),
            lambda: day.upload("search/queries.jsonl", 330),
        ],
    )
    yield 545, [lambda: day.upload("support/mail.jsonl", 180)]
    yield (
        640,
        [
            lambda: simulator.arm("server_error", times=0, endpoint="list"),
            lambda: day.upload("legal/contracts.jsonl", 130),
        ],
    )
    yield 662, [simulator.disarm]
    yield 730, [lambda: day.upload("search/synonyms.jsonl", 700)]
    yield (
        790,
        [
            lambda: simulator.arm("spend_limit", times=0),
            lambda: day.upload("support/chats.jsonl", 420),
        ],
    )
    yield 845, [simulator.disarm]
    yield 960, [deny, lambda: day.upload("legal/claims.jsonl", 110)]
    yield 972, [day.running.close]
    yield 1_050, [lambda: day.upload("search/wrong.jsonl", 500)]
    yield 1_065, [lambda: day.cancel("search/wrong.jsonl")]
    yield 1_180, [lambda: day.upload("support/reviews.jsonl", 260)]


def _fate(row: int) -> str:
    return next((fate for every, fate in _FATES if row % every == 0), "")
