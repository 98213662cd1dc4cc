"""AWS in memory answers as moto does, call by call, through whole jobs; Anthropic as the simulator on a socket."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from moto import mock_aws

from functions.adapters.anthropic_api import Claude
from functions.errors import RelayError
from local.simulator import Simulator, serving
from tests.fakes.anthropic import Anthropic, connected
from tests.fakes.aws import QUEUES, TOPIC, Aws
from tests.harness import aws, furnish, request
from tests.verification.crash import jobs
from tests.verification.crash.crash_harness import CrashHarness, crash_harness
from tests.verification.crash.job_run import run_job
from tests.verification.crash.jobs import Job

_UNSTABLE = {
    *("ResponseMetadata", "LastModified", "ReceiptHandle", "MessageId", "ConsumedCapacity"),
    *("AcceptRanges", "ContentType", "ContentRange", "Metadata", "Count", "ScannedCount"),
    *("MD5OfBody", "MD5OfMessageBody", "Location", "MaxKeys", "Name"),
    *("Prefix", "EncodingType", "StartAfter", "Owner", "StorageClass", "ChecksumAlgorithm"),
    *(
        "ChecksumType",
        "ItemCollectionMetrics",
        "Bucket",
        "Failed",
        "ServerSideEncryption",
        "CopySourceVersionId",
        "AbortDate",
    ),
}
"""Members of answers that say when and by whom, or that nothing here reads."""
_UNREAD = {
    "GetObject": {"ChecksumCRC32"},
    "PutObject": {"ChecksumCRC32"},
    "CreateMultipartUpload": {"Key"},
    "CompleteMultipartUpload": {"Key", "VersionId"},
}
"""Members of single answers that only one of the two gives, and nothing reads."""


class ComparedAws(Aws):
    """AWS in memory, each of whose calls moto answers as well."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        clients = aws()
        topic, queues = furnish(*clients)
        self._theirs: Any = dict(zip(("s3", "sqs", "sns", "dynamodb"), clients, strict=True))
        self._names = {TOPIC: topic} | {QUEUES[name]: url for name, url in queues.items()}

    def client(self, service: str) -> Any:
        client = super().client(service)
        self._compare(client, self._theirs[service])
        return client

    def _compare(self, ours: Any, theirs: Any) -> None:
        answer, expect = ours._make_api_call, theirs._make_api_call  # noqa: SLF001 - the one way of every call

        def both(operation: str, arguments: dict[str, Any]) -> Any:
            body = arguments.get("Body")
            sent = body if body is None or isinstance(body, bytes) else bytes(body.read())
            given = arguments if sent is None else {**arguments, "Body": sent}
            expected, refused = _outcome(expect, operation, self._translated(given))
            found, error = _outcome(answer, operation, given)
            self.seen[f"{operation} refused" if error else operation] += 1
            if error is not None:
                self._hold(operation, _facts(error), _facts(refused))
                raise error
            self._learn(found, expected)
            unread = _UNREAD.get(operation, set())
            left, right = ({n: v for n, v in (one or {}).items() if n not in unread} for one in (found, expected))  # fmt: skip
            self._hold(operation, self._translated(_stable(left)), _stable(right))
            return found

        ours._make_api_call = both  # noqa: SLF001

    def _hold(self, operation: str, ours: Any, theirs: Any) -> None:
        if ours != theirs:
            self.wrong.append(f"{operation}: {ours} here, {theirs} there")

    def _learn(self, ours: Any, theirs: Any) -> None:
        """Note which of our ids is which of theirs."""
        for name in ("VersionId", "UploadId", "ETag"):
            if name in ours and name in theirs:
                self._names.setdefault(ours[name], theirs[name])

    def _translated(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._translated(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self._translated(one) for one in value]
        if isinstance(value, str):
            for ours, theirs in self._names.items():
                value = value.replace(ours, theirs)
        return value


def _outcome(call: Any, operation: str, arguments: Any) -> tuple[Any, ClientError | None]:
    try:
        return _read(call(operation, arguments)), None
    except ClientError as error:
        return None, error


def _read(answer: Any) -> Any:
    """Read a stream, and leave one that can be read again."""
    if answer is None or "Body" not in answer:
        return answer
    body = answer["Body"].read()
    return {**answer, "Body": StreamingBody(BytesIO(body), len(body)), "bytes": body}


def _stable(answer: Any) -> Any:
    if answer is None:
        return {}
    if isinstance(answer, dict):
        return {
            name: _envelope(value) if name == "Body" and isinstance(value, str) else _stable(value)
            for name, value in answer.items()
            if name not in _UNSTABLE and not hasattr(value, "iter_chunks")
        }
    return [_stable(one) for one in answer] if isinstance(answer, list) else answer


def _envelope(body: str) -> Any:
    """Read what a message holds, without what SNS alone knows of it."""
    held = json.loads(body)
    return {name: held.get(name) for name in ("Subject", "Message")} if "Type" in held else held


def _facts(error: ClientError | None) -> Any:
    if error is None:
        return None
    reasons: Any = error.response.get("CancellationReasons", [])
    codes = {one.get("Code") for one in reasons} - {None, "None"}
    return error.response["Error"]["Code"], codes, error.response.get("Item")


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CrashHarness]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setattr("tests.verification.crash.crash_harness.Aws", ComparedAws)
    with mock_aws(), crash_harness(tmp_path) as made:
        yield made


