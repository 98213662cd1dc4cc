"""All doors of a stage, opened once per container."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from functions.batches import secret, times
from functions.batches.claude import READ_S, Claude
from functions.batches.errors import (
    ClaudeRefusesError,
    ClaudeUnavailableError,
    DownloadError,
    GoneError,
    KeyMissingError,
    NoRoomError,
    RelayError,
    UploadLostError,
)
from functions.batches.files import Files
from functions.batches.items import Batch, Job
from functions.batches.notify import Notify
from functions.batches.settings import Settings
from functions.batches.store import Store

SOURCE = "urn:claude-batch-relay:"
"""CloudEvents' `source`, before the name of the table: one deployment's events are told from another's."""


@dataclass(frozen=True)
class Doors[S: Settings]:
    """What a stage is given: its settings, its doors, and the clock."""

    settings: S
    store: Store
    files: Files
    claude: Claude
    notify: Notify
    now: Callable[[], datetime] = times.now

    @contextmanager
    def holding(self, item: Job | Batch) -> Iterator[None]:
        """Give an item back if working on it fails; the error goes on to the runtime."""
        try:
            yield
        except Exception as error:
            self.store.fail(
                item, self.settings.retry_s, _problem(error), at_fault=is_at_fault(error)
            )
            raise

    def pay(self, job: str) -> None:
        """Publish what is owed for a job, now that it is written down."""
        self.notify.pay(self.store, self.store.owed(job))


_ENVIRONMENT = (
    *(BotoCoreError, OSError, DownloadError, UploadLostError, NoRoomError),
    *(KeyMissingError, ClaudeRefusesError, ClaudeUnavailableError),
)
"""Errors that say nothing about the item: AWS or Anthropic do not answer or refuse, or the disk is full."""


def is_at_fault(error: Exception) -> bool:
    """Return whether an error may lie in the item itself, so that waiting does not help.

    An object that is gone does not come back. What DynamoDB calls invalid stays invalid.
    """
    if isinstance(error, ClientError):
        return error.response["Error"]["Code"] == "ValidationException"
    return isinstance(error, GoneError) or not isinstance(error, _ENVIRONMENT)


def _problem(error: Exception) -> str:
    """Say what went wrong: our own sentence, or the error's name; what others write may quote a prompt."""
    if isinstance(error, RelayError):
        return str(error)
    if isinstance(error, ClientError):
        return error.response["Error"]["Code"]
    return type(error).__name__


def open_doors[S: Settings](
    settings: S, *, create_timeout_s: float = 600.0, read_s: float = READ_S
) -> Doors[S]:
    """Open the doors to AWS and to Claude."""

    def read_key(fresh: bool) -> str:  # noqa: FBT001 - the door's own signature
        return secret.read_key(settings.secret_name, fresh=fresh)

    doors = Doors(
        settings=settings,
        store=Store(settings.table_name),
        files=Files(settings.results_bucket),
        claude=Claude(
            base_url=settings.base_url,
            api_version=settings.api_version,
            read_key=read_key,
            create_timeout_s=create_timeout_s,
            read_s=read_s,
        ),
        notify=Notify(settings.topic_arn, SOURCE + settings.table_name),
    )
    gc.freeze()  # what is there by now stays: no need to look through it each time that garbage is collected
    return doors
