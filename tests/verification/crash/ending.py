"""How a job ended, as a user sees it, and what that may differ in from one run to the next: ids and times."""

import json
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from functions.model.ids import RequestId
from tests.harness import RESULTS, TABLE
from tests.verification.crash import lifecycle
from tests.verification.crash.crash_harness import CrashHarness

_BATCH = re.compile(rb"msgbatch_[0-9a-z]+")
_CRC = re.compile(rb'"crc32": "[0-9a-f]{8}"')
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")


@dataclass(frozen=True)
class Names:
    """What is called otherwise in each run."""

    job: str
    version: str

    def plain(self, text: bytes) -> bytes:
        """Put a word in the place of every id and time."""
        text = text.replace(self.job.encode(), b"JOB").replace(self.job[:8].encode(), b"JOB8")
        text = text.replace(self.version.encode(), b"VERSION")
        text = _CRC.sub(b'"crc32": "CRC"', text)  # of files whose ids are still in them
        return _TIME.sub(b"TIME", _BATCH.sub(b"BATCH", text))


@dataclass(frozen=True)
class Ending:
    """What is left of a job when it is done; all of it without ids and times.

    Attributes:
        files: what lies in the job's folder, by name.
        events: each event by its id, as it was delivered.
        told: how many events of each type, each id once.
        torn: the ids under which more than one content was delivered.
        billed: the rows of this job that were answered, and paid for.
        custom_ids: how often each request was accepted: each attempt of a row has its own.
        params: the same by content: what the user is billed for.
    """

    files: dict[str, bytes]
    events: dict[str, set[bytes]]
    custom_ids: dict[str, int]
    params: dict[str, int]
    told: dict[str, int]
    torn: list[str]
    billed: set[int]

    @classmethod
    def of(cls, relay: CrashHarness, names: Names) -> "Ending":
        found = relay.aws.s3.objects(RESULTS, "results/")
        events: dict[str, set[bytes]] = {}
        by_id: dict[str, set[bytes]] = {}
        types: dict[str, str] = {}
        for event in relay.events():
            content = names.plain(json.dumps(event).encode())
            events.setdefault(names.plain(event["id"].encode()).decode(), set()).add(content)
            by_id.setdefault(event["id"], set()).add(content)
            types[event["id"]] = event["type"]
        accepted = relay.simulator.accepted().items()
        return cls(
            files={key.rpartition("/")[2]: names.plain(one.body) for key, one in found.items()},
            events=events,
            custom_ids={names.plain(name.encode()).decode(): count for name, count in accepted},
            params=relay.simulator.accepted_params(),
            told=Counter(types.values()),
            torn=[name for name, contents in by_id.items() if len(contents) > 1],
            billed=_billed(relay, names.job),
        )

    @property
    def rows(self) -> list[int]:
        lines = self.files.get("results.jsonl", b"").splitlines()
        return [json.loads(line)["row"] for line in lines]

    @property
    def undelivered(self) -> list[int]:
        """Name the rows whose answer was paid for, and that have no line or one that the relay made in its place."""
        lines = map(json.loads, self.files.get("results.jsonl", b"").splitlines())
        delivered = {line["row"] for line in lines if not _is_made_up(line["result"])}
        return sorted(self.billed - delivered)

    def rows_lost(self, expected: "Ending") -> int:
        """Count the rows without a line, and those with more than one."""
        found, wanted = Counter(self.rows), Counter(expected.rows)
        return (wanted - found).total() + (found - wanted).total()

    def paid_twice(self, expected: "Ending") -> int:
        """Count the requests that were accepted again, although they had been before."""
        return max(
            sum(count - 1 for count in self.custom_ids.values()),
            (Counter(self.params) - Counter(expected.params)).total(),
        )

    def unlike(self, expected: "Ending") -> list[str]:
        """Say what is not as in the undisturbed run."""
        named: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
            ("file", self.files, expected.files), ("event", self.events, expected.events),
            ("accepted", self.custom_ids, expected.custom_ids), ("paid", self.params, expected.params),
        ]  # fmt: skip
        found: list[str] = []
        for kind, ours, theirs in named:
            names = sorted({*ours, *theirs})
            found += [f"{kind} {name}" for name in names if ours.get(name) != theirs.get(name)]
        return found


def _is_made_up(result: dict[str, Any]) -> bool:
    if result["type"] == "errored":
        error = result["error"]["error"]
        return error.get("type") in {"relay_stuck", "results_gone", "result_missing"}
    return result["type"] in {"canceled", "expired", "rejected"}


def _billed(relay: CrashHarness, job: str) -> set[int]:
    """Return the rows of a job that Anthropic has answered, in whichever batch, and still has the answers of."""
    kept = {one["id"] for one in relay.simulator.batches() if one["archived_at"] is None}
    found = [
        RequestId.parse(custom_id)
        for batch_id in relay.simulator.billed()
        if batch_id in kept
        for custom_id in relay.simulator.billed_ids(batch_id)
    ]
    return {one.row for one in found if one is not None and one.job == job}


@dataclass
class Watcher:
    """Looks at the results folder at every tick and every death: nothing there is ever half of something."""

    relay: CrashHarness
    names: Names
    expected: Ending | None
    wrong: list[str] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, str]] = field(default_factory=dict)

    def look(self) -> None:
        """Look at what has changed since the last time."""
        now = self.relay.aws.s3.objects(RESULTS, "results/")
        changed = {key: one for key, one in now.items() if self.seen.get(key) != one.etag}
        for key, stored in changed.items():
            self.seen[key] = stored.etag
            self.sizes[key] = len(stored.body), f"{zlib.crc32(stored.body):08x}"
        for key, stored in changed.items():
            name = key.rpartition("/")[2]
            if name == "status.json":
                json.loads(stored.body)
            elif self.expected and self.names.plain(stored.body) != self.expected.files.get(name):
                self.wrong.append(f"visible before it was whole: {name}")
            if name == "manifest.json":
                self._named(json.loads(stored.body))

    def _named(self, manifest: dict[str, Any]) -> None:
        for file in manifest["files"].values():
            key = file["uri"].partition("//")[2].partition("/")[2]
            if self.sizes.get(key) != (file["size_bytes"], file["crc32"]):
                self.wrong.append(f"named before it was there: {key}")


def _token(key: str) -> str:
    """Give the token of the stage that wrote a work file: its name is that and a kind."""
    return key.rpartition("/")[2].partition(".")[0]


def left_behind(relay: CrashHarness) -> list[str]:
    """Name what no lifecycle rule, and no expiry of the table's, will ever remove.

    A stage that outlived its lease may write a file when the job is done and all others are marked: one under its
    own token.
    """
    found = [
        key
        for key in relay.aws.s3.objects(RESULTS, "work/")
        if not lifecycle.removes(key, relay.aws.s3.tags(RESULTS, key))
        and _token(key) not in relay.outlived
    ]
    if relay.aws.s3.uploads and not lifecycle.aborts_uploads():
        found.append("a multipart upload")
    for page in relay.dynamodb.get_paginator("scan").paginate(TableName=TABLE):
        found += [
            f"item {one['job']['S']}/{one['item']['S']}"
            for one in page["Items"]
            if "expires" not in one and one["job"]["S"] != "relay"
        ]
    return [f"never removed: {name}" for name in found]
