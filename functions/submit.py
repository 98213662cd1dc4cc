"""An upload, or a hint of poll's: claim it, plan it, send it."""

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.batches.doors import Doors, open_doors
from functions.batches.hints import read_hint
from functions.batches.items import Batch, Hint, Job
from functions.batches.redelivery import Redelivery
from functions.batches.settings import SubmitSettings
from functions.batches.trigger import PollTrigger
from functions.batches.verdicts import Refused
from functions.steps.plan import plan
from functions.steps.receive import CANCEL, Created, receive
from functions.steps.reconcile_uploads import reconcile_uploads
from functions.steps.replaced import is_replaced
from functions.steps.send import send

MARGIN_S = 60.0
"""A lease outlives its Lambda by this: clocks differ."""
logger = Logger()


class _S3Event(msgspec.Struct):
    created: list[Created] | None = msgspec.field(default=None, name="Records")
    event: str | None = msgspec.field(default=None, name="Event")


@cache
def _doors() -> Doors[SubmitSettings]:
    settings = SubmitSettings.from_env(os.environ)
    return open_doors(settings, create_timeout_s=settings.create_timeout_s)


@cache
def _redelivery() -> Redelivery:
    return Redelivery(_doors().settings.queue_url)


@cache
def _poll() -> PollTrigger:
    return PollTrigger(_doors().settings.poll_function_name)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any] | None:
    """Take the messages of a queue, one at a time as it is set up; or look for uploads without a job.

    What has become ready does not wait for the minute.
    """
    if "reconcile" in event:
        return vars(reconcile_uploads(_doors(), int(event["reconcile"]), time_left(context)))
    for message in event["Records"]:
        with _redelivery().soon_after_error(message):
            ready = submit(_doors(), message["body"], context)
        if ready:
            _poll().fire()
    return None


def time_left(context: LambdaContext) -> Callable[[], float]:
    """Make a function of what is left of Lambda's time, in seconds."""
    return lambda: context.get_remaining_time_in_millis() / 1000


def submit(doors: Doors[SubmitSettings], body: str, context: LambdaContext) -> bool:
    """Take one message: what S3 says of an upload, or a hint; True where that has left something for poll."""
    upload = msgspec.json.decode(body, type=_S3Event)
    if upload.event == "s3:TestEvent":
        return False
    if upload.created is None:
        return work(doors, read_hint(body), context)
    ready = [_receive(doors, created, context) for created in upload.created]
    return any(ready)


def _receive(doors: Doors[SubmitSettings], created: Created, context: LambdaContext) -> bool:
    hint = receive(doors, created)
    if hint is None:
        return created.key.lower().endswith(CANCEL)
    return work(doors, hint, context)


def work(doors: Doors[SubmitSettings], hint: Hint, context: LambdaContext) -> bool:
    """Do the step that an item waits for, if it still does and nobody else is at it.

    Returns:
        Whether something may be ready by that: chunks of an upload, or of a batch that was refused.
    """
    time_left_s = time_left(context)
    item = doors.store.take(hint, time_left_s() + MARGIN_S, doors.settings.retry_s)
    if item is None:
        logger.info("nothing to do", extra={"job": hint.job, "item": hint.item, "step": hint.next})
        return False
    with doors.holding(item):
        match item:
            case Job():
                if not is_replaced(doors, item):
                    plan(doors, item, time_left_s)
                return True
            case Batch():
                return isinstance(send(doors, item), Refused)
