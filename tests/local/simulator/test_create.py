"""What create accepts, what it rejects as a whole, and what becomes an errored result."""

import gzip
import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

import anthropic
import pytest
from anthropic.types import Model
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

from local.simulator import Simulator
from local.simulator.models import MODELS
from local.simulator.params import NOT_IN_A_BATCH

type MakeRequests = Callable[..., list[Any]]
type SendRaw = Callable[..., tuple[int, dict[str, str], bytes]]

HEADERS = {"x_api_key": "sk-local", "anthropic_version": "2026-10-21"}


def outcomes(client: anthropic.Anthropic, requests: list[Any]) -> dict[str, str]:
    """Return the error message or the result type of each request."""
    batch = client.messages.batches.create(requests=requests)
    told: dict[str, str] = {}
    for row in client.messages.batches.results(batch.id):
        result = row.result
        told[row.custom_id] = (
            result.error.error.message if result.type == "errored" else result.type
        )
    return told


@pytest.mark.parametrize(
    "custom_id", ["", "a" * 65, "with space", "ünicode", "a.b", "r1\n", 7, None]
)
def test_one_invalid_custom_id_rejects_the_whole_create(
    simulator: Simulator,
    client: anthropic.Anthropic,
    make_requests: MakeRequests,
    custom_id: object,
) -> None:
    requests = make_requests(3)
    requests[1]["custom_id"] = custom_id

    with pytest.raises(anthropic.BadRequestError, match=r"requests\.1\.custom_id"):
        client.messages.batches.create(requests=requests)

    assert (simulator.accepted(), simulator.batches()) == ({}, [])


def test_custom_ids_of_every_allowed_character_and_length_are_accepted(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    requests = make_requests(2)
    requests[0]["custom_id"], requests[1]["custom_id"] = "aZ09_-", "x" * 64
    client.messages.batches.create(requests=requests)

    assert simulator.accepted() == {"aZ09_-": 1, "x" * 64: 1}


def test_a_duplicate_custom_id_rejects_the_whole_create(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=r"Duplicate custom_id found: r0"):
        client.messages.batches.create(requests=[*make_requests(2), *make_requests(1)])

    assert simulator.accepted() == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"requests":[]}',
        b'{"requests":[7]}',
        b'{"requests":[{"custom_id":"a"}]}',
        b'{"requests":[{"custom_id":"a","params":[]}]}',
        b'{"requests":[{"custom_id":"a","params":{},"more":1}]}',
        b'{"requests":[{"custom_id":"a","params":{"x":NaN}}]}',
        b'{"requests":[{"custom_id":"a","params":{"x":"\xff"}}]}',
        b'{"requests":[{"custom_id":"a","params":{"x":"\\ud800 alone"}}]}',
        b'{"requests":[{"custom_id":"a","params":{}}],"name":"mine"}',
    ],
)
def test_an_invalid_create_is_400(simulator: Simulator, send_raw: SendRaw, body: bytes) -> None:
    status, _, told = send_raw("POST", "/v1/messages/batches", body, **HEADERS)

    assert (status, json.loads(told)["error"]["type"]) == (400, "invalid_request_error")
    assert simulator.batches() == []


def test_a_full_batch_is_accepted_and_one_more_request_is_not(
    simulator: Simulator, send_raw: SendRaw
) -> None:
    def body(count: int) -> bytes:
        rows = (b'{"custom_id":"%d","params":{}}' % row for row in range(count))
        return b'{"requests":[' + b",".join(rows) + b"]}"

    full, _, _ = send_raw("POST", "/v1/messages/batches", body(100_000), **HEADERS)
    over, _, told = send_raw("POST", "/v1/messages/batches", body(100_001), **HEADERS)

    assert (full, over) == (200, 400)
    assert b"100000" in told
    assert simulator.accounting()["creates"] == {"received": 2, "accepted": 1}


