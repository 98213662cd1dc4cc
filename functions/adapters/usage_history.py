"""What earlier requests used, by folder and model. Estimates read it; losing an entry loses only precision."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import msgspec

from functions.adapters.table import Table
from functions.model import events, ids, timestamps
from functions.model.estimate import PastUsage, learn
from functions.model.items.job import Job
from functions.model.items.work_item import SCHEMA
from functions.model.pricing import undated

HISTORY = "experience"
KEPT = timedelta(days=400)


class UsageHistory:
    """The store of past usage."""

    def __init__(self, table: Table, now: Callable[[], datetime]) -> None:
        self._table, self._now = table, now

    def of(self, job: Job, models: Iterable[str]) -> dict[str, PastUsage]:
        """Return what requests of a job's folder used, by model. Models without any are left out."""
        found = {model: self._read(_item(job, model)) for model in models}
        return {model: past for model, past in found.items() if past is not None}

    def add(self, job: Job, model: str, answers: int, output_tokens: int) -> None:
        """Add what the answers of a job used. Of two jobs that end at the same moment, one may be forgotten."""
        item = _item(job, model)
        past_usage = learn(self._read(item), answers, output_tokens)
        expires = timestamps.epoch(self._now() + KEPT)
        keys = {"job": HISTORY, "item": item, "schema": SCHEMA, "expires": expires}
        self._table.write(self._table.put({**keys, **msgspec.structs.asdict(past_usage)}))

    def _read(self, item: str) -> PastUsage | None:
        attributes = self._table.get(HISTORY, item)
        return None if attributes is None else msgspec.convert(attributes, PastUsage)


def _item(job: Job, model: str) -> str:
    """Return a sort key of bounded length: folders and names of models may be long."""
    return ids.job_id(job.bucket, events.folder_of(job.key), undated(model))
