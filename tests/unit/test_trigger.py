"""Poll is invoked asynchronously with its own trace; a failure has no effect."""

import re
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ReadTimeoutError

from functions.adapters.trigger import REQUEST, PollInvoker

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=25:a87bd80c:15"


class FakeLambda:
    """Lambda's endpoint: it answers with a status, or not at all."""

    def __init__(self, status: int | None) -> None:
        self.status = status
        self.requests: list[AWSPreparedRequest] = []
        self.client: Any = boto3.client(
            "lambda", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        events: Any = self.client.meta.events
        events.register("before-send.lambda.Invoke", self._answer)

    def _answer(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        self.requests.append(request)
        if self.status is None:
            raise ReadTimeoutError(endpoint_url=request.url)
        answer = AWSResponse(request.url, self.status, {}, None)  # type: ignore[arg-type]
        answer.__dict__["_content"] = b"{}"
        return answer


def test_a_poll_is_invoked_asynchronously() -> None:
    fake_lambda = FakeLambda(202)

    PollInvoker("relay-poll", client=fake_lambda.client).fire()

    (request,) = fake_lambda.requests
    assert request.url.endswith("/functions/relay-poll/invocations")
    assert request.headers["X-Amz-Invocation-Type"] in {"Event", b"Event"}
    assert request.body == REQUEST


def test_each_poll_starts_its_own_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise Lambda's loop detection would stop a job after sixteen invocations."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "relay-submit")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", TRACE)
    fake_lambda = FakeLambda(202)
    trigger = PollInvoker("relay-poll", client=fake_lambda.client)

    for _ in range(2):
        trigger.fire()

    traces = [_text(request.headers["X-Amzn-Trace-Id"]) for request in fake_lambda.requests]
    assert all(re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", trace) for trace in traces)
    assert len({*traces, TRACE.partition(";")[0]}) == 3


def _text(header: Any) -> str:
    return header.decode() if isinstance(header, bytes) else str(header)


@pytest.mark.parametrize("status", [403, 404, 429, 500, None])
def test_a_failed_invocation_is_only_logged(
    status: int | None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    PollInvoker("relay-poll", client=FakeLambda(status).client).fire()

    assert [record.message for record in caplog.records] == ["poll not invoked"]


def test_nothing_is_invoked_without_a_function_name() -> None:
    fake_lambda = FakeLambda(202)

    PollInvoker("", client=fake_lambda.client).fire()

    assert fake_lambda.requests == []