def test_a_body_over_256_mb_is_413(simulator: Simulator, send_raw: SendRaw) -> None:
    def body() -> Iterator[bytes]:
        yield from (bytes(1 << 20) for _ in range(244))
        yield bytes(256_000_001 - (244 << 20))

    status, _, told = send_raw(
        "POST", "/v1/messages/batches", body(), content_length="256000001", **HEADERS
    )

    assert (status, json.loads(told)["error"]["type"]) == (413, "request_too_large")
    assert simulator.batches() == []


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_a_compressed_body_is_rejected(
    simulator: Simulator, send_raw: SendRaw, make_requests: MakeRequests, encoding: str
) -> None:
    body = gzip.compress(json.dumps({"requests": make_requests(3)}).encode())
    status, _, told = send_raw(
        "POST", "/v1/messages/batches", body, content_encoding=encoding, **HEADERS
    )

    error = json.loads(told)["error"]
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert error["details"] == {"error_code": "request_body_encoding_unsupported"}
    assert simulator.batches() == []


def test_a_chunked_body_is_accepted(
    simulator: Simulator, send_raw: SendRaw, make_requests: MakeRequests
) -> None:
    content = json.dumps({"requests": make_requests(3)}).encode()
    parts = (content[at : at + 50] for at in range(0, len(content), 50))

    status, _, _ = send_raw("POST", "/v1/messages/batches", parts, **HEADERS)

    assert (status, len(simulator.accepted())) == (200, 3)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("reset", [False, True])
def test_a_create_cut_off_before_its_end_is_not_accepted(
    simulator: Simulator, url: str, make_requests: MakeRequests, *, chunked: bool, reset: bool
) -> None:
    content = json.dumps({"requests": make_requests(3)}).encode()
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % len(content)
    # All but the last byte; in chunks: all but the last, empty chunk.
    sent = b"%x\r\n%b\r\n" % (len(content), content) if chunked else content[:-1]
    host = urlsplit(url)
    with socket.create_connection((str(host.hostname), host.port or 0), timeout=5) as connection:
        connection.sendall(
            b"POST /v1/messages/batches HTTP/1.1\r\nhost: x\r\nx-api-key: sk-local\r\n"
            b"anthropic-version: 2026-10-21\r\n%b\r\n\r\n%b" % (framing, sent)
        )
        if reset:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        else:
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
    simulator.add_foreign(1)  # the server still works

    assert simulator.accepted() == {}
    assert len(simulator.batches()) == 1


