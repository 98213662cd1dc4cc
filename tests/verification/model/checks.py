"""Invariants that are checked at each write, at each create, and at the end."""

import re
from collections import Counter
from typing import Any

import msgspec

from functions.model.items.counts import OUTCOMES
from functions.model.items.work_item import JOB
from functions.model.records import RELAY
from tests.fakes.dynamodb import Item, Table
from tests.verification.model.states import State, timestamp

FROM_NOTHING = "—"
_COUNTERS = {
    "chunks_finished",
    "chunks",
    "convenience_tries",
    "cost_micro_usd",
    *(f"collected_{outcome}" for outcome in OUTCOMES),
}
"""Counters that others than an item's owner change; assemble counts the last for batches that it salvages."""
_ADOPTED = {"batch_id", "created_at", "duplicate_id", "duplicates", "status_digest"}


class Violation(BaseException):
    """An invariant is violated; no stage may catch this."""


Arrow = tuple[str, str, str, str]
"""A transition of a job or a batch: from, to, and which step made it."""


class TransitionChecker:
    """Check every write to the table: which step changes an item, and whether it owns it."""

    def __init__(self) -> None:
        self.arrows: Counter[Arrow] = Counter()
        self.tokens: set[str] = set()
        self.step = ""
        self.repeated_acceptances = 0

    def start(self, step: str) -> None:
        self.step = step
        self.tokens.clear()

    def check_acquire(self, before: State, arguments: dict[str, Any]) -> None:
        """Check an acquire, the only way to become an owner."""
        key = arguments["Key"]["job"]["S"], arguments["Key"]["item"]["S"]
        previous = before.table.get(key)
        if previous is not None and _leased(previous, before.now):
            require(previous.get("owner") in self.tokens, f"{key} has two owners")

    def check_write(self, before: State, table: Table) -> set[str]:
        """Check a transaction; return the batches that it declares absent."""
        absent: set[str] = set()
        for key, item in table.items():
            previous, kind = before.table.get(key), _kind(key)
            if previous is item or kind is None:
                continue
            if kind == "sending":
                self._record_circuit(previous, item)
            elif self._record_transition(kind, previous, item, before.now) == (
                "UNCONFIRMED",
                "WAITING",
            ):
                absent.add(f"{key[1]} absent")
            elif (
                item.get("status") == "ASSEMBLING"
                and previous
                and previous.get("status") == "RUNNING"
            ):
                _check_complete(table, key[0])
        return absent

    def _record_transition(
        self, kind: str, previous: Item | None, item: Item, now: int
    ) -> tuple[str, str]:
        """Record an item's transition."""
        old_status = str(previous.get("status")) if previous else FROM_NOTHING
        new_status = str(item.get("status"))
        if old_status != new_status or self._changed_in_place(previous, item):
            self.arrows[(kind, old_status, new_status, self.step)] += 1
        if previous is not None:
            self._check_owner(previous, item, now)
        return old_status, new_status

    def _record_circuit(self, previous: Item | None, item: Item) -> None:
        was_paused, is_paused = (
            bool(circuit and circuit.get("paused_reason")) for circuit in (previous, item)
        )
        if was_paused != is_paused:
            names = {False: "flowing", True: "paused"}
            self.arrows[("sending", names[was_paused], names[is_paused], self.step)] += 1

    @staticmethod
    def _changed_in_place(previous: Item | None, item: Item) -> bool:
        """Return whether an item changed without changing its status."""
        names = ("checkpoint", "close_reason", "batch_id", "open")
        return previous is not None and any(previous.get(name) != item.get(name) for name in names)

    def _check_owner(self, previous: Item, item: Item, now: int) -> None:
        """Check that the owner changes an item, or poll if it has none, or reconciliation."""
        changed = {
            name
            for name in previous.attributes.keys() | item.attributes.keys()
            if previous.attributes.get(name) != item.attributes.get(name)
        }
        if previous.get("owner") in self.tokens or changed <= _COUNTERS | _ADOPTED:
            return
        reconciled = "batch_id" in changed and item.get("status") == "IN_PROGRESS"
        assembled = item.get("status") == "ASSEMBLING" and previous.get("status") == "RUNNING"
        poll_only = changed <= {
            "canceled_at",
            "cancel_reason",
            "reconcile_misses",
            "first_missed_at",
            "listing_misses",
        }
        unowned = self.step == "poll" and (poll_only or not _leased(previous, now))
        message = (
            f"{self.step} moved {item.comparison_key} owned by {previous.get('owner')}: {changed}"
        )
        require(reconciled or assembled or unowned, message)

    def check_accepted(self, state: State, custom_ids: tuple[str, ...]) -> None:
        """Check that requests are accepted twice only after their batch was declared absent."""
        before = [batch for batch in state.claude if set(batch.custom_ids) & set(custom_ids)]
        if not before:
            return
        self.repeated_acceptances += 1
        _, chunk, attempt, _ = custom_ids[0].split("-")
        reconciled = f"{chunk}-{attempt} absent" in state.marks
        require(reconciled, f"{custom_ids} accepted twice without a declared absence")
        require("frozen" in state.marks, f"{custom_ids} accepted twice without a late create")


