"""What must hold at each write, at each create, and at the end."""

import re
from collections import Counter
from typing import Any

import msgspec

from functions.model import items
from functions.model.records import RELAY
from tests.fakes.dynamodb import Item, Table
from tests.verification.model.states import State, at

FROM_NOTHING = "—"
_COUNTERS = {"chunks_finished", "chunks"}
_ADOPTED = {"batch_id", "created_at", "status_digest"}


class Violation(BaseException):
    """Something does not hold; no stage may catch it."""


Arrow = tuple[str, str, str, str]
"""Of a job or a batch: from, to, and who moved it."""


class Moves:
    """Watches every write to the table: who moves what, and whether it was theirs to move."""

    def __init__(self) -> None:
        self.arrows: Counter[Arrow] = Counter()
        self.tokens: set[str] = set()
        self.step = ""
        self.paid_again = 0

    def begin(self, step: str) -> None:
        self.step = step
        self.tokens.clear()

    def taken(self, before: State, arguments: dict[str, Any]) -> None:
        """Note a take: the one way to become an owner."""
        key = arguments["Key"]["job"]["S"], arguments["Key"]["item"]["S"]
        was = before.table.get(key)
        if was is not None and _leased(was, before.now):
            _must(was.get("owner") in self.tokens, f"{key} has two owners")

    def written(self, before: State, table: Table) -> set[str]:
        """Note a transaction; give the batches that it declares to be absent."""
        absent: set[str] = set()
        for key, item in table.items():
            was, kind = before.table.get(key), _kind(key)
            if was is item or kind is None:
                continue
            if kind == "sending":
                self._sending(was, item)
            elif self._moved(kind, was, item, before.now) == ("UNCONFIRMED", "WAITING"):
                absent.add(f"{key[1]} absent")
            elif item.get("status") == "ASSEMBLING" and was and was.get("status") == "RUNNING":
                _is_whole(table, key[0])
        return absent

    def _moved(self, kind: str, was: Item | None, item: Item, now: int) -> tuple[str, str]:
        """Note what became of an item."""
        first = str(was.get("status")) if was else FROM_NOTHING
        last = str(item.get("status"))
        if first != last or self._moved_in_place(was, item):
            self.arrows[(kind, first, last, self.step)] += 1
        if was is not None:
            self._is_mine(was, item, now)
        return first, last

    def _sending(self, was: Item | None, item: Item) -> None:
        first, last = (bool(one and one.get("paused_reason")) for one in (was, item))
        if first != last:
            names = {False: "flowing", True: "paused"}
            self.arrows[("sending", names[first], names[last], self.step)] += 1

    @staticmethod
    def _moved_in_place(was: Item | None, item: Item) -> bool:
        """Whether an item moved and kept its status: cut further, closed anew, adopted by an older batch."""
        names = ("checkpoint", "close_reason", "batch_id", "open")
        return was is not None and any(was.get(name) != item.get(name) for name in names)

    def _is_mine(self, was: Item, item: Item, now: int) -> None:
        """An item is moved by its owner alone; by poll where it has none, or none any more; by a proof always."""
        changed = {
            name
            for name in was.attributes.keys() | item.attributes.keys()
            if was.attributes.get(name) != item.attributes.get(name)
        }
        if was.get("owner") in self.tokens or changed <= _COUNTERS | _ADOPTED:
            return
        proved = "batch_id" in changed and item.get("status") == "IN_PROGRESS"
        settled = item.get("status") == "ASSEMBLING" and was.get("status") == "RUNNING"
        noted = changed <= {"canceled_at", "reconcile_misses", "first_missed_at", "listing_misses"}
        free = self.step == "poll" and (noted or not _leased(was, now))
        what = f"{self.step} moved {item.text} which is {was.get('owner')}'s: {changed}"
        _must(proved or settled or free, what)

    def accepted(self, state: State, custom_ids: tuple[str, ...]) -> None:
        """Note that Anthropic has accepted requests: a second time only after absence was proved."""
        before = [one for one in state.claude if set(one.custom_ids) & set(custom_ids)]
        if not before:
            return
        self.paid_again += 1
        _, chunk, attempt, _ = custom_ids[0].split("-")
        proved = f"{chunk}-{attempt} absent" in state.marks
        _must(proved, f"{custom_ids} accepted twice without a proof")
        _must("frozen" in state.marks, f"{custom_ids} accepted twice, and nobody was late")


def _kind(key: tuple[str, str]) -> str | None:
    if key == (RELAY, "sending"):
        return "sending"
    if key[1] == items.JOB:
        return "job"
    return "batch" if re.fullmatch(r"\d{5}[ab]*-\d+", key[1]) else None


def _leased(item: Item, now: int) -> bool:
    lease = item.get("lease")
    return lease is not None and lease >= at(now)


def _must(holds: bool, what: str) -> None:  # noqa: FBT001 - reads as assert does
    if not holds:
        raise Violation(what)


def _is_whole(table: Table, job: str) -> None:
    """At ASSEMBLING the counter says exactly what there is: each chunk once, at its last attempt."""
    last: dict[str, Item] = {}
    for (of, name), item in sorted(table.items()):
        if of == job and name[0].isdigit() and item.get("status") != "SPLIT":
            last[str(item.get("chunk"))] = item
    head = table[(job, "#")]
    ended = all(item.get("status") in {"COLLECTED", "STUCK"} for item in last.values())
    counted = int(head.get("chunks_finished") or 0) == int(head.get("chunks") or 0) == len(last)
    _must(ended and counted, f"{head.text} is assembled with {[i.text for i in last.values()]}")


def at_the_end(state: State, rows: int | None) -> None:
    """Check what a user sees of a job that has ended; `rows` is None where there can be no results."""
    (job,) = (item for key, item in state.table.items() if key[1] == "#")
    _must(job.get("status") == "DONE", job.text)
    if rows is not None:
        results = [body for key, body in state.objects.items() if key.endswith("/results.jsonl")]
        lines = [msgspec.json.decode(line) for line in b"".join(results).splitlines()]
        _must([line["row"] for line in lines] == [*range(1, rows + 1)], f"rows: {lines}")
    ended = [one["id"] for one in state.events if one["type"].startswith("job.")]
    _must(any(one.endswith("/ended") for one in ended), "no event of the end")
    _must(len({one for one in ended if one.endswith("/ended")}) == 1, "two ids of one end")
    _doubles(state)


def _doubles(state: State) -> None:
    """A batch at Anthropic that nobody knows of: only where a create was late, and nobody heard of it."""
    ours = (one for one in state.claude if "-" in one.custom_ids[0])
    unknown = [one.id for one in ours if (one.id, "owner") not in state.table]
    unheard = state.marks & {"died", "failed", "unheard", "lost", "hidden"}
    twice = "frozen" in state.marks and unheard
    _must(not unknown or bool(twice), f"nobody knows of {unknown}: {sorted(state.marks)}")
