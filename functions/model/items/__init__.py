"""The table's main items: jobs and their batches. The table is the source of truth; messages are hints.

The partition key is `job`. The sort key `item` is ``#`` for the job, ``00001-1`` (chunk, attempt) for a batch.
Unfinished items also have `open` and `status_key` (``STATUS#time``), the keys of the sparse index.
An item that waits for a stage names the step in `next_step`. `owner` and `lease` show who works on it.
Readers ignore unknown attributes, so an older function can read what a newer one wrote, unless `SCHEMA` was raised.
"""

from typing import Any

import msgspec

from functions.errors import NewerSchemaError
from functions.model.items.batch import Batch
from functions.model.items.job import Job
from functions.model.items.work_item import JOB, SCHEMA


def read(attributes: dict[str, Any]) -> Job | Batch:
    """Convert the attributes of an item to a job or a batch.

    Raises:
        NewerSchemaError: a newer version of the relay wrote the item.
    """
    if attributes["item"] != JOB:
        return read_batch(attributes)
    _check_schema(attributes)
    return msgspec.convert(attributes, Job)


def read_batch(attributes: dict[str, Any]) -> Batch:
    """Convert the attributes of an item to a batch.

    Raises:
        NewerSchemaError: a newer version of the relay wrote the item.
    """
    _check_schema(attributes)
    return msgspec.convert(attributes, Batch)


def _check_schema(attributes: dict[str, Any]) -> None:
    if attributes["schema"] > SCHEMA:
        raise NewerSchemaError
