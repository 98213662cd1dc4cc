"""The final state of a job as its user sees it, without the ids and times that differ by run."""

import json
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from functions.adapters.table import deserialize
from functions.model.ids import RequestId
from functions.model.items.batch import IN_FLIGHT_BATCH_STATUSES, BatchStatus
from functions.model.items.work_item import MICRO
from tests.harness import RESULTS, TABLE
from tests.verification.crash import lifecycle
from tests.verification.crash.crash_harness import CrashHarness

ROUNDING_MICRO_USD = 2.0
"""The relay counts each of the few batches in whole millionths of a dollar."""
_BATCH_ID = re.compile(rb"msgbatch_[0-9a-z]+")
_CRC = re.compile(rb'"crc32": "[0-9a-f]{8}"')
_VERSION = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EPOCH = re.compile(rb'("(?:created|\w+_at)": ?)\d{10}\b')
_REPORT_TIMES = re.compile(rb'<section id="time".*?</section>|<time.*?</time>', re.DOTALL)
_REPORT_SIZE = re.compile(rb'(report\.html",\s*"size_bytes": )\d+')
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")


@dataclass(frozen=True)
class RunIds:
    """The ids that differ between runs."""

    job: str
    version: str

    def normalize(self, text: bytes) -> bytes:
        """Replace every id and time by a placeholder."""
        text = text.replace(self.job.encode(), b"JOB").replace(self.job[:8].encode(), b"JOB8")
        text = _VERSION.sub(b"VERSION", text.replace(self.version.encode(), b"VERSION"))
        text = _EPOCH.sub(rb"\1EPOCH", text)
        text = _REPORT_SIZE.sub(rb"\1SIZE", _REPORT_TIMES.sub(b"TIME", text))
        text = _CRC.sub(b'"crc32": "CRC"', text)  # checksums of files that contain such ids
        return _TIME.sub(b"TIME", _BATCH_ID.sub(b"BATCH", text))


@dataclass(frozen=True)
class FinalState:
    """What a finished job leaves behind, without ids and times.

    Attributes:
        files: The files in the job's results folder, by name.
        events: The delivered contents of each event, by its id.
        custom_ids: How often each request was accepted; each attempt of a row has its own id.
        params: How often each content was accepted: what the user pays for.
        event_counts: The number of events of each type; repeated ids count once.
        inconsistent_events: The ids that were delivered with different contents.
        billed: The rows of this job that were answered and billed.
        ledger: The entries of this job in the cost ledger: one, with the cost that the manifest says; and what the
            counters of the budgets add up to.
        bill_micro_usd: What the simulator bills for everything, in millionths of a US dollar.
    """

    files: dict[str, bytes]
    events: dict[str, set[bytes]]
    custom_ids: dict[str, int]
    params: dict[str, int]
    event_counts: dict[str, int]
    inconsistent_events: list[str]
    billed: set[int]
    ledger: dict[str, Any]
    bill_micro_usd: float

    @classmethod
    def of(cls, relay: CrashHarness, run_ids: RunIds) -> "FinalState":
        result_objects = relay.aws.s3.objects(RESULTS, "results/")
        events: dict[str, set[bytes]] = {}
        by_id: dict[str, set[bytes]] = {}
        types: dict[str, str] = {}
        for event in relay.events():
            content = run_ids.normalize(json.dumps(event).encode())
            events.setdefault(run_ids.normalize(event["id"].encode()).decode(), set()).add(content)
            by_id.setdefault(event["id"], set()).add(content)
            types[event["id"]] = event["type"]
        accepted = relay.simulator.accepted().items()
        return cls(
            files={
                key.rpartition("/")[2]: run_ids.normalize(result_object.body)
                for key, result_object in result_objects.items()
            },
            events=events,
            custom_ids={
                run_ids.normalize(name.encode()).decode(): count for name, count in accepted
            },
            params=relay.simulator.accepted_params(),
            event_counts=Counter(types.values()),
            inconsistent_events=[name for name, contents in by_id.items() if len(contents) > 1],
            billed=_billed(relay, run_ids.job),
            ledger=_ledger(relay, run_ids),
            bill_micro_usd=relay.simulator.bill().usd * MICRO,
        )

    @property
    def wrong_bill(self) -> list[str]:
        """Return how what the relay counted differs from the simulator's own bill."""
        counted = self.ledger["counted_micro_usd"]
        if abs(counted - self.bill_micro_usd) <= ROUNDING_MICRO_USD:
            return []
        return [f"counted {counted} millionths of a dollar, billed {self.bill_micro_usd}"]

    @property
    def rows(self) -> list[int]:
        lines = self.files.get("results.jsonl", b"").splitlines()
        return [json.loads(line)["row"] for line in lines]

    @property
    def undelivered(self) -> list[int]:
        """Return the billed rows that have no line in the results, or a synthetic one."""
        lines = map(json.loads, self.files.get("results.jsonl", b"").splitlines())
        delivered = {line["row"] for line in lines if not _is_synthetic(line["result"])}
        return sorted(self.billed - delivered)

    def rows_lost(self, expected: "FinalState") -> int:
        """Count the rows without a line, and the extra lines of a row."""
        actual_rows, expected_rows = Counter(self.rows), Counter(expected.rows)
        return (expected_rows - actual_rows).total() + (actual_rows - expected_rows).total()

    def paid_twice(self, expected: "FinalState") -> int:
        """Count the requests that were accepted more than once."""
        return max(
            sum(count - 1 for count in self.custom_ids.values()),
            (Counter(self.params) - Counter(expected.params)).total(),
        )

    def differences_from(self, expected: "FinalState") -> list[str]:
        """Return what differs from another final state."""
        compared: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
            ("file", self.files, expected.files), ("event", self.events, expected.events),
            ("accepted", self.custom_ids, expected.custom_ids), ("paid", self.params, expected.params),
            ("ledger", self.ledger, expected.ledger),
        ]  # fmt: skip
        differences: list[str] = []
        for kind, mine, other in compared:
            names = sorted({*mine, *other})
            differences += [
                f"{kind} {name}" for name in names if mine.get(name) != other.get(name)
            ]
        return differences


