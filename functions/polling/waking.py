"""Enqueue work messages for the items that a stage can continue now."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import TypeGuard

from functions.adapters.queues import WorkQueues
from functions.model.items.batch import Batch
from functions.model.items.job import Job
from functions.model.items.work_item import Step
from functions.model.unfinished import Unfinished
from functions.polling.phases import Phases, place

WAKES = 100
"""Most calls to SQS, of ten work messages each, for one queue in one phase. A stage handles fewer messages in a minute,
and a repeated message delays others."""


def due_items(
    unfinished: Unfinished, now: datetime, *, no_key: bool
) -> tuple[list[Job | Batch], list[Batch]]:
    """Return the items that wait for a stage and are not leased.

    Batches that wait to be sent must be admitted first, and those that only copy results wait for all others of their job.

    Returns:
        The items to wake, and those held back: without a key, no results can be downloaded.
    """
    items: list[Job | Batch] = [*unfinished.jobs, *unfinished.batches]
    ready = unfinished.jobs_ready_to_copy
    waiting = [
        item for item in items
        if item.next_step not in {None, Step.SEND} and item.is_idle(now)
        and not (isinstance(item, Batch) and item.is_copying and item.job not in ready)
    ]  # fmt: skip
    held_back = [item for item in waiting if no_key and _needs_key(item)]
    due = [item for item in waiting if not (no_key and _needs_key(item))]
    return due, held_back


def _needs_key(item: Job | Batch) -> TypeGuard[Batch]:
    """Return whether results must be downloaded, which takes a key."""
    return isinstance(item, Batch) and item.awaits_results


def wake(
    work_queues: WorkQueues, phase: str, waiting: Sequence[Job | Batch], phases: Phases
) -> int:
    """Enqueue each item for the stage that it waits for, up to `WAKES` calls for a queue.

    Returns:
        How many items are due. Items whose message was sent recently are not counted.
    """
    due = work_queues.slices(waiting)
    for name, slices in due.items():
        phases.each(
            f"{phase} {name}",
            slices,
            lambda messages: place(messages[0]),
            partial(work_queues.send, name),
            WAKES,
        )
    return sum(len(messages) for slices in due.values() for messages in slices)