def _kind(key: tuple[str, str]) -> str | None:
    if key == (RELAY, "sending"):
        return "sending"
    if key[1] == JOB:
        return "job"
    return "batch" if re.fullmatch(r"\d{5}[ab]*-\d+", key[1]) else None


def _leased(item: Item, now: int) -> bool:
    lease = item.get("lease")
    return lease is not None and lease >= timestamp(now)


def require(holds: bool, message: str) -> None:  # noqa: FBT001 - reads like assert
    if not holds:
        raise Violation(message)


def _check_complete(table: Table, job: str) -> None:
    """Check that an assembling job has counted each chunk once, at its last attempt."""
    last_attempts: dict[str, Item] = {}
    for (of, name), item in sorted(table.items()):
        if of == job and name[0].isdigit() and item.get("status") != "SPLIT":
            last_attempts[str(item.get("chunk"))] = item
    job_item = table[(job, "#")]
    ended = all(item.get("status") in {"COLLECTED", "STUCK"} for item in last_attempts.values())
    counted = (
        int(job_item.get("chunks_finished") or 0)
        == int(job_item.get("chunks") or 0)
        == len(last_attempts)
    )
    require(
        ended and counted,
        f"{job_item.comparison_key} is assembled with {[i.comparison_key for i in last_attempts.values()]}",
    )


def check_final_state(state: State, rows: int | None) -> None:
    """Check what a user sees of a finished job; `rows` is None if it can have no results."""
    (job,) = (item for key, item in state.table.items() if key[1] == "#")
    require(job.get("status") == "DONE", job.comparison_key)
    if rows is not None:
        results = [body for key, body in state.objects.items() if key.endswith("/results.jsonl")]
        lines = [msgspec.json.decode(line) for line in b"".join(results).splitlines()]
        require([line["row"] for line in lines] == [*range(1, rows + 1)], f"rows: {lines}")
    ended = [event["id"] for event in state.events if event["type"].startswith("job.")]
    require(any(event_id.endswith("/ended") for event_id in ended), "no completion event")
    require(
        len({event_id for event_id in ended if event_id.endswith("/ended")}) == 1,
        "completion events with different ids",
    )
    _check_unknown_batches(state)


def _check_unknown_batches(state: State) -> None:
    """Check that only a late create can leave a batch at Anthropic that nothing records."""
    our_batches = (batch for batch in state.claude if "-" in batch.custom_ids[0])
    unknown = [
        our_batch.id for our_batch in our_batches if (our_batch.id, "owner") not in state.table
    ]
    answer_lost = state.marks & {"died", "failed", "unheard", "lost", "hidden"}
    expected = "frozen" in state.marks and answer_lost
    require(not unknown or bool(expected), f"unrecorded batches {unknown}: {sorted(state.marks)}")
