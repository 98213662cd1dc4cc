"""The handlers as Lambda calls them: settings from the environment, the key from the secret."""

import time
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import boto3
import pytest

from functions import poll, results, submit
from functions.adapters import secret
from functions.settings import PollSettings, ResultsSettings, SubmitSettings
from tests.harness import Harness


@dataclass
class Context:
    """Lambda's context."""

    aws_request_id: str = "here"
    function_name: ClassVar[str] = "here"
    memory_limit_in_mb: ClassVar[str] = "here"
    invoked_function_arn: ClassVar[str] = "here"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


def configure(relay: Harness, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    """Set the environment as when deployed, for functions in new containers."""
    boto3.client("secretsmanager").create_secret(Name="key", SecretString="sk-local")
    common_settings: dict[str, Any] = {
        "table_name": "relay", "uploads_bucket": "uploads", "results_bucket": "results",
        "topic_arn": relay.topic, "secret_name": "key", "base_url": relay.url, **more,
    }  # fmt: skip
    queues: Any = {f"{name}_queue_url": relay.queues[name] for name in ("submit", "results")}
    settings = (
        SubmitSettings(**common_settings, queue_url=relay.queues["submit"]),
        PollSettings(**common_settings, **queues),
        ResultsSettings(**common_settings, queue_url=relay.queues["results"]),
    )
    for stage_settings in settings:
        for name, value in stage_settings.to_env().items():
            # Functions share QUEUE_URL here, which only redelivery uses.
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "relay")
    relay.simulator.clock = time.time
    secret._secrets_manager.cache_clear()  # noqa: SLF001
    for stage in (submit, poll, results):
        stage._services.cache_clear()  # noqa: SLF001 - a new container
    for stage in (submit, results):
        stage._redelivery.cache_clear()  # noqa: SLF001


def run(relay: Harness, key: str, body: bytes, polls: int = 5) -> None:
    """Upload a file, then poll and handle the messages of both queues several times."""
    submit.handler({"Records": [{"body": relay.put(key, body)}]}, Context("submit"))  # type: ignore[arg-type]
    for _ in range(polls):
        poll.handler({}, Context("poll"))
        handle_queue(relay, submit, "submit")
        handle_queue(relay, results, "results")


def handle_queue(relay: Harness, stage: ModuleType, queue: str) -> None:
    for body in relay._drain(queue):  # noqa: SLF001 - the queue's messages as they are
        stage.handler({"Records": [{"body": body}]}, Context(queue))
