"""With the setting `tracing`, X-Ray shows what an invocation took, and never what it worked on."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Any

import boto3
import pytest

from functions import submit
from functions.adapters import tracing, xray
from functions.adapters.xray import DAEMON, TRACE
from functions.polling.phases import Phases
from infra.bundle import ROOT as CLONE
from tests.fakes.strict_s3 import S3ErrorResponse, reject_requests
from tests.harness import Harness, make_row
from tests.integration.deployed_functions import Context, configure, run

KEY, PROMPT = "in/march.jsonl", "the prompt that nobody may see"
ROOT, SEGMENT = "1-5759e988-bd862e3fe1be46a994272793", "53995c3f42cd8ad8"
HEADER = f"Root={ROOT};Parent={SEGMENT};Sampled=1;Lineage=25:a87bd80c:15"
END, STOP = b"end", b"stop"
type Documents = Callable[[], list[dict[str, Any]]]


def upload(name: str) -> bytes:
    """Return three rows. Uploads with the same bytes are one job."""
    return b"\n".join(make_row(number, f"{name}: {PROMPT}") for number in (1, 2, 3))


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Documents]:
    """Stand in for X-Ray's daemon; return a function that returns the documents received so far."""
    daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    daemon.bind(("127.0.0.1", 0))
    monkeypatch.setenv(DAEMON, f"127.0.0.1:{daemon.getsockname()[1]}")
    monkeypatch.setenv(TRACE, HEADER)
    monkeypatch.setattr(xray, "MAX_CALLS", 1000)  # a test is one invocation here
    monkeypatch.setattr(tracing, "_xray", None)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    received: SimpleQueue[bytes] = SimpleQueue()

    def receive() -> None:
        while (datagram := daemon.recv(1 << 16)) != STOP:
            received.put(datagram)

    def documents() -> list[dict[str, Any]]:
        daemon.sendto(END, daemon.getsockname())
        datagrams = [*iter(received.get, END)]
        parts = [datagram.partition(b"\n") for datagram in datagrams]
        assert all(json.loads(head) == {"format": "json", "version": 1} for head, _, _ in parts)
        return [json.loads(body) for _, _, body in parts]

    # A thread empties the socket's buffer, which holds a few hundred datagrams.
    thread = Thread(target=receive)
    thread.start()
    yield documents
    if tracing._xray is not None:  # noqa: SLF001 - what a process never closes
        tracing._xray._daemon.close()  # noqa: SLF001
    daemon.sendto(STOP, daemon.getsockname())
    thread.join()
    daemon.close()


