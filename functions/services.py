"""The services of a stage, opened once per container."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters import metrics, secret, tracing
from functions.adapters.anthropic_api import READ_S, Claude
from functions.adapters.circuit import Circuit
from functions.adapters.claims import Claims
from functions.adapters.clients import QUICK
from functions.adapters.cost_ledger import CostLedger
from functions.adapters.event_publisher import EventPublisher
from functions.adapters.log_context import log_context
from functions.adapters.marker_requests import MarkerRequests
from functions.adapters.outbox import Outbox
from functions.adapters.ownership import Ownership
from functions.adapters.poll_lock import PollLock
from functions.adapters.s3 import ObjectStore
from functions.adapters.spending import Spending
from functions.adapters.table import Table
from functions.adapters.uploads import Uploads
from functions.adapters.usage_history import UsageHistory
from functions.adapters.work_items import WorkItems
from functions.errors import (
    ApiKeyRejectedError,
    ApiUnavailableError,
    DiskFullError,
    DownloadError,
    KeyMissingError,
    NewerSchemaError,
    ObjectNotFoundError,
    RelayError,
    UploadLostError,
)
from functions.model import events, timestamps
from functions.model.items.batch import Batch
from functions.model.items.job import Job
from functions.model.items.work_message import WorkMessage
from functions.model.records import Sending
from functions.settings import Settings

SOURCE = "urn:claude-batch-relay:"
"""The CloudEvents `source`, without the table's name, which distinguishes deployments."""
LEASE_MARGIN_S = 60.0
"""Seconds by which a lease outlives its Lambda invocation, because clocks differ."""
logger = Logger(child=True)


@dataclass(frozen=True)
class Services[S: Settings]:
    """The settings, adapters and clock of a stage."""

    settings: S
    table: Table
    files: ObjectStore
    claude: Claude
    publisher: EventPublisher
    now: Callable[[], datetime] = timestamps.now

    @cached_property
    def items(self) -> WorkItems:
        """The store of jobs and batches."""
        return WorkItems(self.table, self.now)

    @cached_property
    def ownership(self) -> Ownership:
        """The store of Message Batch owners."""
        return Ownership(self.table, self.now)

    @cached_property
    def outbox(self) -> Outbox:
        """The events that are not published yet."""
        return Outbox(self.table, self.publisher)

    @cached_property
    def circuit(self) -> Circuit:
        """The circuit breaker for sending."""
        return Circuit(self.table)

    @cached_property
    def cancellations(self) -> MarkerRequests:
        """The requests to cancel."""
        return MarkerRequests(self.table, "cancel")

    @cached_property
    def releases(self) -> MarkerRequests:
        """The requests to send held jobs."""
        return MarkerRequests(self.table, "go")

    @cached_property
    def poll_lock(self) -> PollLock:
        """The lock that lets one poll run at a time."""
        return PollLock(self.table, self.now)

    @cached_property
    def claims(self) -> Claims:
        """The store of claimed contents and of markers that request a repeat."""
        return Claims(self.table, self.now)

    @cached_property
    def uploads(self) -> Uploads:
        """The counts of ignored uploads and the cursor of their reconciliation."""
        return Uploads(self.table)

    @cached_property
    def cost_ledger(self) -> CostLedger:
        """What each job cost."""
        return CostLedger(self.table)

    @cached_property
    def spending(self) -> Spending:
        """What was spent on each day."""
        return Spending(self.table)

    @cached_property
    def usage_history(self) -> UsageHistory:
        """What earlier requests used."""
        return UsageHistory(self.table, self.now)

    @contextmanager
    def releasing_on_error(self, item: Job | Batch) -> Iterator[None]:
        """Record a failure and release the item if its work raises; the error propagates to the runtime.

        The runtime logs the error, but does not know the job. So a line with both is logged here.
        """
        with log_context(item):
            try:
                yield
            except Exception as error:
                problem = safe_message(error)
                logger.warning("step failed", extra={"problem": problem, "tries": item.tries})
                self.items.record_failure(
                    item, self.settings.retry_s, problem, at_fault=is_at_fault(error)
                )
                raise

    def pause_sending(self, reason: str, sentence: str, first_probe_s: float = 0.0) -> None:
        """Pause sending for all jobs, and publish `sending.paused` once.

        Args:
            reason: why, in a word.
            sentence: why, and what to do.
            first_probe_s: the seconds after which poll may send the first probe.
        """
        now = self.now()
        event = events.paused(reason, sentence, timestamps.text(now))
        if self.circuit.pause(event, reason, timestamps.after(now, first_probe_s)):
            self.outbox.publish([event])

    def resume_sending(self, sending: Sending) -> None:
        """Resume sending for all jobs, and publish `sending.resumed` once.

        Args:
            sending: the circuit breaker's state, which is paused.
        """
        event = events.resumed(
            sending.paused_reason or "", sending.paused_at or "", timestamps.text(self.now())
        )
        if self.circuit.resume(sending, event):
            self.outbox.publish([event])

    def emit_metrics(self, **values: float) -> None:
        """Write values of the dashboard's metrics, if the stack has one."""
        if self.settings.dashboard:
            metrics.emit(**values)

    def acquire(
        self, work_message: WorkMessage, time_left_s: Callable[[], float]
    ) -> Job | Batch | None:
        """Acquire an item for the rest of this invocation.

        Args:
            work_message: the item and the step that it should wait for.
            time_left_s: returns the remaining seconds of this invocation.

        Returns:
            The item; None if it does not wait for that step or another invocation owns it.
        """
        item = self.items.acquire(
            work_message, time_left_s() + LEASE_MARGIN_S, self.settings.retry_s
        )
        if item is None:
            facts = {
                "job": work_message.job,
                "item": work_message.item,
                "step": work_message.next_step,
            }
            logger.info("item not available", extra=facts)
        return item


