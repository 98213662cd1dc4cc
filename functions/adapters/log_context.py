"""The job and the batch in each log line that is written while one is worked on."""

from collections.abc import Iterator
from contextlib import contextmanager

from aws_lambda_powertools import Logger

from functions.model.items.batch import Batch, batch_key
from functions.model.items.job import Job

logger = Logger(child=True)


@contextmanager
def log_context(item: object) -> Iterator[None]:
    """Add `job` and `batch` to the log lines of this thread, if the item is a job or a batch."""
    keys, before = item_keys(item), dict(logger.thread_safe_get_current_keys())
    logger.thread_safe_append_keys(**keys)
    try:
        yield
    finally:
        logger.thread_safe_remove_keys(keys)
        logger.thread_safe_append_keys(**before)


def item_keys(item: object) -> dict[str, str]:
    """Return what names an item in log lines and traces: nothing unless it is a job or a batch."""
    match item:
        case Job():
            return {"job": item.job}
        case Batch():
            return {"job": item.job, "batch": batch_key(item)}
        case _:
            return {}
