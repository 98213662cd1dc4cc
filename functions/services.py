"""All services of a stage, opened once per container."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters import secret
from functions.adapters.anthropic_api import READ_S, Claude
from functions.adapters.cancellation_requests import CancellationRequests
from functions.adapters.circuit import Circuit
from functions.adapters.claims import Claims
from functions.adapters.event_publisher import EventPublisher
from functions.adapters.outbox import Outbox
from functions.adapters.ownership import Ownership
from functions.adapters.poll_lock import PollLock
from functions.adapters.s3 import ObjectStore
from functions.adapters.table import Table
from functions.adapters.uploads import Uploads
from functions.adapters.work_items import WorkItems
from functions.errors import (
    ApiKeyRejectedError,
    ApiUnavailableError,
    DiskFullError,
    DownloadError,
    KeyMissingError,
    ObjectNotFoundError,
    RelayError,
    UploadLostError,
)
from functions.model import timestamps
from functions.model.items import Batch, Job, WorkMessage
from functions.settings import Settings

SOURCE = "urn:claude-batch-relay:"
"""CloudEvents' `source`, before the name of the table: one deployment's events are told from another's."""
MARGIN_S = 60.0
"""A lease outlives its Lambda by this: clocks differ."""
logger = Logger(child=True)


@dataclass(frozen=True)
class Services[S: Settings]:
    """A stage's settings, adapters and clock."""

    settings: S
    table: Table
    files: ObjectStore
    claude: Claude
    publisher: EventPublisher
    now: Callable[[], datetime] = timestamps.now

    @cached_property
    def items(self) -> WorkItems:
        """The jobs and batches."""
        return WorkItems(self.table, self.now)

    @cached_property
    def ownership(self) -> Ownership:
        """Whose each Message Batch is."""
        return Ownership(self.table, self.now)

    @cached_property
    def outbox(self) -> Outbox:
        """The events that are owed."""
        return Outbox(self.table, self.publisher)

    @cached_property
    def circuit(self) -> Circuit:
        """Whether requests may be sent."""
        return Circuit(self.table)

    @cached_property
    def cancellations(self) -> CancellationRequests:
        """The requests to cancel."""
        return CancellationRequests(self.table)

    @cached_property
    def poll_lock(self) -> PollLock:
        """The lock that lets one poll run at a time."""
        return PollLock(self.table, self.now)

    @cached_property
    def claims(self) -> Claims:
        """The bytes that are claimed, and the markers that ask for a repeat."""
        return Claims(self.table, self.now)

    @cached_property
    def uploads(self) -> Uploads:
        """What was ignored, and how far the uploads bucket was looked through."""
        return Uploads(self.table)

    @contextmanager
    def releasing_on_error(self, item: Job | Batch) -> Iterator[None]:
        """Give an item back if working on it fails; the error goes on to the runtime."""
        try:
            yield
        except Exception as error:
            self.items.record_failure(
                item, self.settings.retry_s, _safe_message(error), at_fault=is_at_fault(error)
            )
            raise

    def acquire(
        self, work_message: WorkMessage, time_left_s: Callable[[], float]
    ) -> Job | Batch | None:
        """Acquire an item for the rest of this invocation; None if it does not wait for that step, or is taken."""
        item = self.items.acquire(work_message, time_left_s() + MARGIN_S, self.settings.retry_s)
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
    *(KeyMissingError, ApiKeyRejectedError, ApiUnavailableError),
)
"""Errors that say nothing about the item: AWS or Anthropic do not answer or refuse, or the disk is full."""


def is_at_fault(error: Exception) -> bool:
    """Return whether an error may lie in the item itself, so that waiting does not help.

    An object that is gone does not come back. What DynamoDB calls invalid stays invalid.
    """
    if isinstance(error, ClientError):
        return error.response["Error"]["Code"] == "ValidationException"
    return isinstance(error, ObjectNotFoundError) or not isinstance(error, _ENVIRONMENT)


def _safe_message(error: Exception) -> str:
    """Say what went wrong: our own sentence, or the error's name; what others write may quote a prompt."""
    if isinstance(error, RelayError):
        return str(error)
    if isinstance(error, ClientError):
        return error.response["Error"]["Code"]
    return type(error).__name__


def time_left(context: LambdaContext) -> Callable[[], float]:
    """Build a function that returns how long this Lambda may still run, in seconds."""
    return lambda: context.get_remaining_time_in_millis() / 1000


def open_services[S: Settings](
    settings: S, *, create_timeout_s: float = 600.0, read_s: float = READ_S
) -> Services[S]:
    """Open the adapters for AWS and Claude."""

    def read_key(fresh: bool) -> str:  # noqa: FBT001 - the adapter's own signature
        return secret.read_key(settings.secret_name, fresh=fresh)

    services = Services(
        settings=settings,
        table=Table(settings.table_name),
        files=ObjectStore(settings.results_bucket),
        claude=Claude(
            base_url=settings.base_url,
            api_version=settings.api_version,
            read_key=read_key,
            create_timeout_s=create_timeout_s,
            read_s=read_s,
        ),
        publisher=EventPublisher(settings.topic_arn, SOURCE + settings.table_name),
    )
    gc.freeze()  # what is there by now stays: no need to look through it each time that garbage is collected
    return services
