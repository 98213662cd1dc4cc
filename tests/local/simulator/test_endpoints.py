"""The six endpoints, through the real SDK."""

import json
import socket
import struct
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anthropic
import pytest

from local.simulator import Simulator, serving
from local.simulator.server import _Handler

type MakeRequests = Callable[..., list[Any]]
type SendRaw = Callable[..., tuple[int, dict[str, str], bytes]]


def test_a_new_batch_is_in_progress_with_all_requests_processing(
    client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    before = time.time()
    batch = client.messages.batches.create(requests=make_requests(3))

    assert batch.processing_status == "in_progress"
    assert batch.request_counts.processing == 3
    assert batch.results_url is None
    assert batch.ended_at is None
    assert batch.expires_at - batch.created_at == timedelta(hours=24)
    assert before - 1 < batch.created_at.timestamp() < time.time() + 1


def test_an_ended_batch_has_its_counts_and_results_url(
    client: anthropic.Anthropic, make_requests: MakeRequests, url: str
) -> None:
    batch_id = client.messages.batches.create(requests=make_requests(3)).id

    batch = client.messages.batches.retrieve(batch_id)

    assert batch.processing_status == "ended"
    assert (batch.request_counts.processing, batch.request_counts.succeeded) == (0, 3)
    assert batch.ended_at is not None
    assert batch.results_url == f"{url}/v1/messages/batches/{batch_id}/results"


def test_results_hold_every_row_once_in_the_same_shuffled_order(
    client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    batch = client.messages.batches.create(requests=make_requests(50))

    first = [row.custom_id for row in client.messages.batches.results(batch.id)]
    again = [row.custom_id for row in client.messages.batches.results(batch.id)]

    assert sorted(first) == sorted(f"r{row}" for row in range(50))
    assert first != [f"r{row}" for row in range(50)]
    assert again == first


def test_no_request_counts_as_done_before_the_batch_has_ended(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    now_s = time.time()
    simulator.clock = lambda: now_s
    simulator.processing_s = 100.0
    batch_id = client.messages.batches.create(requests=make_requests(10)).id

    now_s += 99
    nearly = client.messages.batches.retrieve(batch_id)
    with pytest.raises(anthropic.NotFoundError, match="no available results"):
        client.get(f"/v1/messages/batches/{batch_id}/results", cast_to=object)
    now_s += 2
    after = client.messages.batches.retrieve(batch_id)

    assert nearly.processing_status == "in_progress"
    assert (nearly.request_counts.processing, nearly.request_counts.succeeded) == (10, 0)
    assert (after.processing_status, after.request_counts.succeeded) == ("ended", 10)


def test_a_canceled_batch_is_canceling_and_then_ends_with_the_finished_results(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    now_s = time.time()
    simulator.clock = lambda: now_s
    simulator.processing_s = 100.0
    batch_id = client.messages.batches.create(requests=make_requests(10)).id

    now_s += 30
    canceling = client.messages.batches.cancel(batch_id)
    now_s += 2
    after = client.messages.batches.retrieve(batch_id)
    kinds = [row.result.type for row in client.messages.batches.results(batch_id)]

    assert canceling.processing_status == "canceling"
    assert canceling.request_counts.processing == 10
    assert canceling.cancel_initiated_at is not None
    assert after.processing_status == "ended"
    assert (after.request_counts.succeeded, after.request_counts.canceled) == (3, 7)
    assert (kinds.count("succeeded"), kinds.count("canceled")) == (3, 7)


def test_unfinished_requests_expire_with_their_batch(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    now_s = time.time()
    simulator.clock = lambda: now_s
    simulator.processing_s, simulator.expiry_s = 100.0, 40.0
    batch = client.messages.batches.create(requests=make_requests(10))

    now_s += 41
    after = client.messages.batches.retrieve(batch.id)
    kinds = [row.result.type for row in client.messages.batches.results(batch.id)]

    assert after.processing_status == "ended"
    assert after.ended_at == batch.expires_at
    assert (after.request_counts.succeeded, after.request_counts.expired) == (4, 6)
    assert (kinds.count("succeeded"), kinds.count("expired")) == (4, 6)


def test_after_29_days_a_batch_is_archived_without_results(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    batch = client.messages.batches.create(requests=make_requests(1))
    simulator.clock = lambda: time.time() + 29 * 86_400

    after = client.messages.batches.retrieve(batch.id)

    assert after.archived_at == batch.created_at + timedelta(days=29)
    assert after.results_url is None
    with pytest.raises(anthropic.NotFoundError):
        client.get(f"/v1/messages/batches/{batch.id}/results", cast_to=object)


def test_an_ended_batch_can_be_deleted_but_not_canceled(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    simulator.processing_s = float("inf")
    batch_id = client.messages.batches.create(requests=make_requests(1)).id

    with pytest.raises(anthropic.BadRequestError, match="Consider canceling"):
        client.messages.batches.delete(batch_id)
    simulator.end(batch_id)
    with pytest.raises(anthropic.BadRequestError, match="has ended"):
        client.messages.batches.cancel(batch_id)
    deleted = client.messages.batches.delete(batch_id)

    assert (deleted.id, deleted.type) == (batch_id, "message_batch_deleted")
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(batch_id)


def test_list_pages_newest_first_in_both_directions(
    client: anthropic.Anthropic, simulator: Simulator
) -> None:
    ids = [simulator.add_foreign(1) for _ in range(25)][::-1]
    batches = client.messages.batches

    first = batches.list()
    by_three = [batch.id for batch in batches.list(limit=3)]
    newer = batches.list(before_id=ids[10], limit=4)

    assert [batch.id for batch in first.data] == ids[:20]
    assert (first.has_more, first.first_id, first.last_id) == (True, ids[0], ids[19])
    assert by_three == ids
    assert [batch.id for batch in newer.data] == ids[6:10]
    assert newer.has_more
    assert not batches.list(before_id=ids[2], limit=2).has_more
    assert not batches.list(after_id=ids[20], limit=4).has_more
    assert len(batches.list(limit=1000).data) == 25


def test_list_pages_continue_from_a_deleted_batch(
    client: anthropic.Anthropic, simulator: Simulator
) -> None:
    oldest, middle, _newest = (simulator.add_foreign(1) for _ in range(3))
    simulator.delete(middle)

    page = client.messages.batches.list(after_id=middle)

    assert [batch.id for batch in page.data] == [oldest]


def test_an_empty_list_has_no_cursors(client: anthropic.Anthropic) -> None:
    page = client.messages.batches.list()

    assert (page.data, page.has_more, page.first_id, page.last_id) == ([], False, None, None)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "after_id=a&before_id=b", "after_id=nobody"]
)
def test_list_rejects_invalid_paging(client: anthropic.Anthropic, query: str) -> None:
    with pytest.raises(anthropic.BadRequestError):
        client.get(f"/v1/messages/batches?{query}", cast_to=object)


def test_batches_are_visible_only_in_their_workspace(
    client: anthropic.Anthropic, simulator: Simulator, make_requests: MakeRequests
) -> None:
    batch_id = client.messages.batches.create(requests=make_requests(2)).id
    same = client.with_options(api_key="sk-too").messages.batches
    other = client.with_options(api_key="sk-other").messages.batches

    assert [batch.id for batch in same.list().data] == [batch_id]
    assert other.list().data == []
    for call in (other.retrieve, other.cancel, other.delete, other.results):
        with pytest.raises(anthropic.NotFoundError):
            call(batch_id)
    with pytest.raises(anthropic.BadRequestError):
        other.list(after_id=batch_id)
    assert simulator.accounting()["batches"] == {"default": 1}


@pytest.mark.parametrize("key", [{"x_api_key": "sk-local"}, {"authorization": "Bearer sk-local"}])
def test_both_key_headers_are_accepted(send_raw: SendRaw, key: dict[str, str]) -> None:
    status, _, _ = send_raw("GET", "/v1/messages/batches", anthropic_version="2023-06-01", **key)

    assert status == 200


@pytest.mark.parametrize("key", [{}, {"x_api_key": "sk-no"}, {"authorization": "Bearer sk-no"}])
def test_a_missing_or_unknown_key_is_401_in_the_apis_shape(
    send_raw: SendRaw, key: dict[str, str]
) -> None:
    status, headers, body = send_raw(
        "GET", "/v1/messages/batches", anthropic_version="2023-06-01", **key
    )

    told = json.loads(body)
    assert status == 401
    assert (told["type"], told["error"]["type"]) == ("error", "authentication_error")
    assert told["request_id"] == headers["request-id"]


@pytest.mark.parametrize("version", [{}, {"anthropic_version": "1999-01-01"}])
def test_a_known_version_is_required(send_raw: SendRaw, version: dict[str, str]) -> None:
    status, _, body = send_raw("GET", "/v1/messages/batches", x_api_key="sk-local", **version)

    assert (status, b"anthropic-version" in body) == (400, True)


def test_an_unknown_endpoint_is_404_in_the_apis_shape(send_raw: SendRaw) -> None:
    for method, path in (("PUT", "/v1/messages/batches"), ("GET", "/v1/files")):
        status, headers, body = send_raw(method, path)

        assert (status, json.loads(body)["error"]["type"]) == (404, "not_found_error")
        assert headers["request-id"].startswith("req_")


def test_the_models_are_listed_for_any_valid_key(send_raw: SendRaw) -> None:
    version = {"anthropic_version": "2026-10-21"}
    status, _, body = send_raw("GET", "/v1/models", x_api_key="sk-local", **version)
    refused, _, _ = send_raw("GET", "/v1/models", x_api_key="sk-revoked", **version)

    assert (status, refused) == (200, 401)
    assert "claude-haiku-5-5" in {model["id"] for model in json.loads(body)["data"]}


def test_head_is_answered_with_headers_only(url: str) -> None:
    """A body would be read as the beginning of the next answer."""
    host = urlsplit(url)
    with socket.create_connection((str(host.hostname), host.port or 0), timeout=5) as connection:
        connection.sendall(
            b"HEAD /v1/messages/batches HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(1000), b""))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: 0" not in head
    assert body == b""


def test_every_response_has_its_own_request_id(client: anthropic.Anthropic) -> None:
    seen = {
        client.messages.batches.with_raw_response.list().headers["request-id"] for _ in range(3)
    }

    assert len(seen) == 3


def test_a_connection_is_reused_for_the_next_call(
    send_raw: SendRaw, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    _, headers, _ = send_raw(
        "GET", "/v1/messages/batches", x_api_key="sk-local", anthropic_version="2023-06-01"
    )
    batch = client.messages.batches.create(requests=make_requests(1))
    began = time.perf_counter()
    for _ in range(50):
        client.messages.batches.retrieve(batch.id)

    assert "connection" not in headers
    assert time.perf_counter() - began < 1.5, "40 ms a call would be Nagle's delay"


def test_batches_survive_a_restart_of_the_server(
    simulator: Simulator, sdk: anthropic.Anthropic, tmp_path: Path
) -> None:
    with serving(simulator) as url:
        batch_id = simulator.add_foreign(1)
    with serving(simulator, int(url.rpartition(":")[2])) as again:
        batch = sdk.with_options(base_url=again).messages.batches.retrieve(batch_id)

    assert (again, batch.id) == (url, batch_id)
    assert len(list((tmp_path / "simulator").iterdir())) == 1


def test_a_client_that_is_gone_before_all_is_sent_leaves_no_socket_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        connection, _ = listener.accept()
    handler = _Handler.__new__(_Handler)
    handler.request = connection
    handler.setup()
    handler.wfile.write(b"an answer")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()

    with pytest.raises(ConnectionError):
        handler.finish()
    connection.close()

    assert connection.fileno() == -1
