"""Whole jobs of uploads of any kind: planning resumes anywhere, exports are whole, and a retry file runs again.

The stages read and convert the upload themselves, in several invocations. What they send is compared with the
upload as it is read in one go.
"""

import csv
import io
import json
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from functions.model.ids import stem_of
from functions.model.options import Options, options_of
from functions.model.rows import Record, Row
from functions.planning.conversion import convert_all, converter_of
from functions.planning.validation import validate
from functions.readers import SUFFIXES
from functions.settings import SubmitSettings
from tests.fakes.aws import QUEUES
from tests.fakes.s3 import RESULTS
from tests.unit.uploads import Upload
from tests.verification.fuzz.jobs import (
    ROW_BYTES,
    SKIP_CHECKS,
    InMemoryRelay,
    RemainingTime,
    ScriptedAnthropic,
    corrupted_results,
)
from tests.verification.fuzz.leading_bytes import take_bytes
from tests.verification.fuzz.reading import Reading, read_upload

OPTIONS = {**json.loads(SKIP_CHECKS), "models": {"*": "claude-haiku-4-5"}}
TICKS_IN_HASTE = 3
"""Polls during which the stages have little time. Then they have enough, so that no download fails for days."""
API_VERSION = SubmitSettings.api_version


def any_job(data: bytes) -> None:
    """Check a job; the first bytes set the batch size, timeouts, corruptions and the upload's suffix."""
    (rows_per_batch, short_calls, code_count, suffix), body = take_bytes(data, 4)
    codes = bytes(code % 5 for code in body[: code_count % 32])  # only results that the API has
    api = ScriptedAnthropic(lambda names: b"\n".join(corrupted_results(names, codes, b"")))
    relay = InMemoryRelay(rows_per_batch % 5 + 1, RemainingTime(short_calls), api)
    options = OPTIONS | {"equal_rows": "once" if rows_per_batch % 2 else "each"}
    relay.upload("_relay.json", json.dumps(options).encode())
    first = _JobOfUpload(relay, api, f"in/a{SUFFIXES[suffix % len(SUFFIXES)]}", body)
    first.check()
    if "retry" in first.manifest["files"]:
        relay.clock = RemainingTime(short_calls)
        again = _JobOfUpload(relay, api, f"in/again/{first.retry_name}", first.retry_body)
        again.check()
        if first.failed_are_sent:
            assert again.sent_values == first.failed_values


