"""A hint of poll's that a batch has ended: collect it; after a job's last, assemble the job, and tidy up."""

import os
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.batches.doors import Doors, open_doors
from functions.batches.hints import read_hint
from functions.batches.items import JOB, SCHEMA, Batch, Hint, Job, Step
from functions.batches.redelivery import Redelivery
from functions.batches.settings import ResultsSettings
from functions.batches.trigger import PollTrigger
from functions.steps.assemble import assemble
from functions.steps.collect import collect
from functions.steps.tidy import tidy

MARGIN_S = 60.0
"""A lease outlives its Lambda by this: clocks differ."""
ASSEMBLE_S = 300.0
"""With less time left than this, a job is assembled by the next invocation."""
logger = Logger()


@cache
def _doors() -> Doors[ResultsSettings]:
    return open_doors(ResultsSettings.from_env(os.environ))


@cache
def _redelivery() -> Redelivery:
    return Redelivery(_doors().settings.queue_url)


@cache
def _poll() -> PollTrigger:
    return PollTrigger(_doors().settings.poll_function_name)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Take the messages of a queue: one at a time, as it is set up. What has become ready does not wait for the minute."""
    for message in event["Records"]:
        with _redelivery().soon_after_error(message):
            ready = results(_doors(), read_hint(message["body"]), context)
        if ready:
            _poll().fire()


def results(doors: Doors[ResultsSettings], hint: Hint, context: LambdaContext) -> bool:
    """Do the step that an item waits for; where that finishes a job, assemble it here.

    Returns:
        Whether it was done, so that something may be ready: the next attempt, a job to assemble, the last status.
    """

    def time_left_s() -> float:
        return context.get_remaining_time_in_millis() / 1000

    item = doors.store.take(hint, time_left_s() + MARGIN_S, doors.settings.retry_s)
    if item is None:
        logger.info("nothing to do", extra={"job": hint.job, "item": hint.item, "step": hint.next})
        return False
    with doors.holding(item):
        match item:
            case Job():
                step = tidy if item.next == Step.TIDY else assemble
                step(doors, item, time_left_s)
            case Batch():
                finished = collect(doors, item, time_left_s) and doors.store.settle(item.job)
                if finished and time_left_s() > ASSEMBLE_S:
                    follow_up = Hint(schema=SCHEMA, job=item.job, item=JOB, next=Step.ASSEMBLE)
                    results(doors, follow_up, context)
    return True