@pytest.mark.parametrize("job", [jobs.march(), jobs.lost(), jobs.halved(), jobs.large()])
def test_aws_answers_as_moto_does(relay: CrashHarness, job: Job) -> None:
    relay.deploy(requests_per_batch=job.requests_per_batch)

    run = run_job(relay, job)
    table = relay.submit.table
    refused = table.write(table.update("nobody", "#", {"status": "X"}, {"status": "Y"}))

    compared: Any = relay.aws
    assert (compared.wrong, run.wrong, relay.deaths, refused) == ([], [], [], False)
    assert compared.seen["TransactWriteItems"] > 10
    assert compared.seen["TransactWriteItems refused"]


FAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "lost_answer": {"endpoint": "create"},
    "bad_gateway_after_accept": {},
    "reset_in_body": {"bytes": 10},
    "bad_request": {},
    "too_large": {},
    "unauthorized": {},
    "rate_limited": {"retry_after": 7},
    "overloaded": {},
    "results_not_found": {},
    "cut_at_line": {"framing": "close"},
    "cut_inside_line": {"framing": "chunked"},
    "cut_inside_line by length": {"framing": "length"},
}


_DISCONNECTED = re.compile("^(ReadError|WriteError|RemoteProtocolError)$")
"""On a socket, chance says which one a client sees."""


def _told(claude: Claude) -> list[Any]:
    """Create a batch, list, cancel and download; return what the adapter makes of each answer."""
    body = b'{"requests":[%b]}' % b",".join(request(number) for number in (1, 2))
    now = datetime.now(UTC) - timedelta(hours=1)
    created = claude.create([body[:40], body[40:]], len(body), "2026-10-21")
    listed = _attempted(lambda: [one.request_counts for one in claude.listing(now)[0]])
    return [
        type(created).__name__,
        _DISCONNECTED.sub("disconnected", str(getattr(created, "reason", None))),
        listed,
        _attempted(lambda: claude.cancel("msgbatch_none")),
        _attempted(lambda: b"".join(claude.results(_last(claude, now)))),
    ]


def _last(claude: Claude, since: datetime) -> str:
    listed, _ = claude.listing(since)
    return listed[0].id if listed else "msgbatch_none"


def _attempted(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except RelayError as error:
        return re.sub(r"msgbatch_\w+", "ID", f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("fault", FAULTS)
def test_anthropic_answers_as_on_a_socket(tmp_path: Path, fault: str) -> None:
    told: list[Any] = []
    for name in ("socket", "memory"):
        simulator = Simulator(tmp_path / name)
        if fault != "none":
            simulator.arm(fault.split(maxsplit=1)[0], **FAULTS[fault])
        with serving(simulator) if name == "socket" else connected(Anthropic(simulator)) as url:
            claude = Claude(base_url=url, api_version="2026-10-21", read_key=lambda _: "sk-local")
            told.append(_told(claude))

    assert told[0] == told[1]
