"""The fakes answer like moto, and like the simulator on a socket, call by call in whole jobs."""

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
from tests.fakes.anthropic import FakeAnthropic, route_clients_to
from tests.fakes.aws import QUEUES, TOPIC, FakeAws
from tests.harness import create_resources, make_row, moto_clients
from tests.verification.crash import jobs
from tests.verification.crash.crash_harness import CrashHarness, open_crash_harness
from tests.verification.crash.job_run import run_job
from tests.verification.crash.jobs import JobSpec

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
"""Members of answers that change with each run, or that the relay does not read."""
_NOT_COMPARED = {
    "GetObject": {"ChecksumCRC32"},
    "PutObject": {"ChecksumCRC32"},
    "CreateMultipartUpload": {"Key"},
    "CompleteMultipartUpload": {"Key", "VersionId"},
}
"""Members that only one of the two returns, and that the relay does not read."""


class ComparedFakeAws(FakeAws):
    """Fake AWS that sends each call to moto as well, and compares the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.call_counts: Counter[str] = Counter()
        self.mismatches: list[str] = []
        clients = moto_clients()
        topic, queues = create_resources(*clients)
        self._moto: Any = dict(zip(("s3", "sqs", "sns", "dynamodb"), clients, strict=True))
        self._ids = {TOPIC: topic} | {QUEUES[name]: url for name, url in queues.items()}

    def client(self, service: str) -> Any:
        client = super().client(service)
        self._compare(client, self._moto[service])
        return client

    def _compare(self, fake: Any, moto: Any) -> None:
        call_fake, call_moto = fake._make_api_call, moto._make_api_call  # noqa: SLF001 - the one method that every API call goes through

        def call_both(operation: str, arguments: dict[str, Any]) -> Any:
            body = arguments.get("Body")
            sent = body if body is None or isinstance(body, bytes) else bytes(body.read())
            parameters = arguments if sent is None else {**arguments, "Body": sent}
            moto_result, moto_error = _outcome(call_moto, operation, self._translate(parameters))
            result, error = _outcome(call_fake, operation, parameters)
            self.call_counts[f"{operation} refused" if error else operation] += 1
            if error is not None:
                self._expect_equal(operation, _error_details(error), _error_details(moto_error))
                raise error
            self._record_ids(result, moto_result)
            ignored = _NOT_COMPARED.get(operation, set())
            fake_fields, moto_fields = ({n: v for n, v in (fields or {}).items() if n not in ignored} for fields in (result, moto_result))  # fmt: skip
            self._expect_equal(
                operation,
                self._translate(_without_unstable_fields(fake_fields)),
                _without_unstable_fields(moto_fields),
            )
            return result

        fake._make_api_call = call_both  # noqa: SLF001

    def _expect_equal(self, operation: str, fake: Any, moto: Any) -> None:
        if fake != moto:
            self.mismatches.append(f"{operation}: fake {fake}, moto {moto}")

    def _record_ids(self, fake: Any, moto: Any) -> None:
        """Record which id of ours corresponds to which id of moto's."""
        for name in ("VersionId", "UploadId", "ETag"):
            if name in fake and name in moto:
                self._ids.setdefault(fake[name], moto[name])

    def _translate(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._translate(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._translate(item) for item in value]
        if isinstance(value, str):
            for fake, moto in self._ids.items():
                value = value.replace(fake, moto)
        return value


def _outcome(call: Any, operation: str, arguments: Any) -> tuple[Any, ClientError | None]:
    try:
        return _read(call(operation, arguments)), None
    except ClientError as error:
        return None, error


def _read(answer: Any) -> Any:
    """Read a stream, and return an answer whose stream can be read again."""
    if answer is None or "Body" not in answer:
        return answer
    body = answer["Body"].read()
    return {**answer, "Body": StreamingBody(BytesIO(body), len(body)), "bytes": body}


def _without_unstable_fields(answer: Any) -> Any:
    if answer is None:
        return {}
    if isinstance(answer, dict):
        return {
            name: _comparable_message(value)
            if name == "Body" and isinstance(value, str)
            else _without_unstable_fields(value)
            for name, value in answer.items()
            if name not in _UNSTABLE and not hasattr(value, "iter_chunks")
        }
    return (
        [_without_unstable_fields(item) for item in answer] if isinstance(answer, list) else answer
    )


def _comparable_message(body: str) -> Any:
    """Return what a message contains without the members that SNS adds."""
    message = json.loads(body)
    return (
        {name: message.get(name) for name in ("Subject", "Message")}
        if "Type" in message
        else message
    )


def _error_details(error: ClientError | None) -> Any:
    if error is None:
        return None
    reasons: Any = error.response.get("CancellationReasons", [])
    codes = {reason.get("Code") for reason in reasons} - {None, "None"}
    return error.response["Error"]["Code"], codes, error.response.get("Item")


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CrashHarness]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setattr("tests.verification.crash.crash_harness.FakeAws", ComparedFakeAws)
    with mock_aws(), open_crash_harness(tmp_path) as harness:
        yield harness


@pytest.mark.parametrize(
    "job", [jobs.three_chunks(), jobs.lost_create_answer(), jobs.split_chunk(), jobs.large_rows()]
)
def test_fake_aws_answers_like_moto(relay: CrashHarness, job: JobSpec) -> None:
    relay.deploy(requests_per_batch=job.requests_per_batch)

    run = run_job(relay, job)
    table = relay.submit.table
    moto_error = table.write(table.update("nobody", "#", {"status": "X"}, {"status": "Y"}))

    compared: Any = relay.aws
    assert (compared.mismatches, run.problems, relay.failures, moto_error) == ([], [], [], False)
    assert compared.call_counts["TransactWriteItems"] > 10
    assert compared.call_counts["TransactWriteItems refused"]


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
"""On a socket, timing decides which of these a client sees."""


def _api_outcomes(claude: Claude) -> list[Any]:
    """Create a batch, list, cancel and download; return what the adapter makes of each answer."""
    body = b'{"requests":[%b]}' % b",".join(make_row(number) for number in (1, 2))
    now = datetime.now(UTC) - timedelta(hours=1)
    created = claude.create([body[:40], body[40:]], len(body), "2026-10-21")
    listed = _result_or_error(
        lambda: [batch.request_counts for batch in claude.list_batches(now)[0]]
    )
    return [
        type(created).__name__,
        _DISCONNECTED.sub("disconnected", str(getattr(created, "reason", None))),
        listed,
        _result_or_error(lambda: claude.cancel("msgbatch_none")),
        _result_or_error(lambda: b"".join(claude.results(_newest_batch(claude, now)))),
    ]


def _newest_batch(claude: Claude, since: datetime) -> str:
    listed, _ = claude.list_batches(since)
    return listed[0].id if listed else "msgbatch_none"


def _result_or_error(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except RelayError as error:
        return re.sub(r"msgbatch_\w+", "ID", f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("fault", FAULTS)
def test_fake_anthropic_answers_like_the_simulator_on_a_socket(tmp_path: Path, fault: str) -> None:
    outcomes: list[Any] = []
    for name in ("socket", "memory"):
        simulator = Simulator(tmp_path / name)
        if fault != "none":
            simulator.arm(fault.split(maxsplit=1)[0], **FAULTS[fault])
        with (
            serving(simulator)
            if name == "socket"
            else route_clients_to(FakeAnthropic(simulator)) as url
        ):
            claude = Claude(base_url=url, api_version="2026-10-21", read_key=lambda _: "sk-local")
            outcomes.append(_api_outcomes(claude))

    assert outcomes[0] == outcomes[1]
