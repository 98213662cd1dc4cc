"""A job is checked and translated by the newest list of capabilities at its claim, whatever is deployed later."""

import json
from typing import Any

import msgspec
import pytest

from functions.model import capabilities
from tests.harness import Harness

KEY = "in/march.jsonl"
MODEL = "claude-haiku-4-5"
OPENAI = json.dumps(
    {"url": "/v1/chat/completions", "body": {"model": MODEL, "max_tokens": 9000, "messages": [{"role": "user", "content": "x"}]}}
).encode()  # fmt: skip


def deploy_lists(patch: pytest.MonkeyPatch, **lists: Any) -> None:
    """Deploy a list for each version. ``known`` says whether it has the model."""
    real = capabilities.newest_list()
    models = {MODEL: msgspec.structs.replace(real.models[MODEL], max_output_tokens=8000)}
    patch.setattr(
        capabilities,
        "_lists",
        lambda: {
            version: msgspec.structs.replace(
                real, version=version, models=real.models if known else models
            )
            for version, known in lists.items()
        },
    )


def upload_and_wait(relay: Harness, body: bytes) -> None:
    """Claim an upload, but let no time pass to plan it."""
    context: Any = relay.context
    context.get_remaining_time_in_millis = lambda: 1000
    relay.upload(KEY, body)
    context.get_remaining_time_in_millis = lambda: 900_000


def test_the_list_at_the_claim_decides(relay: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy_lists(monkeypatch, first=True)
    upload_and_wait(relay, OPENAI)
    [job] = relay.items.unfinished().jobs
    assert (job.capability_list, job.checkpoint.row) == ("first", 0)

    deploy_lists(monkeypatch, first=True, second=False)  # it would cap max_tokens at 8,000
    relay.finish()

    manifest = relay.manifest(KEY)
    assert manifest["capabilities"] == {"version": "first"}
    assert "max_tokens.capped" not in manifest["translated"]["changes"]


def test_without_that_list_the_newest_decides(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_lists(monkeypatch, first=True)
    upload_and_wait(relay, OPENAI)

    deploy_lists(monkeypatch, second=False)
    relay.finish()

    manifest = relay.manifest(KEY)
    assert manifest["capabilities"] == {"version": "first"}
    assert manifest["translated"]["changes"]["max_tokens.capped"] == 1


def test_the_list_at_the_claim_says_which_parameters_exist(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second row is not validated together with the first, because of its `tool_choice`."""
    params = {
        "model": MODEL,
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
        "top_k": 5,
    }
    tools = {
        "tools": [{"name": "t", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
    }
    rows = [json.dumps({"params": {**params, **more}}).encode() for more in ({}, tools)]
    real = capabilities.newest_list()
    old = msgspec.structs.replace(real, version="old", no_sampling_since="2030-01-01")
    monkeypatch.setattr(capabilities, "_lists", lambda: {"old": old})
    upload_and_wait(relay, b"\n".join(rows))

    monkeypatch.setattr(capabilities, "_lists", lambda: {"old": old, real.version: real})
    relay.finish()

    # Both were sent, and not rejected here: it is the simulator that refuses the parameter.
    assert relay.manifest(KEY)["counts"] == {"errored": 2}