_ENVIRONMENT = (
    *(BotoCoreError, OSError, DownloadError, UploadLostError, DiskFullError),
    *(KeyMissingError, ApiKeyRejectedError, ApiUnavailableError, NewerSchemaError),
)
"""Errors of the environment: AWS or Anthropic does not answer or refuses, the disk is full, or a deploy was rolled back."""


def is_at_fault(error: Exception) -> bool:
    """Return whether the item itself may cause an error, in which case waiting does not help.

    A deleted object stays deleted. A DynamoDB ``ValidationException`` repeats.
    """
    if isinstance(error, ClientError):
        return error.response["Error"]["Code"] == "ValidationException"
    return isinstance(error, ObjectNotFoundError) or not isinstance(error, _ENVIRONMENT)


def safe_message(error: Exception) -> str:
    """Return our own message, or else only the error's code or name: foreign messages may quote a prompt."""
    if isinstance(error, RelayError):
        return str(error)
    if isinstance(error, ClientError):
        return error.response["Error"]["Code"]
    return type(error).__name__


def time_left(context: LambdaContext) -> Callable[[], float]:
    """Return a function that returns the remaining seconds of this Lambda invocation."""
    return lambda: context.get_remaining_time_in_millis() / 1000


def open_services[S: Settings](
    settings: S, *, create_timeout_s: float = 600.0, read_s: float = READ_S, quick: bool = False
) -> Services[S]:
    """Open the adapters for AWS and Claude.

    Args:
        settings: the stage's settings.
        create_timeout_s: how long a create may take, in seconds.
        read_s: the read timeout of all other API calls, in seconds.
        quick: whether each call to DynamoDB and S3 ends within 11 s. Such a stage writes small objects only.
    """

    def read_key(fresh: bool) -> str:  # noqa: FBT001 - the adapter's own signature
        return secret.read_key(settings.secret_name, fresh=fresh)

    if settings.tracing:
        tracing.start()  # before any client is created
    services = Services(
        settings=settings,
        table=Table(
            settings.table_name, boto3.client("dynamodb", config=QUICK) if quick else None
        ),
        files=ObjectStore(
            settings.results_bucket, client=boto3.client("s3", config=QUICK) if quick else None
        ),
        claude=Claude(
            base_url=settings.base_url,
            api_version=settings.api_version,
            read_key=read_key,
            create_timeout_s=create_timeout_s,
            read_s=read_s,
        ),
        publisher=EventPublisher(settings.topic_arn, SOURCE + settings.table_name),
    )
    gc.freeze()  # these objects live as long as the container: exempt them from garbage collection
    return services