@pytest.fixture
def traced_relay(
    daemon: Documents, moto_relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> Harness:
    """A deployed relay with the setting `tracing`, in which nothing has happened yet."""
    configure(moto_relay, monkeypatch, tracing=True)
    daemon()
    return moto_relay


def path(document: dict[str, Any], documents: list[dict[str, Any]]) -> str:
    """Return the names of a document and of all steps around it: ``collect/merge/S3 PutObject``."""
    by_id = {each["id"]: each for each in documents}
    operation = document.get("aws", {}).get("operation") or document["annotations"].get("call")
    name = f"{document['name']} {operation}" if operation else document["name"]
    parent = by_id.get(document["parent_id"])
    return name if parent is None else f"{path(parent, documents)}/{name}"


def test_each_step_and_call_is_a_subsegment_that_names_what_it_is_about(
    traced_relay: Harness, daemon: Documents
) -> None:
    run(traced_relay, KEY, upload("march"))
    documents = daemon()

    assert traced_relay.manifest(KEY)["counts"] == {"succeeded": 3}
    paths = {path(document, documents) for document in documents}
    assert paths >= {
        "plan", "plan/prepare", "plan/cut chunk", "plan/cut chunk/S3 PutObject", "plan/estimate",
        "plan/cut chunk/count tokens/Anthropic count_tokens", "plan/SNS Publish",
        "plan/cut chunk/count tokens/Secrets Manager GetSecretValue",
        "admit", "ready submit/SQS SendMessageBatch", "watch/Anthropic list_batches",
        "watch/record states/DynamoDB TransactWriteItems", "status files/S3 PutObject",
        "send", "send/S3 GetObject", "send/DynamoDB TransactWriteItems", "send/Anthropic create",
        "collect", "collect/download/Anthropic results", "collect/merge/S3 PutObject",
        "collect/assemble", "collect/assemble/join/S3 PutObject", "collect/assemble/report/S3 PutObject",
        "collect/assemble/tidy",
    }  # fmt: skip
    for document in documents:
        assert document["trace_id"] == ROOT
        assert document["type"] == "subsegment"
        assert re.fullmatch(r"[0-9a-f]{16}", document["id"])
        assert re.fullmatch(r"[\w.:/%&#=+\\\-@ ]{1,200}", document["name"])
        assert 1e9 < document["start_time"] <= document["end_time"]
    assert SEGMENT in {document["parent_id"] for document in documents}
    assert len({document["id"] for document in documents}) == len(documents)
    annotations = {path(d, documents): d.get("annotations", {}) for d in documents}
    job = traced_relay.manifest(KEY)["job"]
    assert annotations["plan"] == {"job": job}
    assert annotations["send"] == {"job": job, "batch": f"{job}/00001-1"}
    assert annotations["send/Anthropic create"]["request_id"].startswith("req_")


def test_neither_prompts_nor_answers_nor_the_key_are_traced_even_in_errors(
    traced_relay: Harness, daemon: Documents
) -> None:
    """Both Anthropic and S3 quote a prompt in their errors here."""
    run(traced_relay, "in/april.jsonl", upload("april"))
    documents = daemon()
    traced_relay.simulator.arm("bad_request", message=f"requests.0: {PROMPT} is not allowed")
    run(traced_relay, "in/may.jsonl", upload("may"), polls=1)
    documents += daemon()
    quotes = S3ErrorResponse(403, "AccessDenied", f"denied: {PROMPT}")
    with reject_requests(submit._services().files._s3, "PutObject", quotes, "work/"):  # noqa: SLF001
        record = {
            "body": traced_relay.put(KEY, upload("march")),
            "receiptHandle": "unknown",
            "attributes": {"ApproximateReceiveCount": "1"},
        }
        with pytest.raises(Exception, match="AccessDenied"):
            submit.handler({"Records": [record]}, Context())  # type: ignore[arg-type]
    failed = daemon()

    (plan,) = [document for document in failed if document["name"] == "plan"]
    assert plan["fault"]
    assert plan["annotations"]["problem"] == "AccessDenied"
    assert any(
        d["name"] == "S3" and d.get("error") and d["aws"]["operation"] == "PutObject"
        for d in failed
    )
    (answer,) = traced_relay.lines("in/april.jsonl")[1]["result"]["message"]["content"]
    text = json.dumps(documents + failed)
    assert '{"status": 400}' in text
    for secret in ("nobody may see", answer["text"], "sk-local", "AWS4-HMAC"):
        assert secret not in text


def test_an_unanswered_call_is_a_fault(traced_relay: Harness, daemon: Documents) -> None:
    traced_relay.simulator.arm("lost_answer")
    run(traced_relay, KEY, upload("march"), polls=1)

    (create,) = [d for d in daemon() if d.get("annotations", {}).get("call") == "create"]
    assert create["fault"]
    assert "response" not in create["http"]


def test_an_item_that_a_phase_looks_at_is_no_step(daemon: Documents) -> None:
    tracing.start()
    phases = Phases()
    for job in ("a", "b"):
        phases.attempt("status files", list, [], item_name=job)
    phases.attempt("admit", list, [])

    assert [document["name"] for document in daemon()] == ["admit"]


@pytest.mark.parametrize("header", ["", HEADER.replace("Sampled=1", "Sampled=0"), f"Root={ROOT}"])
def test_an_invocation_that_is_not_sampled_sends_nothing(
    daemon: Documents, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    tracing.start()
    monkeypatch.setenv(TRACE, header)
    with tracing.traced("plan"):
        call_anthropic()

    assert daemon() == []


def test_calls_beyond_what_a_trace_can_hold_are_left_out(
    daemon: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracing.start()
    monkeypatch.setattr(xray, "MAX_CALLS", 3)
    for segment in (SEGMENT, SEGMENT[::-1]):
        monkeypatch.setenv(TRACE, HEADER.replace(SEGMENT, segment))
        with tracing.traced("plan"):
            for _ in range(5):
                call_anthropic()
        names = [document["name"] for document in daemon()]

        assert names == ["Anthropic", "Anthropic", "Anthropic", "plan"]


def call_anthropic() -> None:
    url = "https://api.anthropic.com/v1/messages/batches"
    tracing.call("retrieve", url, began_at=time.time(), status=200, request_id="req_1")


def test_nothing_is_imported_without_the_setting() -> None:
    program = (
        "import sys; from functions import poll, results, submit; from functions.adapters import tracing\n"
        "with tracing.traced('plan', job='a'): tracing.thread_pool(1).submit(print).result()\n"
        "sys.exit('functions.adapters.xray' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", program], check=False, cwd=CLONE)  # noqa: S603 - fixed

    assert finished.returncode == 0
