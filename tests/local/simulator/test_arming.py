"""Arming faults: how often, for which calls, and with which errors."""

import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import anthropic
import httpx2
import pytest

from local.simulator import Simulator, serving
from local.simulator.errors import ControlError

type MakeRequests = Callable[..., list[Any]]


def create_batch(client: anthropic.Anthropic, requests: list[Any]) -> str:
    return client.messages.batches.create(requests=requests).id


def download(client: anthropic.Anthropic, batch_id: str) -> bytes:
    path = f"/v1/messages/batches/{batch_id}/results"
    return client.get(path, cast_to=httpx2.Response).content


def test_a_reset_sends_an_rst_instead_of_closing(simulator: Simulator, url: str) -> None:
    simulator.arm("reset_in_body", bytes=10)
    host = urlsplit(url)
    with socket.create_connection((str(host.hostname), host.port or 0), timeout=5) as connection:
        connection.sendall(
            b"POST /v1/messages/batches HTTP/1.1\r\nhost: x\r\nx-api-key: sk-local\r\n"
            b"anthropic-version: 2026-10-21\r\ncontent-length: 100\r\n\r\n0123456789"
        )
        with pytest.raises(ConnectionResetError):
            connection.recv(100)


def test_a_slow_answer_does_not_delay_shutdown(
    simulator: Simulator, sdk: anthropic.Anthropic
) -> None:
    simulator.arm("slow_answer", delay_s=30, endpoint="list")
    with serving(simulator) as url:
        client = sdk.with_options(base_url=url, timeout=0.2)
        with pytest.raises(anthropic.APITimeoutError):
            client.messages.batches.list()
        began = time.monotonic()

    assert time.monotonic() - began < 5


def test_a_fault_skips_the_first_calls_and_then_happens_the_given_number_of_times(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    simulator.arm("overloaded", times=2, after=1)
    told = []
    for _ in range(4):
        try:
            told.append(bool(create_batch(client, make_requests(1))))
        except anthropic.OverloadedError:
            told.append(False)

    assert told == [True, False, False, True]


def test_a_fault_with_times_zero_lasts_until_the_reset(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    simulator.arm("forbidden", times=0)
    for _ in range(5):
        with pytest.raises(anthropic.PermissionDeniedError):
            create_batch(client, make_requests(1))
    simulator.reset()

    assert create_batch(client, make_requests(1))


def test_a_fault_strikes_only_calls_that_match_its_filters(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    one, two = create_batch(client, make_requests(1)), create_batch(client, make_requests(1))
    simulator.arm("results_not_found", batch_id=two)
    simulator.arm("unauthorized", workspace="other")
    simulator.arm("too_large", more_than=2)

    assert download(client, one)
    with pytest.raises(anthropic.NotFoundError):
        download(client, two)
    with pytest.raises(anthropic.AuthenticationError):
        create_batch(client.with_options(api_key="sk-other"), make_requests(1))
    assert create_batch(client, make_requests(2))
    with pytest.raises(anthropic.ContentTooLargeError):
        create_batch(client, make_requests(3))


@pytest.mark.parametrize("endpoint", ["list", "retrieve", "cancel", "delete", "results"])
def test_refusals_and_lost_answers_work_on_any_endpoint(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests, endpoint: str
) -> None:
    simulator.processing_s = float("inf") if endpoint == "cancel" else 0.0
    batch_id = create_batch(client, make_requests(1))
    batches = client.messages.batches
    calls: dict[str, Callable[[], object]] = {
        "list": batches.list,
        "retrieve": lambda: batches.retrieve(batch_id),
        "cancel": lambda: batches.cancel(batch_id),
        "delete": lambda: batches.delete(batch_id),
        "results": lambda: download(client, batch_id),
    }
    simulator.arm("server_error", endpoint=endpoint)
    with pytest.raises(anthropic.InternalServerError):
        calls[endpoint]()
    simulator.arm("lost_answer", endpoint=endpoint)
    with pytest.raises(anthropic.APIConnectionError):
        calls[endpoint]()

    assert (len(simulator.batches()) == 0) is (endpoint == "delete"), "it was done all the same"


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("nothing", {}, "there is no fault 'nothing'; choose one of"),
        ("overloaded", {"wait": 1}, "overloaded has no option 'wait'; choose from after"),
        ("rate_limited", {"retry_after": "soon"}, "the option retry_after is a number"),
        ("refuse_matching", {"contains": 7}, "the option contains is text"),
    ],
)
def test_an_unknown_fault_is_an_error_that_names_it(
    simulator: Simulator, name: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ControlError, match=sentence):
        simulator.arm(name, **options)
