"""The door to the table: two verbs carry every stage.

`take` is the first act of a stage on an item: a conditional write that makes it its owner for a while. `advance`
is the last: one transaction that moves the item on, puts the items that follow and the events it owes. A write
that failed only because the SDK repeated it is recognized by its own mark.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import boto3
import msgspec
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from functions.batches import items, times
from functions.batches.events import Event
from functions.batches.items import Batch, BatchStatus, Hint, Job, JobStatus

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

INDEX = "unfinished"
EVENT = "event/"
RELAY = "relay"
OWNER = "owner"
FOREIGN = "foreign"
OWNER_DAYS = 60
"""How long it is remembered whose a Message Batch is: past the 29 days that Anthropic keeps it."""
BACKOFF_S = 60
_CONFLICT_WAITS_S = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Two transactions on one job at once: DynamoDB refuses one, and it is for us to repeat it."""
TERMINAL = {*items.FINISHED}

Given = Mapping[str, Any]
"""What must hold for a write: attribute, value; None for an attribute that must not be there."""


@dataclass
class Unfinished:
    """All that is not at its end, as the index has it (which may be a moment behind)."""

    jobs: list[Job] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    cancels: list["Cancel"] = field(default_factory=list)
    doubles: list["Owner"] = field(default_factory=list)

    def of(self, *statuses: BatchStatus) -> list[Batch]:
        """Give the batches of these statuses, oldest first."""
        return [batch for batch in self.batches if batch.status in statuses]


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to cancel: every job of this upload key that was uploaded before then."""

    job: str
    item: str
    schema: int
    open: str
    since: str
    bucket: str
    key: str
    at: str
    expires: int


class Owner(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose a Message Batch is: kept longer than Anthropic keeps the batch."""

    job: str
    item: str
    schema: int
    expires: int
    of: str
    open: str | None = None
    since: str | None = None


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """Whether requests may be sent at all: the same for every job."""

    parked: str | None = None
    parked_at: str | None = None
    probe_at: str | None = None
    not_before: str | None = None


