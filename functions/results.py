"""Results: collect a batch that has ended; assemble and tidy its job after the last one."""

import os
from collections.abc import Callable
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.adapters.log_context import item_keys
from functions.adapters.queues import read_work_message
from functions.adapters.redelivery import Redelivery
from functions.adapters.tracing import traced
from functions.adapters.trigger import PollInvoker
from functions.assembling.assemble import assemble
from functions.assembling.reopen import REASSEMBLE, RECOLLECT, finish_reopening, reopen
from functions.assembling.tidy import tidy
from functions.collecting.collect import collect
from functions.model.items.batch import Batch
from functions.model.items.job import Job
from functions.model.items.work_item import JOB, SCHEMA, Step
from functions.model.items.work_message import WorkMessage
from functions.services import Services, open_services, time_left
from functions.settings import ResultsSettings

ASSEMBLE_S = 300.0
"""With fewer seconds left, the next invocation assembles the job."""
logger = Logger()


@cache
def _services() -> Services[ResultsSettings]:
    return open_services(ResultsSettings.from_env(os.environ))


@cache
def _redelivery() -> Redelivery:
    return Redelivery(_services().settings.queue_url)


@cache
def _poll() -> PollInvoker:
    return PollInvoker(_services().settings.poll_function_name)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, object] | None:
    """Process work messages from SQS, or reopen a job. Invoke poll immediately if something may have become ready.

    Args:
        event: an SQS event, or ``{"reassemble": job}`` or ``{"recollect": job}`` from the command line.
        context: the Lambda context.

    Returns:
        The answer to the request; None for an SQS event.
    """
    for request in (REASSEMBLE, RECOLLECT):
        if request in event:
            answer = reopen(_services(), request, str(event[request]))
            if answer["accepted"]:
                _poll().fire()
            return answer
    for message in event["Records"]:
        with _redelivery().redelivering_on_error(message):
            ready = results(_services(), read_work_message(message["body"]), context)
        if ready:
            _poll().fire()
    return None


def results(
    services: Services[ResultsSettings], work_message: WorkMessage, context: LambdaContext
) -> bool:
    """Run the step that an item waits for. If it finishes a job, assemble the job too.

    Returns:
        True if the step ran, so another item may be ready; False if the item is not available.
    """
    time_left_s = time_left(context)
    item = services.acquire(work_message, time_left_s)
    if item is None:
        return False
    with services.releasing_on_error(item), traced(str(item.next_step), **item_keys(item)):
        match item:
            case Job():
                work = _tidy if item.next_step == Step.TIDY else assemble
                work(services, item, time_left_s)
            case Batch():
                finished = collect(
                    services, item, time_left_s
                ) and services.items.start_assembly_if_complete(item.job)
                if finished and time_left_s() > ASSEMBLE_S:
                    follow_up = WorkMessage(
                        schema=SCHEMA, job=item.job, item=JOB, next_step=Step.ASSEMBLE
                    )
                    results(services, follow_up, context)
    return True


def _tidy(services: Services[ResultsSettings], job: Job, time_left_s: Callable[[], float]) -> None:
    """Tag the work files of a job. If a request that reopens it died halfway, finish that instead."""
    if not finish_reopening(services, job):
        tidy(services, job, time_left_s)
