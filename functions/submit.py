"""Submit: claim and plan uploads, and send batches. Runs for each message of its queue."""

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.adapters.log_context import item_keys
from functions.adapters.queues import read_work_message
from functions.adapters.redelivery import Redelivery
from functions.adapters.tracing import traced
from functions.adapters.trigger import PollInvoker
from functions.model.create_response import Refused
from functions.model.items.batch import Batch
from functions.model.items.job import Job
from functions.model.items.work_message import WorkMessage
from functions.model.options import is_options_file
from functions.planning.claim import CANCEL, GO, S3EventRecord, handle_created_object
from functions.planning.plan import plan
from functions.planning.reconcile_uploads import reconcile_uploads
from functions.planning.replaced import is_replaced
from functions.sending.send import send
from functions.services import Services, open_services, time_left
from functions.settings import SubmitSettings

logger = Logger()


class _S3Event(msgspec.Struct):
    created: list[S3EventRecord] | None = msgspec.field(default=None, name="Records")
    event: str | None = msgspec.field(default=None, name="Event")


@cache
def _services() -> Services[SubmitSettings]:
    settings = SubmitSettings.from_env(os.environ)
    return open_services(settings, create_timeout_s=settings.create_timeout_s)


@cache
def _redelivery() -> Redelivery:
    return Redelivery(_services().settings.queue_url)


@cache
def _poll() -> PollInvoker:
    return PollInvoker(_services().settings.poll_function_name)


def _leave_to_schedule() -> None:
    """Request no poll."""


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any] | None:
    """Process the messages of the queue, or claim uploads that have no job.

    Invoke poll if work became ready, because its next scheduled run may be a minute away.

    Args:
        event: an SQS event, or ``{"reconcile": pages}`` from the daily schedule.
        context: the Lambda context.

    Returns:
        The counts of a reconciliation; None for an SQS event.
    """
    if "reconcile" in event:
        return vars(reconcile_uploads(_services(), int(event["reconcile"]), time_left(context)))
    for message in event["Records"]:
        with _redelivery().redelivering_on_error(message):
            ready = submit(_services(), message["body"], context, _poll().fire)
        if ready:
            _poll().fire()
    return None


def submit(
    services: Services[SubmitSettings],
    body: str,
    context: LambdaContext,
    request_poll: Callable[[], None] = _leave_to_schedule,
) -> bool:
    """Process one message.

    Args:
        services: the services of submit.
        body: an S3 event or a work message, as JSON.
        context: the Lambda context.
        request_poll: requests a poll before the message is processed, if work is ready already.

    Returns:
        True if poll may have something to do now.
    """
    s3_event = msgspec.json.decode(body, type=_S3Event)
    if s3_event.event == "s3:TestEvent":
        return False
    if s3_event.created is None:
        return run_step(services, read_work_message(body), context, request_poll)
    ready = [
        _handle_created(services, created, context, request_poll) for created in s3_event.created
    ]
    return any(ready)


def _handle_created(
    services: Services[SubmitSettings],
    created: S3EventRecord,
    context: LambdaContext,
    request_poll: Callable[[], None],
) -> bool:
    work_message = handle_created_object(services, created)
    if work_message is None:
        return created.key.lower().endswith((CANCEL, GO)) or is_options_file(created.key)
    return run_step(services, work_message, context, request_poll)


def run_step(
    services: Services[SubmitSettings],
    work_message: WorkMessage,
    context: LambdaContext,
    request_poll: Callable[[], None],
) -> bool:
    """Run the step that an item waits for, unless it no longer waits or another invocation has acquired it.

    Returns:
        True if new batches may wait for poll: after planning, or after a refused create.
    """
    time_left_s = time_left(context)
    item = services.acquire(work_message, time_left_s)
    if item is None:
        return False
    with services.releasing_on_error(item), traced(str(item.next_step), **item_keys(item)):
        match item:
            case Job():
                if not is_replaced(services.files, services.items, item):
                    plan(services, item, time_left_s, request_poll)
                return True
            case Batch():
                return isinstance(send(services, item), Refused)
