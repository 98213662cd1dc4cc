"""Every documented fault, tested by name through the real SDK."""

import json
import time
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import pytest

from local.simulator import FAULTS, Simulator

type MakeRequests = Callable[..., list[Any]]
type Proof = Callable[[Simulator, anthropic.Anthropic, MakeRequests], None]

PROOFS: dict[str, Proof] = {}


def proves(name: str) -> Callable[[Proof], Proof]:
    def register(proof: Proof) -> Proof:
        PROOFS[name] = proof
        return proof

    return register


def create_batch(client: anthropic.Anthropic, requests: list[Any]) -> str:
    return client.messages.batches.create(requests=requests).id


def download(client: anthropic.Anthropic, batch_id: str) -> bytes:
    path = f"/v1/messages/batches/{batch_id}/results"
    return client.get(path, cast_to=httpx2.Response).content


def download_partially(
    client: anthropic.Anthropic, batch_id: str
) -> tuple[bytes, bool, httpx2.Headers]:
    """Download; return the content, whether it was cut off, and the headers."""
    received = b""
    path = f"/v1/messages/batches/{batch_id}/results"
    answer = client.get(
        path, cast_to=httpx2.Response, stream=True, stream_cls=anthropic.Stream[object]
    )
    response: Any = answer
    try:
        for block in response.iter_bytes():
            received += block
    except httpx2.RemoteProtocolError:
        return received, True, response.headers
    finally:
        response.close()
    return received, False, response.headers


def custom_ids(content: bytes) -> list[bytes]:
    return sorted(line.split(b'"')[3] for line in content.splitlines())


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_each_fault_happens_once_and_is_then_spent(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests, name: str
) -> None:
    PROOFS[name](simulator, client, make_requests)

    assert simulator.accounting()["armed"] == []
    batch = create_batch(client, make_requests(2, "afterwards"))
    assert custom_ids(download(client, batch)) == [b"r0", b"r1"]
    assert batch in {known.id for known in client.messages.batches.list().data}


REFUSALS: dict[str, tuple[int, type[anthropic.APIStatusError], str]] = {
    "bad_request": (400, anthropic.BadRequestError, "invalid_request_error"),
    "unauthorized": (401, anthropic.AuthenticationError, "authentication_error"),
    "billing": (402, anthropic.PaymentRequiredError, "billing_error"),
    "forbidden": (403, anthropic.PermissionDeniedError, "permission_error"),
    "not_found": (404, anthropic.NotFoundError, "not_found_error"),
    "conflict": (409, anthropic.ConflictError, "conflict_error"),
    "too_large": (413, anthropic.ContentTooLargeError, "request_too_large"),
    "rate_limited_without_retry_after": (429, anthropic.RateLimitError, "rate_limit_error"),
    "server_error": (500, anthropic.InternalServerError, "api_error"),
    "service_unavailable": (503, anthropic.ServiceUnavailableError, "api_error"),
    "gateway_timeout": (504, anthropic.DeadlineExceededError, "timeout_error"),
    "overloaded": (529, anthropic.OverloadedError, "overloaded_error"),
    "usage_limit": (400, anthropic.BadRequestError, "invalid_request_error"),
    "workspace_usage_limit": (400, anthropic.BadRequestError, "invalid_request_error"),
    "organization_disabled": (400, anthropic.BadRequestError, "invalid_request_error"),
    "credit_balance": (400, anthropic.BadRequestError, "invalid_request_error"),
    "spend_limit_without_code": (429, anthropic.RateLimitError, "rate_limit_error"),
}


def refusal_without_details(name: str) -> Proof:
    def proof(
        simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
    ) -> None:
        status, error, kind = REFUSALS[name]
        simulator.arm(name)
        with pytest.raises(error) as caught:
            create_batch(client, make_requests(2))

        body: Any = caught.value.body
        assert (caught.value.status_code, body["error"]["type"]) == (status, kind)
        assert body["request_id"] == caught.value.request_id
        assert "details" not in body["error"]
        assert "retry-after" not in caught.value.response.headers
        assert (simulator.accepted(), simulator.batches()) == ({}, [])

    return proof


