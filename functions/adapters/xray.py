"""Send subsegments to the X-Ray daemon, which Lambda runs next to each function that it traces.

A subsegment has names, times, statuses and request ids. It never has the parameters of a call, what it returned, or
the text of an error, because these may quote a prompt or a key.

https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html describes the documents.
"""

import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

import boto3
import botocore.session
import msgspec

DAEMON, TRACE = "AWS_XRAY_DAEMON_ADDRESS", "_X_AMZN_TRACE_ID"
"""Variables that Lambda sets: the daemon's address, and for each invocation its trace and segment."""
MAX_CALLS = 200
"""Calls of one invocation that are traced. X-Ray guarantees room for 100 KB in a trace; a call takes about 400 bytes."""
_PROTOCOL = b'{"format":"json","version":1}\n'
_CALL = "traced_call"
_step_id: ContextVar[str | None] = ContextVar("step_id", default=None)


class Xray:
    """A connection to the daemon. Calls of AWS clients that are created from now on are traced."""

    def __init__(self) -> None:
        self._daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._calls = ("", 0)
        session = botocore.session.get_session()
        session.register("before-call", _before_call)
        session.register("after-call", self._after_call)
        session.register("after-call-error", self._after_call)
        boto3.setup_default_session(botocore_session=session)

    @contextmanager
    def step(self, name: str, annotations: Mapping[str, str]) -> Iterator[None]:
        """Trace a step. Steps and calls within it, in the same thread, are its children."""
        step_id, began_at = _new_id(), time.time()
        facts: dict[str, object] = {"id": step_id, "annotations": annotations}
        before = _step_id.set(step_id)
        try:
            yield
        except Exception as error:
            problem = type(error).__name__
            facts |= {"fault": True, "annotations": {**annotations, "problem": problem}}
            raise
        finally:
            _step_id.reset(before)
            self._send(name, began_at, facts)

    def call(
        self, name: str, url: str, began_at: float, status: int | None, request_id: str | None
    ) -> None:
        """Trace a call to Anthropic."""
        annotations = {"call": name} | ({"request_id": request_id} if request_id else {})
        answer = {} if status is None else {"response": {"status": status}}
        facts = {
            "namespace": "remote",
            "http": {"request": {"url": url}, **answer},
            "annotations": annotations,
        }
        self._send_call("Anthropic", began_at, status, facts)

    def current(self) -> str | None:
        """Return the id of the step that this thread is in."""
        return _step_id.get()

    def continue_step(self, step_id: str | None) -> None:
        """Make what this thread does part of a step of another thread."""
        _step_id.set(step_id)

    def _after_call(self, **event: Any) -> None:  # noqa: ANN401 - as botocore calls it
        """Trace a call to AWS. Without an answer, the event has an exception instead of `parsed`."""
        began_at, service, operation = event["context"][_CALL]
        answer = event.get("parsed", {}).get("ResponseMetadata", {})
        known = {
            "operation": operation,
            "region": event["context"].get("client_region"),
            "request_id": answer.get("RequestId"),
            "retries": answer.get("RetryAttempts"),
        }
        aws = {name: value for name, value in known.items() if value is not None}
        facts = {"namespace": "aws", "aws": aws}
        self._send_call(service, began_at, answer.get("HTTPStatusCode"), facts)

    def _send_call(
        self, name: str, began_at: float, status: int | None, facts: Mapping[str, object]
    ) -> None:
        if self._may_send_call():
            self._send(name, began_at, {"id": _new_id(), **_flags(status), **facts})

    def _may_send_call(self) -> bool:
        """Count a call of this invocation. Return False after `MAX_CALLS` of them."""
        trace, (counted, calls) = os.environ.get(TRACE, ""), self._calls
        self._calls = (trace, calls + 1 if trace == counted else 1)
        return self._calls[1] <= MAX_CALLS

    def _send(self, name: str, began_at: float, facts: Mapping[str, object]) -> None:
        """Send a finished subsegment if this invocation is sampled. A lost one has no effect."""
        trace = dict(part.partition("=")[::2] for part in os.environ.get(TRACE, "").split(";"))
        if trace.get("Sampled") != "1":
            return
        document = {
            "type": "subsegment",
            "name": name,
            "trace_id": trace.get("Root"),
            "parent_id": _step_id.get() or trace.get("Parent"),
            "start_time": began_at,
            "end_time": time.time(),
            **facts,
        }
        host, _, port = os.environ.get(DAEMON, "127.0.0.1:2000").rpartition(":")
        with suppress(OSError):
            self._daemon.sendto(_PROTOCOL + msgspec.json.encode(document), (host, int(port)))


def _before_call(**event: Any) -> None:  # noqa: ANN401 - as botocore calls it
    service = str(event["model"].service_model.service_id)
    event["context"][_CALL] = (time.time(), service, event["model"].name)


def _flags(status: int | None) -> dict[str, bool]:
    """Return the members of a subsegment that mark a failed call; empty if it succeeded."""
    if status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return {"fault": True}
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return {"error": True, "throttle": True}
    return {"error": True} if status >= HTTPStatus.BAD_REQUEST else {}


def _new_id() -> str:
    return secrets.token_hex(8)