class _JobOfUpload:
    """One upload, run to its end.

    Attributes:
        manifest: its manifest.
        sent: row → params that were sent.
    """

    def __init__(
        self, relay: InMemoryRelay, api: ScriptedAnthropic, key: str, body: bytes
    ) -> None:
        api.sent.clear()
        self._relay, self._key, self._body = relay, key, body
        relay.upload(key, body)
        self._answer_waiting()
        for _ in range(TICKS_IN_HASTE):
            relay.tick()
        relay.clock = RemainingTime(0)
        relay.finish()
        prefix = f"results/{stem_of(key)}/"
        self.files = {
            file.removeprefix(prefix).partition("/")[2]: content.body
            for file, content in relay.aws.s3.objects(RESULTS, prefix).items()
        }
        self.manifest: dict[str, Any] = json.loads(self.files["manifest.json"])
        self.sent = dict(sorted(api.sent.items()))
        self.lines = [json.loads(line) for line in self.files["results.jsonl"].split(b"\n")[:-1]]

    def _answer_waiting(self) -> None:
        """Upload the example of ``job.waiting``, if the job waits for a template."""
        for body in self._relay.aws.sqs.queues.pop(QUEUES["events"], []):
            event = json.loads(json.loads(body)["Message"])
            if event["type"] == "job.waiting":
                key = event["data"]["options_keys"][0]
                self._relay.upload(key, event["data"]["example"].encode())

    def check(self) -> None:
        """Check that each row has its line, and that what was sent is what the upload says."""
        reading = read_upload(Upload(self._body), self._key, ROW_BYTES)
        expected = [row for _, row in self._expected(reading)]
        if reading.refusal is not None:
            assert reading.refusal in self.manifest["reason"]
            assert len(self.lines) <= len(expected)
            expected = expected[: len(self.lines)]
        elif not self._template_refused():
            assert len(self.lines) == self.manifest["rows"] == len(expected), "rows out = rows in"
        assert [line["row"] for line in self.lines] == [*range(1, len(self.lines) + 1)]
        for line, row in zip(self.lines, expected, strict=False):
            assert line["custom_id"] == json.loads(bytes(row.custom_id))
            assert self._is_sent(line["row"], row.params)
        sendable = [row.params is not None for row in expected[: len(self.lines)]]
        assert self.manifest["copies"] == sum(sendable) - len(self.sent)
        self._check_copies([row.params for row in expected])
        self._check_exports(reading)

    def _check_copies(self, params: Sequence[bytes | None]) -> None:
        """Check that each copy has the result of an equal row that was sent."""
        results = defaultdict[bytes | None, list[object]](list)
        for line, asked in zip(self.lines, params, strict=False):
            if line["row"] in self.sent:
                results[asked].append(line["result"])
            elif asked is not None:
                assert line["result"] in results[asked]

    def _is_sent(self, row: int, params: bytes | None) -> bool:
        """Return whether the params of a row were sent, if it has any: for itself, or for an equal row."""
        if row in self.sent or params is None:
            return self.sent.get(row) == params
        return self._options().equal_rows == "once" and params in self.sent.values()

    def _template_refused(self) -> bool:
        return "the template names columns" in (self.manifest["reason"] or "")

    def _expected(self, reading: Reading) -> Iterator[tuple[Record, Row]]:
        """Read, convert and validate the whole upload in one go."""
        options = self._options()
        convert = converter_of(
            self.manifest["row_kind"], options, API_VERSION, row_bytes=ROW_BYTES
        )
        check = partial(validate, row_bytes=ROW_BYTES, api_version=API_VERSION)
        if convert is None:
            return ((record, check(record)) for record in reading.records)
        return convert_all(iter(reading.records), convert, check, ROW_BYTES)

    def _options(self) -> Options:
        objects = self._relay.aws.s3.objects("uploads")
        files = [objects[file["uri"].removeprefix("s3://uploads/")].body for file in self.manifest["options"]]  # fmt: skip
        parsed = (
            json.loads(text) if text.startswith(b"{") else tomllib.loads(text.decode())
            for text in files
        )
        return options_of([*parsed])

    def _check_exports(self, reading: Reading) -> None:
        """Check that each export is whole."""
        if not self.lines or not self.manifest["exports"]:
            return
        assert self.manifest["exports"]["complete"], self.manifest["exports"]
        if "results.csv" in self.files:
            self._check_table(reading)
        if "openai/batch.json" in self.files:
            lines = self.files["openai/output.jsonl"] + self.files["openai/error.jsonl"]
            exported = [json.loads(line)["custom_id"] for line in lines.splitlines()]
            uploaded = [line["custom_id"] for line in self.lines]
            assert sorted(map(repr, exported)) == sorted(map(repr, uploaded))
        if "bedrock/manifest.json.out" in self.files:
            (output,) = (path for path in self.files if path.endswith("l.out"))
            assert self.files[output].count(b"\n") == len(self.lines)

    def _check_table(self, reading: Reading) -> None:
        """Check that results.csv has the cells of each row before the new columns."""
        text = self.files["results.csv"].decode("utf-8-sig")
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        assert [len(row) for row in rows] == [len(header)] * len(self.lines)
        for record, row in zip(reading.records, rows, strict=False):
            # A rejected row has no cells: those after the fault may be in a wrong column.
            data = b"{}" if record.fault is not None else record.data or b"{}"
            cells = msgspec.json.decode(data, type=dict[str, str]).values()
            assert row[: len(cells)] == [*cells]

    @property
    def retry_name(self) -> str:
        return str(self.manifest["files"]["retry"]["uri"]).rpartition("/")[2]

    @property
    def retry_body(self) -> bytes:
        return self.files[self.retry_name]

    @property
    def _failed(self) -> list[int]:
        return [line["row"] for line in self.lines if line["result"]["type"] != "succeeded"]

    @property
    def failed_are_sent(self) -> bool:
        """Return whether all failed rows were sent, so that none of them is broken."""
        return all(row in self.sent for row in self._failed)

    @property
    def sent_values(self) -> list[object]:
        """Return what was sent, parsed: a retry file has line breaks between members as tabs."""
        return [json.loads(params) for params in self.sent.values()]

    @property
    def failed_values(self) -> list[object]:
        """Return the same of the rows that failed."""
        return [json.loads(self.sent[row]) for row in self._failed]