for refused in REFUSALS:
    PROOFS[refused] = refusal_without_details(refused)


@proves("rate_limited")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    simulator.arm("rate_limited", retry_after=17)
    with pytest.raises(anthropic.RateLimitError) as caught:
        create_batch(client, make_requests(1))

    assert caught.value.response.headers["retry-after"] == "17"
    assert simulator.batches() == []


CODES: dict[str, tuple[int, str, type[anthropic.APIStatusError]]] = {
    "organization_on_hold": (400, "organization_on_hold", anthropic.OrganizationOnHoldError),
    "cmek_key_disabled": (400, "cmek_key_disabled", anthropic.CMEKKeyDisabledError),
    # SDK 2.14 has a class for it.
    "workspace_human_review_disabled": (
        400, "workspace_human_review_disabled", anthropic.BadRequestError,
    ),
    "claude_code_key_creator_not_member": (
        400, "claude_code_key_creator_not_member", anthropic.ClaudeCodeKeyCreatorNotMemberError,
    ),
    "linked_spend_limit": (
        402, "linked_organization_spend_limit_reached",
        anthropic.LinkedOrganizationSpendLimitReachedError,
    ),
    "spend_limit": (429, "enforced_spend_limit_reached", anthropic.EnforcedSpendLimitReachedError),
    "contract_spend_limit": (
        429, "contract_spend_limit_reached", anthropic.ContractSpendLimitReachedError,
    ),
    "ramp_limit": (429, "ramp_limit_exceeded", anthropic.RampLimitExceededError),
}  # fmt: skip


def refusal_with_code(name: str) -> Proof:
    def proof(
        simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
    ) -> None:
        status, code, error = CODES[name]
        simulator.arm(name)
        with pytest.raises(error) as caught:
            create_batch(client, make_requests(2))

        body: Any = caught.value.body
        assert caught.value.status_code == status
        assert body["error"]["details"] == {"error_code": code}
        waits = caught.value.response.headers.get("retry-after")
        assert waits == ("60" if name == "ramp_limit" else None)
        assert (simulator.accepted(), simulator.batches()) == ({}, [])

    return proof


for with_code in CODES:
    PROOFS[with_code] = refusal_with_code(with_code)


@proves("queue_limit")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    now_s = time.time()
    simulator.clock, simulator.processing_s = lambda: now_s, 100.0
    simulator.arm("queue_limit", queue_over=5)
    create_batch(client, make_requests(3))
    create_batch(client.with_options(api_key="sk-other"), make_requests(2))
    with pytest.raises(anthropic.RateLimitError) as caught:
        create_batch(client, make_requests(1))

    assert caught.value.response.headers["retry-after"] == "60"
    assert len(simulator.batches()) == 2
    simulator.arm("queue_limit", queue_over=5)
    now_s += 101
    create_batch(client, make_requests(5))  # all others have ended
    with pytest.raises(anthropic.RateLimitError):
        create_batch(client, make_requests(1))
    simulator.clock, simulator.processing_s = time.time, 0.0


@proves("request_limit")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    now_s = time.time()
    simulator.clock = lambda: now_s
    simulator.arm("request_limit", calls_over=2)
    for _ in range(5):
        client.messages.batches.list()
        now_s += 31
    client.messages.batches.list()
    with pytest.raises(anthropic.RateLimitError) as caught:
        create_batch(client, make_requests(1))
    simulator.clock = time.time

    assert caught.value.response.headers["retry-after"] == "30"


AFTERWARDS: dict[str, tuple[int, type[anthropic.APIStatusError], str]] = {
    "server_error_after_accept": (500, anthropic.InternalServerError, "api_error"),
    "gateway_timeout_after_accept": (504, anthropic.DeadlineExceededError, "timeout_error"),
    "overloaded_after_accept": (529, anthropic.OverloadedError, "overloaded_error"),
}


