"""Billing: every succeeded result of every batch, even of a deleted one."""

import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest

from local.simulator import Simulator
from local.simulator.errors import ControlError

type MakeRequests = Callable[..., list[Any]]
type SendRaw = Callable[..., tuple[int, dict[str, str], bytes]]


def create_batch(client: anthropic.Anthropic, requests: list[Any]) -> str:
    return client.messages.batches.create(requests=requests).id


def succeeded(client: anthropic.Anthropic, batch_id: str) -> list[str]:
    rows = client.messages.batches.results(batch_id)
    return [row.custom_id for row in rows if row.result.type == "succeeded"]


def test_only_succeeded_answers_are_billed(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    fates = ["expired", "overloaded_error", "unknown_result", "canceled", "refusal", "max_tokens"]
    requests = [
        {**request, "custom_id": fate}
        for fate in fates
        for request in make_requests(1, f"[fate:{fate}]")
    ]
    batch_id = create_batch(client, [*requests, *make_requests(3)])

    assert simulator.billed() == {batch_id: 5}
    assert sorted(simulator.billed_ids(batch_id)) == ["max_tokens", "r0", "r1", "r2", "refusal"]
    assert sorted(succeeded(client, batch_id)) == sorted(simulator.billed_ids(batch_id))


def test_finished_answers_of_a_canceled_batch_are_billed(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    simulator.arm("canceled_in_console", done=0.3)
    batch_id = create_batch(client, make_requests(10))

    assert simulator.billed() == {batch_id: 3}
    assert sorted(succeeded(client, batch_id)) == sorted(simulator.billed_ids(batch_id))


def test_finished_answers_of_an_expired_batch_are_billed(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    now_s = 1_800_000_000.0
    simulator.clock = lambda: now_s
    simulator.processing_s, simulator.expiry_s = 100.0, 40.0
    batch_id = create_batch(client, make_requests(10))
    early = simulator.billed()
    now_s += 41

    assert early == {}, "nothing is billed before the batch has ended"
    assert simulator.billed() == {batch_id: 4}
    assert len(list(simulator.billed_ids(batch_id))) == 4


@pytest.mark.parametrize("gone", ["archive", "delete"])
def test_a_deleted_or_archived_batch_stays_billed(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests, gone: str
) -> None:
    batch_id = create_batch(client, make_requests(2))
    getattr(simulator, gone)(batch_id)

    assert simulator.billed() == {batch_id: 2}
    assert sorted(simulator.billed_ids(batch_id)) == ["r0", "r1"]


def test_requests_that_are_sent_twice_are_billed_twice(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    both = [create_batch(client, make_requests(2)) for _ in range(2)]

    assert simulator.billed() == dict.fromkeys(both, 2)


def test_rows_missing_from_a_download_are_billed(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    batch_id = create_batch(client, make_requests(5))
    simulator.arm("row_missing", rows=5)

    assert succeeded(client, batch_id) == []
    assert simulator.billed() == {batch_id: 5}


def test_foreign_batches_are_not_billed(simulator: Simulator) -> None:
    simulator.add_foreign(3)

    assert simulator.billed() == {}


def test_control_returns_billed_counts_by_batch_and_billed_ids(
    send_raw: SendRaw, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    one, two = create_batch(client, make_requests(2500)), create_batch(client, make_requests(2))

    _, _, told = send_raw("GET", "/_simulator/billed")
    _, headers, ids = send_raw("GET", f"/_simulator/batches/{one}/billed")
    status, _, nobody = send_raw("GET", "/_simulator/batches/nobody/billed")

    assert json.loads(told) == {"succeeded": 2502, "batches": {one: 2500, two: 2}}
    assert headers["transfer-encoding"] == "chunked"
    assert sorted(ids.decode().split()) == sorted(f"r{row}" for row in range(2500))
    assert (status, b"there is no batch nobody" in nobody) == (400, True)


def test_nothing_is_billed_after_a_reset(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    batch_id = create_batch(client, make_requests(2))
    simulator.reset()

    assert simulator.billed() == {}
    with pytest.raises(ControlError, match="there is no batch"):
        simulator.billed_ids(batch_id)
