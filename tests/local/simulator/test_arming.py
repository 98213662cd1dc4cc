"""How faults are armed: how often, for which calls, and what is refused."""

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

type Ask = Callable[..., list[Any]]


def made(client: anthropic.Anthropic, requests: list[Any]) -> str:
    return client.messages.batches.create(requests=requests).id


def download(client: anthropic.Anthropic, batch_id: str) -> bytes:
    path = f"/v1/messages/batches/{batch_id}/results"
    return client.get(path, cast_to=httpx2.Response).content


def test_a_reset_is_a_reset_and_no_goodbye(simulator: Simulator, url: str) -> None:
    simulator.arm("reset_in_body", bytes=10)
    host = urlsplit(url)
    with socket.create_connection((str(host.hostname), host.port or 0), timeout=5) as connection:
        connection.sendall(
            b"POST /v1/messages/batches HTTP/1.1\r\nhost: x\r\nx-api-key: sk-local\r\n"
            b"anthropic-version: 2026-10-21\r\ncontent-length: 100\r\n\r\n0123456789"
        )
        with pytest.raises(ConnectionResetError):
            connection.recv(100)


def test_a_late_answer_does_not_hold_up_the_end(
    simulator: Simulator, sdk: anthropic.Anthropic
) -> None:
    simulator.arm("slow_answer", delay_s=30, endpoint="list")
    with serving(simulator) as url:
        client = sdk.with_options(base_url=url, timeout=0.2)
        with pytest.raises(anthropic.APITimeoutError):
            client.messages.batches.list()
        began = time.monotonic()

    assert time.monotonic() - began < 5


def test_a_fault_spares_the_first_calls_and_then_happens_as_often_as_asked(
    simulator: Simulator, client: anthropic.Anthropic, ask: Ask
) -> None:
    simulator.arm("overloaded", times=2, after=1)
    told = []
    for _ in range(4):
        try:
            told.append(bool(made(client, ask(1))))
        except anthropic.OverloadedError:
            told.append(False)

    assert told == [True, False, False, True]


def test_times_zero_lasts_until_the_reset(
    simulator: Simulator, client: anthropic.Anthropic, ask: Ask
) -> None:
    simulator.arm("forbidden", times=0)
    for _ in range(5):
        with pytest.raises(anthropic.PermissionDeniedError):
            made(client, ask(1))
    simulator.reset()

    assert made(client, ask(1))


def test_a_fault_strikes_only_what_its_filters_name(
    simulator: Simulator, client: anthropic.Anthropic, ask: Ask
) -> None:
    one, two = made(client, ask(1)), made(client, ask(1))
    simulator.arm("results_not_found", batch_id=two)
    simulator.arm("unauthorized", workspace="other")
    simulator.arm("too_large", more_than=2)

    assert download(client, one)
    with pytest.raises(anthropic.NotFoundError):
        download(client, two)
    with pytest.raises(anthropic.AuthenticationError):
        made(client.with_options(api_key="sk-other"), ask(1))
    assert made(client, ask(2))
    with pytest.raises(anthropic.ContentTooLargeError):
        made(client, ask(3))


@pytest.mark.parametrize("endpoint", ["list", "retrieve", "cancel", "delete", "results"])
def test_refusals_and_lost_answers_can_be_had_on_any_endpoint(
    simulator: Simulator, client: anthropic.Anthropic, ask: Ask, endpoint: str
) -> None:
    simulator.processing_s = float("inf") if endpoint == "cancel" else 0.0
    batch_id = made(client, ask(1))
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
        ("nothing", {}, "there is no fault 'nothing': take one of"),
        ("overloaded", {"wait": 1}, "overloaded has no option 'wait': take some of after"),
        ("rate_limited", {"retry_after": "soon"}, "the option retry_after is a number"),
        ("refuse_matching", {"contains": 7}, "the option contains is text"),
    ],
)
def test_a_fault_that_there_is_not_is_refused_with_a_sentence(
    simulator: Simulator, name: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ControlError, match=sentence):
        simulator.arm(name, **options)