class Store:
    """The table, in the domain's words."""

    def __init__(
        self,
        table_name: str,
        *,
        client: "DynamoDBClient | None" = None,
        now: Callable[[], datetime] = times.now,
    ) -> None:
        self._table = table_name
        self._dynamodb: DynamoDBClient = client or boto3.client("dynamodb")
        self._now = now

    # -- reading

    def job(self, job: str) -> Job | None:
        """Read a job; None if there is none."""
        found = self._get(job, items.JOB)
        return msgspec.convert(found, Job) if found else None

    def batch(self, job: str, item: str) -> Batch | None:
        """Read a batch; None if there is none."""
        found = self._get(job, item)
        return msgspec.convert(found, Batch) if found else None

    def batches(self, job: str) -> list[Batch]:
        """Read all batches of a job, by chunk and attempt."""
        found = self._query(
            KeyConditionExpression="job = :job AND #item BETWEEN :low AND :high",
            ExpressionAttributeNames={"#item": "item"},
            ExpressionAttributeValues=_wire({":job": job, ":low": "0", ":high": ":"}),
            ConsistentRead=True,
        )
        return [msgspec.convert(item, Batch) for item in found]

    def unfinished(self) -> Unfinished:
        """Read all that is not at its end: what grows is what is open, never history."""
        found = self._query(
            IndexName=INDEX,
            KeyConditionExpression="#open = :open",
            ExpressionAttributeNames={"#open": "open"},
            ExpressionAttributeValues=_wire({":open": items.OPEN}),
        )
        unfinished = Unfinished()
        for item in found:
            _sort(item, unfinished)
        return unfinished

    def owner(self, batch_id: str) -> str | None:
        """Say whose a Message Batch is: ``job/item``, ``foreign``, or None where nobody knows."""
        found = self._get(batch_id, OWNER)
        return str(found["of"]) if found else None

    def sending(self) -> Sending:
        """Read whether requests may be sent at all."""
        return msgspec.convert(self._get(RELAY, "sending") or {}, Sending)

    # -- claiming

    def claim(self, job: Job) -> bool:
        """Take an upload; False if an earlier event for it already has."""
        return self._write(self._put(job))

    def ask_to_cancel(self, bucket: str, key: str, at: datetime) -> None:
        """Note that the jobs of an upload are to be canceled; poll does it."""
        cancel = Cancel(
            job="cancel", item=f"{bucket}/{key}"[:1000], schema=items.SCHEMA, open=items.OPEN,
            since=items.since("CANCEL", times.text(at)), bucket=bucket, key=key, at=times.text(at),
            expires=_epoch(at + timedelta(days=1)),
        )  # fmt: skip
        self._dynamodb.put_item(TableName=self._table, Item=_wire(msgspec.to_builtins(cancel)))

    def forget_cancel(self, cancel: Cancel) -> None:
        """Forget a wish to cancel that has been met."""
        self._delete(cancel.job, cancel.item, {"at": cancel.at})

    # -- take and advance

    def take(self, hint: Hint, lease_s: float) -> Job | Batch | None:
        """Make this stage the item's owner, if it waits for that step and nobody else works on it.

        Returns:
            The item as it is now, with the token in `owner`; None if there is nothing to do.
        """
        token, now = uuid.uuid4().hex, self._now()
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=_wire({"job": hint.job, "item": hint.item}),
                UpdateExpression="SET #owner = :token, lease = :until, tries = if_not_exists(tries, :zero) + :one",
                ConditionExpression="#next = :next AND (attribute_not_exists(lease) OR lease < :now)"
                " AND (attribute_not_exists(not_before) OR not_before <= :now)"
                " AND (attribute_not_exists(tries) OR tries < :most)",
                ExpressionAttributeNames={"#next": "next", "#owner": "owner"},
                ExpressionAttributeValues=_wire({
                    ":token": token, ":until": times.after(now, lease_s), ":now": times.text(now),
                    ":next": hint.next, ":zero": 0, ":one": 1, ":most": items.TRIES,
                }),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )  # fmt: skip
        except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
            seen = _plain(cast("dict[str, Any]", error.response.get("Item", {})))
            return items.read(seen) if seen.get("owner") == token else None
        return items.read(_plain(answer["Attributes"]))

    def advance(  # noqa: PLR0913 - one transaction is one call; all but two are keywords
        self,
        item: Job | Batch,
        changes: Mapping[str, Any],
        *,
        given: Given | None = None,
        add: Mapping[str, int] | None = None,
        job: Mapping[str, int] | None = None,
        puts: Sequence[Job | Batch | Owner] = (),
        events: Sequence[Event] = (),
        keep: bool = False,
    ) -> bool:
        """Move an item on, in one transaction with all that follows from it.

        Args:
            item: as it was taken or read.
            changes: its attributes from now on; None removes one.
            given: what must still hold; if left out, that this stage owns the item.
            add: what to add to counters of the item itself.
            job: what to add to counters of the item's job.
            puts: items to create; one that is there already undoes the whole.
            events: what is owed to whoever listens.
            keep: go on owning the item, as a stage does that has made progress.

        Returns:
            False, and nothing is changed, if it no longer holds.
        """
        held = {"owner": item.owner} if given is None else given
        release: dict[str, Any] = {"tries": None, "not_before": None}
        if not keep:
            release |= {"owner": None, "lease": None}
        writes = [
            self._update(
                item.job, item.item, {**release, **self._status(changes), **changes}, held, add
            ),
            *(self._put(put) for put in puts),
            *(self._put_event(event, item) for event in events),
        ]
        if job:
            writes.append(self._add(item.job, job))
        return self._write(*writes)

    def _status(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Give the keys of the index that go with a new status."""
        status = changes.get("status")
        if status is None:
            return {}
        if status in TERMINAL:
            return {
                "since": items.since(status, times.text(self._now())),
                "open": None,
                "next": None,
            }
        return {
            "since": items.since(status, times.text(self._now())),
            "open": items.OPEN,
            "next": None,
        }

    def close(self, job: Job, expires: int) -> bool:
        """Take a job that is done out of the index; it is forgotten much later."""
        changes = {"open": None, "expires": expires}
        return self.advance(job, changes, given={"status": JobStatus.DONE})

    def report(self, job: Job, digest: str) -> None:
        """Note what was last told of a job in its status.json."""
        self._write(self._update(job.job, items.JOB, {"reported": digest}, {"status": job.status}))

    def cancel(self, job: Job, at: str) -> bool:
        """Note that a job is to be canceled."""
        given = {"canceled_at": None, "outcome": None}
        return self._write(self._update(job.job, items.JOB, {"canceled_at": at}, given))

    def note(self, item: Job | Batch, changes: Mapping[str, Any]) -> bool:
        """Change what poll counts on an item, if it still stands where poll saw it."""
        given = {"status": item.status, "since": item.since}
        return self._write(self._update(item.job, item.item, changes, given))

    def release(
        self, item: Job | Batch, not_before: str | None = None, **changes: str | int
    ) -> None:
        """Give an item back through no fault of its own: the try does not count."""
        self.advance(item, {"not_before": not_before, **changes})

    def fail(self, item: Job | Batch) -> None:
        """Give an item back after a failure: the try counts, and the next one waits twice as long.

        Not one that is being sent: whether its batch exists is not known, and its lease shows that.
        """
        later = times.after(self._now(), BACKOFF_S * 2**item.tries)
        self._write(
            self._update(
                item.job,
                item.item,
                {"owner": None, "lease": None, "not_before": later},
                {"owner": item.owner, "status": item.status},
            )
        )

    def settle(self, job_id: str) -> bool:
        """Let a job be assembled if it is planned and all its chunks are finished; the one place that decides."""
        job = self.job(job_id)
        if job is None or job.status != JobStatus.RUNNING or job.finished < job.chunks:
            return False
        given = {"status": JobStatus.RUNNING, "finished": job.finished, "chunks": job.chunks}
        changes = {
            "status": JobStatus.ASSEMBLING, "next": items.Step.ASSEMBLE, "ended_at": times.text(self._now())
        }  # fmt: skip
        return self.advance(job, changes, given=given)

    # -- whose batch, and may we send

    def owner_item(self, batch_id: str, of: str, *, double: bool = False) -> Owner:
        """Make the item that says whose a Message Batch is; a double is to be canceled by poll."""
        now = self._now()
        keys = (
            {"open": items.OPEN, "since": items.since("DOUBLE", times.text(now))} if double else {}
        )
        expires = _epoch(now + timedelta(days=OWNER_DAYS))
        return Owner(job=batch_id, item=OWNER, schema=items.SCHEMA, expires=expires, of=of, **keys)

    def own(self, owner: Owner) -> bool:
        """Note whose a Message Batch is; False if that is known already."""
        return self._write(self._put(owner))

    def mark_double(self, owner: Owner) -> None:
        """Let poll cancel a batch that was taken for ours before."""
        changes = {"open": owner.open, "since": owner.since}
        self._write(self._update(owner.job, owner.item, changes, {"of": owner.of}))

    def close_double(self, owner: Owner) -> None:
        """Note that a double batch is canceled or has ended."""
        self._write(
            self._update(owner.job, owner.item, {"open": None, "since": None}, {"of": owner.of})
        )

    def park(self, event: Event, reason: str, probe_at: str) -> bool:
        """Stop sending, for all jobs; False if it is stopped already."""
        changes = {
            "parked": reason,
            "parked_at": event.time,
            "probe_at": probe_at,
            "schema": items.SCHEMA,
        }
        return self._write(
            self._update(RELAY, "sending", changes, {"parked": None}), self._put_event(event, None)
        )

    def probe(self, sending: Sending, probe_at: str) -> bool:
        """Let one batch through to see whether sending works again; False if another poll did."""
        given = {"parked": sending.parked, "probe_at": sending.probe_at}
        return self._write(self._update(RELAY, "sending", {"probe_at": probe_at}, given))

    def resume(self, sending: Sending, event: Event) -> bool:
        """Send again, for all jobs."""
        changes = {"parked": None, "parked_at": None, "probe_at": None, "not_before": None}
        given = {"parked": sending.parked, "parked_at": sending.parked_at}
        return self._write(
            self._update(RELAY, "sending", changes, given), self._put_event(event, None)
        )

    def hold_sending(self, until: str) -> None:
        """Send nothing before then, for all jobs."""
        self._write(
            self._update(RELAY, "sending", {"not_before": until, "schema": items.SCHEMA}, {})
        )

    def single_flight(self, token: str, lease_s: float) -> bool:
        """Be the only poll for a while; False if another one is at work."""
        now = self._now()
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=_wire({"job": RELAY, "item": "poll"}),
                UpdateExpression="SET #owner = :token, lease = :until",
                ConditionExpression="attribute_not_exists(lease) OR lease < :now OR #owner = :token",
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues=_wire({
                    ":token": token, ":until": times.after(now, lease_s), ":now": times.text(now)
                }),
            )  # fmt: skip
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def end_flight(self, token: str) -> None:
        """Let the next poll begin."""
        self._write(self._update(RELAY, "poll", {"owner": None, "lease": None}, {"owner": token}))

    # -- events

    def owed(self, job: str) -> list[Event]:
        """Read the events that are owed for a job."""
        found = self._query(
            KeyConditionExpression="job = :job AND begins_with(#item, :event)",
            ExpressionAttributeNames={"#item": "item"},
            ExpressionAttributeValues=_wire({":job": job, ":event": EVENT}),
            ConsistentRead=True,
        )
        return [_event(item) for item in found]

    def paid(self, event: Event) -> None:
        """Forget an event that has been published."""
        self._delete(event.about if event.about != "sending" else RELAY, EVENT + event.id, {})

    # -- the wire

    def _get(self, job: str, item: str) -> dict[str, Any] | None:
        answer = self._dynamodb.get_item(
            TableName=self._table, Key=_wire({"job": job, "item": item}), ConsistentRead=True
        )
        return _plain(answer["Item"]) if "Item" in answer else None

    def _query(self, **query: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - botocore's own
        pages = self._dynamodb.get_paginator("query").paginate(TableName=self._table, **query)
        for page in pages:
            yield from map(_plain, page["Items"])

    def _put(self, item: Job | Batch | Owner) -> "TransactWriteItemTypeDef":
        return self._put_item(msgspec.to_builtins(item))

    def _put_event(self, event: Event, item: Job | Batch | None) -> "TransactWriteItemTypeDef":
        frozen = {
            "job": item.job if item else RELAY, "item": EVENT + event.id, "schema": items.SCHEMA,
            "open": items.OPEN, "since": items.since("EVENT", event.time), "event": msgspec.json.encode(event).decode(),
        }  # fmt: skip
        return {"Put": {"TableName": self._table, "Item": _wire(frozen)}}

    def _put_item(self, item: dict[str, Any]) -> "TransactWriteItemTypeDef":
        return {
            "Put": {
                "TableName": self._table,
                "Item": _wire(item),
                "ConditionExpression": "attribute_not_exists(job)",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }

    def _update(
        self,
        job: str,
        item: str,
        changes: Given,
        given: Given,
        add: Mapping[str, int] | None = None,
    ) -> "TransactWriteItemTypeDef":
        key = _wire({"job": job, "item": item})
        expressions = _expressions(changes, given, add or {})
        return {"Update": {"TableName": self._table, "Key": key, **expressions}}  # type: ignore[typeddict-item]  # fmt: skip

    def _add(self, job: str, counters: Mapping[str, int]) -> "TransactWriteItemTypeDef":
        return {
            "Update": {
                "TableName": self._table,
                "Key": _wire({"job": job, "item": items.JOB}),
                "UpdateExpression": "ADD " + ", ".join(f"{name} :{name}" for name in counters),
                "ConditionExpression": "attribute_exists(job)",
                "ExpressionAttributeValues": _wire(
                    {f":{name}": by for name, by in counters.items()}
                ),
            }
        }

    def _delete(self, job: str, item: str, given: Given) -> None:
        condition = _condition(given)
        self._write({"Delete": {"TableName": self._table, "Key": _wire({"job": job, "item": item}), **condition}})  # type: ignore[typeddict-item]  # fmt: skip

    def _write(self, *writes: "TransactWriteItemTypeDef") -> bool:
        """Write all or nothing; True too where it was written already by this very call.

        The SDK gives each call a token and repeats it with the same one, which DynamoDB recognizes.
        """
        for wait_s in (*_CONFLICT_WAITS_S, None):
            try:
                self._dynamodb.transact_write_items(TransactItems=list(writes))
            except self._dynamodb.exceptions.TransactionCanceledException as error:
                reasons = {reason.get("Code") for reason in error.response["CancellationReasons"]}
                if "ConditionalCheckFailed" in reasons:
                    return False
                if wait_s is None:
                    raise
                time.sleep(wait_s)
            else:
                break
        return True


def _expressions(changes: Given, given: Given, add: Mapping[str, int]) -> dict[str, Any]:
    """Write the expressions of an update: what to set, to remove and to add, and what must hold."""
    sets = {name: value for name, value in changes.items() if value is not None}
    clauses = {
        "SET": [f"#{name} = :new_{name}" for name in sets],
        "REMOVE": [f"#{name}" for name in changes if name not in sets],
        "ADD": [f"#{name} :new_{name}" for name in add],
    }
    update = " ".join(f"{verb} {', '.join(list_)}" for verb, list_ in clauses.items() if list_)
    expressions = _condition(given)
    names = {f"#{name}": name for name in [*changes, *add]}
    values = _wire({f":new_{name}": value for name, value in {**sets, **add}.items()})
    merged = {
        "ExpressionAttributeNames": expressions.get("ExpressionAttributeNames", {}) | names,
        "ExpressionAttributeValues": expressions.get("ExpressionAttributeValues", {}) | values,
    }
    filled = {name: parts for name, parts in merged.items() if parts}
    return {**expressions, **filled, "UpdateExpression": update}


def _condition(given: Given) -> dict[str, Any]:
    if not given:
        return {}
    tests = [_test(name, value) for name, value in given.items()]
    condition: dict[str, Any] = {
        "ConditionExpression": " AND ".join(tests),
        "ExpressionAttributeNames": {f"#{name}": name for name in given},
    }
    values = {f":old_{name}": value for name, value in given.items() if value is not None}
    if values:
        condition["ExpressionAttributeValues"] = _wire(values)
    return condition


def _test(name: str, value: object) -> str:
    """Write one test; items leave out what is at its default, so a missing number is 0."""
    if value is None:
        return f"attribute_not_exists(#{name})"
    equal = f"#{name} = :old_{name}"
    return f"({equal} OR attribute_not_exists(#{name}))" if value == 0 else equal


def _sort(item: dict[str, Any], unfinished: Unfinished) -> None:
    """Put an item where its kind belongs."""
    if item["item"].startswith(EVENT):
        unfinished.events.append(_event(item))
    elif item["item"] == OWNER:
        unfinished.doubles.append(msgspec.convert(item, Owner))
    elif item["job"] == "cancel":
        unfinished.cancels.append(msgspec.convert(item, Cancel))
    elif item["item"] == items.JOB:
        unfinished.jobs.append(msgspec.convert(item, Job))
    else:
        unfinished.batches.append(msgspec.convert(item, Batch))


def _event(item: Mapping[str, Any]) -> Event:
    return msgspec.json.decode(item["event"], type=Event)


_serialize, _deserialize = TypeSerializer().serialize, TypeDeserializer().deserialize


def _wire(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _serialize(msgspec.to_builtins(value)) for name, value in item.items()}


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _whole_numbers(_deserialize(value)) for name, value in item.items()}


def _whole_numbers(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, dict):
        return {name: _whole_numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(one) for one in value]
    return value


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp())


def by_job(batches: Iterable[Batch]) -> dict[str, list[Batch]]:
    """Group batches by job."""
    grouped: dict[str, list[Batch]] = {}
    for batch in batches:
        grouped.setdefault(batch.job, []).append(batch)
    return grouped