def _is_synthetic(result: dict[str, Any]) -> bool:
    if result["type"] == "errored":
        error = result["error"]["error"]
        lost = {"relay_stuck", "results_gone", "result_missing", "result_unreadable"}
        return error.get("type") in lost
    return result["type"] in {"canceled", "expired", "rejected"}


def _billed(relay: CrashHarness, job: str) -> set[int]:
    """Return the job's rows with an answer that can still be downloaded from Anthropic."""
    readable = {batch["id"] for batch in relay.simulator.batches() if batch["archived_at"] is None}
    request_ids = [
        RequestId.parse(custom_id)
        for batch_id in relay.simulator.billed()
        if batch_id in readable
        for custom_id in relay.simulator.billed_ids(batch_id)
    ]
    return {
        request_id.row
        for request_id in request_ids
        if request_id is not None and request_id.job == job
    }


def _ledger(relay: CrashHarness, run_ids: RunIds) -> dict[str, Any]:
    """Return what the job's entries in the cost ledger say, by number, and what the counters of the days add up to."""
    pages = relay.dynamodb.get_paginator("scan").paginate(TableName=TABLE)
    items = [deserialize(item) for page in pages for item in page["Items"]]
    entries = [item for item in items if item.get("of_job") == run_ids.job]
    names = ("outcome", "rows", "succeeded", "tokens", "cost_usd", "cost_usd_known")
    counted = sum(item.get("micro_usd", 0) for item in items)
    return {"counted_micro_usd": counted} | {
        str(number): {name: entry.get(name) for name in names}
        for number, entry in enumerate(entries)
    }


@dataclass
class ResultsWatcher:
    """Check at every tick and every crash that no file in the results folder is incomplete."""

    relay: CrashHarness
    run_ids: RunIds
    expected: FinalState | None
    problems: list[str] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, str]] = field(default_factory=dict)

    def inspect(self) -> None:
        """Check the files that have changed since the last call."""
        self._check_budget()
        now = self.relay.aws.s3.objects(RESULTS, "results/")
        overrides = {
            key: stored for key, stored in now.items() if self.seen.get(key) != stored.etag
        }
        for key, stored in overrides.items():
            self.seen[key] = stored.etag
            self.sizes[key] = len(stored.body), f"{zlib.crc32(stored.body):08x}"
        for key, stored in overrides.items():
            name = key.rpartition("/")[2]
            if name == "status.json":
                json.loads(stored.body)
            elif self.expected and self.run_ids.normalize(stored.body) != self.expected.files.get(
                name
            ):
                self.problems.append(f"visible while incomplete: {name}")
            if name == "manifest.json":
                self._check_manifest(json.loads(stored.body))

    def _check_budget(self) -> None:
        """Check that what is spent, and what all batches in flight may cost, is within the budget of the day."""
        budget_usd = self.relay.poll.settings.day_budget_usd
        if not budget_usd:
            return
        items = [deserialize(item.attributes) for item in self.relay.aws.dynamodb.table.values()]
        spent = sum(item.get("micro_usd", 0) for item in items)
        in_flight = sum(
            item["worst_micro_usd"]
            for item in items
            if item.get("status") in IN_FLIGHT_BATCH_STATUSES
            or (item.get("status") == BatchStatus.ENDED and "batch_id" in item)
        )
        if spent + in_flight > budget_usd * MICRO:
            self.problems.append(f"over the budget: {spent} spent, {in_flight} in flight")

    def _check_manifest(self, manifest: dict[str, Any]) -> None:
        for file in manifest["files"].values():
            key = file["uri"].partition("//")[2].partition("/")[2]
            if self.sizes.get(key) != (file["size_bytes"], file["crc32"]):
                self.problems.append(f"in the manifest before it was stored: {key}")


def _token(key: str) -> str:
    """Return the token of the stage that wrote a work file; its name begins with it."""
    return key.rpartition("/")[2].partition(".")[0]


def find_leftovers(relay: CrashHarness) -> list[str]:
    """Return everything that neither a lifecycle rule nor the table's TTL removes.

    A stage that outlived its lease may write a file after the others were tagged. It has the
    stage's own token in its name, and is ignored.
    """
    leftovers = [
        key
        for key in relay.aws.s3.objects(RESULTS, "work/")
        if not lifecycle.removes(key, relay.aws.s3.tags(RESULTS, key))
        and _token(key) not in relay.expired_tokens
    ]
    if relay.aws.s3.uploads and not lifecycle.aborts_uploads():
        leftovers.append("a multipart upload")
    for page in relay.dynamodb.get_paginator("scan").paginate(TableName=TABLE):
        leftovers += [
            f"item {item['job']['S']}/{item['item']['S']}"
            for item in page["Items"]
            if "expires" not in item and item["job"]["S"] != "relay"
        ]
    return [f"never removed: {name}" for name in leftovers]