def error_after_accept(name: str) -> Proof:
    def proof(
        simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
    ) -> None:
        status, error, kind = AFTERWARDS[name]
        simulator.arm(name)
        with pytest.raises(error) as caught:
            create_batch(client, make_requests(2))

        body: Any = caught.value.body
        assert (caught.value.status_code, body["error"]["type"]) == (status, kind)
        assert simulator.accepted() == {"r0": 1, "r1": 1}
        assert len(client.messages.batches.list().data) == 1

    return proof


for late in AFTERWARDS:
    PROOFS[late] = error_after_accept(late)


@proves("refuse_matching")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    simulator.arm("refuse_matching")
    requests = make_requests(3)
    assert create_batch(client, requests[:1]), "nothing in it matches"
    requests[2]["params"]["metadata"] = {"user_id": "refuse-me"}
    with pytest.raises(anthropic.BadRequestError, match=r"requests\.2 \(custom_id r2\)"):
        create_batch(client, requests)

    assert simulator.accepted() == {"r0": 1}


@proves("lost_answer")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    simulator.arm("lost_answer")
    with pytest.raises(anthropic.APIConnectionError):
        create_batch(client, make_requests(2))

    assert simulator.accepted() == {"r0": 1, "r1": 1}
    assert len(client.messages.batches.list().data) == 1


@proves("bad_gateway_after_accept")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    simulator.arm("bad_gateway_after_accept")
    with pytest.raises(anthropic.InternalServerError) as caught:
        create_batch(client, make_requests(2))

    assert caught.value.status_code == 502
    assert simulator.accepted() == {"r0": 1, "r1": 1}


@proves("slow_answer")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    simulator.arm("slow_answer", times=2, delay_s=0.4)
    began = time.monotonic()
    late = create_batch(client, make_requests(1))
    assert time.monotonic() - began >= 0.4
    with pytest.raises(anthropic.APITimeoutError):
        create_batch(client.with_options(timeout=0.1), make_requests(1))

    assert simulator.accepted() == {"r0": 2}
    assert [batch["id"] for batch in simulator.batches()][-1] == late


@proves("reset_in_body")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    simulator.arm("reset_in_body", bytes=100_000)
    with pytest.raises(anthropic.APIConnectionError):
        create_batch(client, make_requests(2, "x" * 20_000_000))

    assert (simulator.accepted(), simulator.batches()) == ({}, [])


@proves("retrieve_not_found")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    batch_id = create_batch(client, make_requests(1))
    simulator.arm("retrieve_not_found", times=2)
    for _ in range(2):
        with pytest.raises(anthropic.NotFoundError):
            client.messages.batches.retrieve(batch_id)

    assert client.messages.batches.retrieve(batch_id).id == batch_id


@proves("results_not_found")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    batch_id = create_batch(client, make_requests(1))
    simulator.arm("results_not_found", times=2)
    for _ in range(2):
        with pytest.raises(anthropic.NotFoundError):
            download(client, batch_id)

    assert client.messages.batches.retrieve(batch_id).results_url
    assert custom_ids(download(client, batch_id)) == [b"r0"]


@proves("hidden_from_list")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    simulator.arm("hidden_from_list", listings=2)
    simulator.arm("lost_answer")
    with pytest.raises(anthropic.APIConnectionError):
        create_batch(client, make_requests(1))

    seen = [len(client.messages.batches.list().data) for _ in range(3)]
    assert seen == [0, 0, 1]


@proves("foreign_batch")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    simulator.arm("foreign_batch")
    simulator.arm("foreign_batch", count=5)
    own = create_batch(client, make_requests(2))

    listed = client.messages.batches.list().data
    assert [batch.request_counts.succeeded for batch in listed] == [5, 2, 2]
    assert listed[2].id == own
    rows = download(client, listed[0].id)
    assert all(name.startswith(b"foreign-") for name in custom_ids(rows))
    assert simulator.accepted() == {"r0": 1, "r1": 1}


