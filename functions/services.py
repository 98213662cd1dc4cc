"""All services of a stage, opened once per container."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters import secret
from functions.adapters.anthropic_api import READ_S, Claude
from functions.adapters.outbox import EventPublisher
from functions.adapters.s3 import ObjectStore
from functions.adapters.store import Store
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
from functions.model.items import Batch, Job
from functions.settings import Settings

SOURCE = "urn:claude-batch-relay:"
"""CloudEvents' `source`, before the name of the table: one deployment's events are told from another's."""


@dataclass(frozen=True)
class Services[S: Settings]:
    """A stage's settings, adapters and clock."""

    settings: S
    store: Store
    files: ObjectStore
    claude: Claude
    publisher: EventPublisher
    now: Callable[[], datetime] = timestamps.now

    @contextmanager
    def releasing_on_error(self, item: Job | Batch) -> Iterator[None]:
        """Give an item back if working on it fails; the error goes on to the runtime."""
        try:
            yield
        except Exception as error:
            self.store.record_failure(
                item, self.settings.retry_s, _safe_message(error), at_fault=is_at_fault(error)
            )
            raise

    def publish_pending(self, job: str) -> None:
        """Publish what is owed for a job, now that it is written down."""
        self.publisher.publish_pending(self.store, self.store.pending_events(job))


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


def open_services[S: Settings](
    settings: S, *, create_timeout_s: float = 600.0, read_s: float = READ_S
) -> Services[S]:
    """Open the adapters for AWS and Claude."""

    def read_key(fresh: bool) -> str:  # noqa: FBT001 - the adapter's own signature
        return secret.read_key(settings.secret_name, fresh=fresh)

    services = Services(
        settings=settings,
        store=Store(settings.table_name),
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