def test_the_same_requests_sent_twice_are_counted_as_two_batches(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    client.messages.batches.create(requests=make_requests(2))
    client.messages.batches.create(requests=make_requests(3))

    assert simulator.accepted() == {"r0": 2, "r1": 2, "r2": 1}
    assert sorted(simulator.accepted_params().values()) == [1, 2, 2]
    assert simulator.calls() == {"create": 2}


def test_concurrent_creates_are_all_counted(
    simulator: Simulator, url: str, make_requests: MakeRequests
) -> None:
    content = json.dumps({"requests": make_requests(20)})
    told: list[int] = []

    def create() -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        named = {name.replace("_", "-"): value for name, value in HEADERS.items()}
        connection.request("POST", "/v1/messages/batches", content, named)
        told.append(connection.getresponse().status)
        connection.close()

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert told == [200] * 8
    assert set(simulator.accepted().values()) == {8}
    assert len({batch["id"] for batch in simulator.batches()}) == 8


@pytest.mark.parametrize("missing", ["model", "max_tokens", "messages"])
def test_params_are_checked_after_acceptance(
    client: anthropic.Anthropic, make_requests: MakeRequests, missing: str
) -> None:
    requests = make_requests(2)
    del requests[0]["params"][missing]

    told = outcomes(client, requests)

    assert told == {"r0": f"{missing}: Field required", "r1": "succeeded"}


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"stream": True}, '"stream=True" is not supported in the Message Batches API'),
        ({"speed": "fast"}, "speed: not allowed inside a batch"),
        ({"store": False}, "store: not allowed inside a batch"),
        ({"previous_thread_event_id": "e"}, "previous_thread_event_id: not allowed"),
        ({"cache_hint": {}}, "cache_hint: not allowed inside a batch"),
        ({"context_hint": {}}, "context_hint: not allowed inside a batch"),
        ({"fallbacks": []}, "fallbacks: not allowed inside a batch"),
        ({"max_tokens": 0}, "max_tokens: must be greater than or equal to 1"),
        ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": None}, "max_tokens: Input should be a valid integer"),
        ({"model": 5}, "model: Input should be a valid string"),
        ({"messages": {}}, "messages: Input should be a valid list"),
        ({"messages": ["hi"]}, "messages.0: Input should be a valid dictionary"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role: Field required"),
        (
            {"messages": [{"role": "user", "content": "", "name": "me"}]},
            "messages.0.name: Extra inputs are not permitted",
        ),
        ({"system": 7}, "system: Input should be a valid string"),
        ({"stop_sequences": "."}, "stop_sequences: Input should be a valid list"),
        ({"tools": [1]}, "tools.0: Input should be a valid dictionary"),
        ({"thinking": "on"}, "thinking: Input should be a valid dictionary"),
        ({"betas": ["x"]}, "betas: Extra inputs are not permitted"),
        ({"betas": None}, "betas: Extra inputs are not permitted"),
        ({"extra_body": {}}, "extra_body: Extra inputs are not permitted"),
        ({"extra_headers": {}}, "extra_headers: Extra inputs are not permitted"),
        ({"response_format": {}}, "response_format: Extra inputs are not permitted"),
        ({"messages": []}, "messages: at least one"),
        ({"messages": [{"role": "me", "content": ""}]}, "messages.0.role: Invalid"),
        ({"temperature": 1}, "temperature: Extra inputs"),
        ({"top_p": 1}, "top_p: Extra inputs"),
        ({"top_k": 1}, "top_k: Extra inputs"),
    ],
)
def test_a_parameter_not_allowed_in_a_batch_is_an_errored_result(
    client: anthropic.Anthropic, make_requests: MakeRequests, params: dict[str, Any], sentence: str
) -> None:
    told = outcomes(client, make_requests(1, **params))

    assert told["r0"].startswith(sentence)


def test_every_parameter_of_the_sdk_is_accepted(
    client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    """Headers and parameters that are not allowed in a batch are excluded."""
    known = get_type_hints(MessageCreateParamsNonStreaming)
    values: dict[str, object] = {
        "stop_sequences": ["."],
        "system": "be brief",
        "tools": [{"name": "t", "input_schema": {}}],
        "service_tier": "auto",
        "stream": False,
        **dict.fromkeys(("inference_geo", "user_profile_id"), "x"),
    }
    params = {name: values.get(name, {}) for name in known} | make_requests(1)[0]["params"]
    for name in ("workspace_id", *NOT_IN_A_BATCH):
        params.pop(name, None)

    assert outcomes(client, [{"custom_id": "r0", "params": params}]) == {"r0": "succeeded"}


def test_an_unknown_model_is_not_found_until_it_is_added(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    batch = client.messages.batches.create(requests=make_requests(1, model="claude-9"))
    (row,) = client.messages.batches.results(batch.id)
    simulator.models.add("claude-9")

    assert row.result.type == "errored"
    assert row.result.error.error.type == "not_found_error"
    assert row.result.error.error.message == "model: claude-9"
    assert outcomes(client, make_requests(1, model="claude-9")) == {"r0": "succeeded"}


def test_every_model_of_the_sdk_is_known() -> None:
    (named,) = (one for one in get_args(Model) if get_args(one))

    assert set(get_args(named)) <= MODELS


def test_the_older_version_accepts_sampling_parameters_and_stream_false(
    client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    older = client.with_options(default_headers={"anthropic-version": "2023-06-01"})
    requests = make_requests(1, temperature=0.5, top_p=1, top_k=9, stream=False)

    assert outcomes(older, requests) == {"r0": "succeeded"}


def test_the_body_of_an_unauthorized_call_is_read_to_its_end(
    simulator: Simulator, send_raw: SendRaw
) -> None:
    # http.client gives up where its sending is reset; the SDK would still read the answer.
    status, _, _ = send_raw("POST", "/v1/messages/batches", bytes(40 << 20), x_api_key="sk-no")

    assert status == 401
    assert simulator.calls() == {"create": 1}