@proves("canceled_in_console")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    simulator.arm("canceled_in_console", done=0.25)
    batch = client.messages.batches.retrieve(create_batch(client, make_requests(8)))

    assert batch.processing_status == "ended"
    assert batch.cancel_initiated_at is not None
    assert (batch.request_counts.succeeded, batch.request_counts.canceled) == (2, 6)
    assert download(client, batch.id).count(b'{"type":"canceled"}') == 6


@proves("deleted_before_collection")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    simulator.arm("deleted_before_collection")
    batch_id = create_batch(client, make_requests(1))
    assert client.messages.batches.retrieve(batch_id).processing_status == "ended"
    for fetch in (download, lambda c, i: c.messages.batches.retrieve(i)):
        with pytest.raises(anthropic.NotFoundError):
            fetch(client, batch_id)


@proves("archived_before_collection")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    simulator.arm("archived_before_collection")
    batch_id = create_batch(client, make_requests(1))
    assert client.messages.batches.retrieve(batch_id).archived_at is None
    for _ in range(2):
        with pytest.raises(anthropic.NotFoundError):
            download(client, batch_id)

    after = client.messages.batches.retrieve(batch_id)
    assert after.archived_at is not None
    assert after.results_url is None


@proves("row_missing")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    batch_id = create_batch(client, make_requests(5))
    simulator.arm("row_missing", rows=2)

    assert len(set(custom_ids(download(client, batch_id)))) == 3


@proves("row_doubled")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    batch_id = create_batch(client, make_requests(5))
    simulator.arm("row_doubled")

    names = custom_ids(download(client, batch_id))
    assert (len(names), len(set(names))) == (6, 5)


@proves("row_unreadable")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    batch_id = create_batch(client, make_requests(2))
    simulator.arm("row_unreadable")

    first, second = download(client, batch_id).splitlines()
    with pytest.raises(json.JSONDecodeError):
        json.loads(first)
    assert json.loads(second)["result"]["type"] == "succeeded"


@proves("row_foreign")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    batch_id = create_batch(client, make_requests(2))
    simulator.arm("row_foreign")

    assert custom_ids(download(client, batch_id)) == [b"foreign-0", b"r0", b"r1"]


@proves("unknown_result_type")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    batch_id = create_batch(client, make_requests(2))
    simulator.arm("unknown_result_type")

    kinds = [str(row.result.type) for row in client.messages.batches.results(batch_id)]
    assert sorted(kinds) == ["postponed", "succeeded"]


@proves("unknown_error_type")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    batch_id = create_batch(client, make_requests(2))
    simulator.arm("unknown_error_type")

    rows = list(client.messages.batches.results(batch_id))
    errors = [str(r.result.error.error.type) for r in rows if r.result.type == "errored"]
    assert (errors, len(rows)) == (["unheard_of_error"], 2)


FRAMINGS = [("length", True), ("chunked", True), ("close", False)]


@proves("cut_at_line")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    batch_id = create_batch(client, make_requests(10))
    expected = download(client, batch_id)
    for framing, breaks in FRAMINGS:
        simulator.arm("cut_at_line", framing=framing, rows=3)
        received, was_cut, headers = download_partially(client, batch_id)

        assert received == b"".join(expected.splitlines(keepends=True)[:3])
        assert was_cut is breaks, "without any framing the cut is silent"
        assert headers.get("content-length") == (
            str(len(expected)) if framing == "length" else None
        )
        assert ("transfer-encoding" in headers) is (framing == "chunked")


@proves("cut_inside_line")
def _(simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests) -> None:
    batch_id = create_batch(client, make_requests(10))
    expected = download(client, batch_id)
    for framing, breaks in FRAMINGS:
        simulator.arm("cut_inside_line", framing=framing)
        received, was_cut, _headers = download_partially(client, batch_id)

        assert expected.startswith(received)
        assert (received.count(b"\n"), received.endswith(b"\n"), was_cut) == (5, False, breaks)


def test_every_fault_is_described_in_a_sentence() -> None:
    assert all(
        fault.description.endswith(".") or fault.moment == "refuse" for fault in FAULTS.values()
    )
    assert set(PROOFS) == set(FAULTS)
