"""What is paid for: every succeeded result of every batch, wherever the batch is now."""

import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest

from local.simulator import Simulator
from local.simulator.errors import ControlError

type Ask = Callable[..., list[Any]]
type Raw = Callable[..., tuple[int, dict[str, str], bytes]]


def made(client: anthropic.Anthropic, requests: list[Any]) -> str:
    return client.messages.batches.create(requests=requests).id


def succeeded(client: anthropic.Anthropic, batch_id: str) -> list[str]:
    rows = client.messages.batches.results(batch_id)
    return [row.custom_id for row in rows if row.result.type == "succeeded"]


def test_succeeded_answers_are_billed_and_no_others(
    simulator: Simulator, client: anthropic.Anthropic, ask: Ask
) -> None:
    fates = ["expired", "overloaded_error", "unknown_result", "canceled", "refusal", "max_tokens"]
    requests = [
        {**request, "custom_id": fate} for fate in fates for request in ask(1, f"[fate:{fate}]")
    ]
    batch_id = made(client, [*requests, *ask(3)])

    assert simulator.billed() == {batch_id: 5}
    assert sorted(simulator.billed_ids(batch_id)) == ["max_tokens", "r0", "r1", "r2", "refusal"]
    assert sorted(succeeded(client, batch_id)) == sorted(simulator.billed_ids(batch_id))


def test_of_a_canceled_batch_what_was_done_is_billed(
    simulator: Simulator, client: anthropic.Anthropic, ask: Ask
) -> None:
    simulator.arm("canceled_in_console", done=0.3)
    batch_id = made(client, ask(10))

    assert simulator.billed() == {batch_id: 3}
    assert sorted(succeeded(client, batch_id)) == sorted(simulator.billed_ids(batch_id))


def test_of_an_expired_batch_what_was_done_is_billed(
    simulator: Simulator, client: anthropic.Anthropic, ask: Ask
) -> None:
    now_s = 1_800_000_000.0
    simulator.clock = lambda: now_s
    simulator.processing_s, simulator.expiry_s = 100.0, 40.0
    batch_id = made(client, ask(10))
    early = simulator.billed()
    now_s += 41

    assert early == {}, "nothing is done before the batch has ended"
    assert simulator.billed() == {batch_id: 4}
    assert len(list(simulator.billed_ids(batch_id))) == 4


@pytest.mark.parametrize("gone", ["archive", "delete"])
def test_a_batch_that_is_gone_was_paid_for_all_the_same(
    simulator: Simulator, client: anthropic.Anthropic, ask: Ask, gone: str
) -> None:
    batch_id = made(client, ask(2))
    getattr(simulator, gone)(batch_id)

    assert simulator.billed() == {batch_id: 2}
    assert sorted(simulator.billed_ids(batch_id)) == ["r0", "r1"]


def test_a_batch_that_was_sent_twice_is_billed_twice(
    simulator: Simulator, client: anthropic.Anthropic, ask: Ask
) -> None:
    both = [made(client, ask(2)) for _ in range(2)]

    assert simulator.billed() == dict.fromkeys(both, 2)


def test_what_a_download_lacks_is_billed_all_the_same(
    simulator: Simulator, client: anthropic.Anthropic, ask: Ask
) -> None:
    batch_id = made(client, ask(5))
    simulator.arm("row_missing", rows=5)

    assert succeeded(client, batch_id) == []
    assert simulator.billed() == {batch_id: 5}


def test_others_pay_for_foreign_batches(simulator: Simulator) -> None:
    simulator.add_foreign(3)

    assert simulator.billed() == {}


def test_control_tells_how_many_by_batch_and_on_demand_which(
    raw: Raw, client: anthropic.Anthropic, ask: Ask
) -> None:
    one, two = made(client, ask(2500)), made(client, ask(2))

    _, _, told = raw("GET", "/_simulator/billed")
    _, headers, ids = raw("GET", f"/_simulator/batches/{one}/billed")
    status, _, nobody = raw("GET", "/_simulator/batches/nobody/billed")

    assert json.loads(told) == {"succeeded": 2502, "batches": {one: 2500, two: 2}}
    assert headers["transfer-encoding"] == "chunked"
    assert sorted(ids.decode().split()) == sorted(f"r{row}" for row in range(2500))
    assert (status, b"there is no batch nobody" in nobody) == (400, True)


def test_nothing_is_billed_after_a_reset(
    simulator: Simulator, client: anthropic.Anthropic, ask: Ask
) -> None:
    batch_id = made(client, ask(2))
    simulator.reset()

    assert simulator.billed() == {}
    with pytest.raises(ControlError, match="there is no batch"):
        simulator.billed_ids(batch_id)
