"""The handlers as Lambda calls them: settings from the environment, the key from the secret."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest

from functions import poll, results, submit
from functions.adapters import secret
from functions.errors import SettingError
from functions.polling.phases import MIN_TIME_LEFT_S
from functions.settings import PollSettings, ResultsSettings, SubmitSettings
from tests.harness import Harness, make_upload, open_moto_harness
from tests.integration.crowded_table import longest_call_s

KEY = "in/march.jsonl"


class Context:
    """Lambda's context."""

    function_name = memory_limit_in_mb = invoked_function_arn = aws_request_id = "here"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


@pytest.fixture
def deployed_relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    """A relay whose functions find their configuration as when deployed."""
    with open_moto_harness(tmp_path) as relay:
        boto3.client("secretsmanager").create_secret(Name="key", SecretString="sk-local")
        common_settings: dict[str, Any] = {
            "table_name": "relay", "uploads_bucket": "uploads", "results_bucket": "results",
            "topic_arn": relay.topic, "secret_name": "key", "base_url": relay.url,
        }  # fmt: skip
        queues: Any = {f"{name}_queue_url": relay.queues[name] for name in ("submit", "results")}
        settings = (
            SubmitSettings(**common_settings, queue_url=relay.queues["submit"]),
            PollSettings(**common_settings, **queues),
            ResultsSettings(**common_settings, queue_url=relay.queues["results"]),
        )
        for stage_settings in settings:
            for name, value in stage_settings.to_env().items():
                monkeypatch.setenv(
                    name, value
                )  # functions share QUEUE_URL here, which only redelivery uses
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "relay")
        relay.simulator.clock = time.time
        secret._secrets_manager.cache_clear()  # noqa: SLF001
        for stage in (submit, poll, results):
            stage._services.cache_clear()  # noqa: SLF001 - a new container
        for stage in (submit, results):
            stage._redelivery.cache_clear()  # noqa: SLF001
        yield relay


def handle_queue(relay: Harness, stage: ModuleType, queue: str) -> None:
    for body in relay._drain(queue):  # noqa: SLF001 - the queue's messages as they are
        stage.handler({"Records": [{"body": body}]}, Context())


def test_a_job_runs_through_the_handlers(
    deployed_relay: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    event = deployed_relay.put(KEY, make_upload(3))
    submit.handler({"Records": [{"body": json.dumps({"Event": "s3:TestEvent"})}]}, Context())  # type: ignore[arg-type]
    submit.handler({"Records": [{"body": event}]}, Context())  # type: ignore[arg-type]
    for _ in range(5):
        poll.handler({}, Context())
        handle_queue(deployed_relay, submit, "submit")
        handle_queue(deployed_relay, results, "results")

    assert deployed_relay.manifest(KEY)["counts"] == {"succeeded": 3}
    assert deployed_relay.submit.uploads.accepted_since(".jsonl") is not None
    output = capsys.readouterr().out
    assert '"PollSucceeded":[1.0]' in output.replace(" ", "")
    assert "sk-local" not in output


def test_a_poll_is_skipped_while_another_runs(deployed_relay: Harness) -> None:
    assert deployed_relay.poll_lock.acquire("another", 60)

    assert deployed_relay.poll_once().skipped


@pytest.mark.parametrize(
    ("service", "calls", "phase", "later_phase"),
    [
        ("sqs", 1, "wake submit", "ready submit"),
        ("secretsmanager", 2, "listing", "ready submit"),  # read again if it is no key
        ("sns", 1, "events", "prove"),
        ("s3", 1, "report", "prove"),
        ("dynamodb", 1, "look", "ready submit"),
    ],
)
@pytest.mark.usefixtures("deployed_relay")
def test_a_service_that_hangs_leaves_poll_time_for_later_phases(
    service: str, calls: int, phase: str, later_phase: str
) -> None:
    services, work_queues = poll._services()  # noqa: SLF001 - as deployed
    clients: dict[str, Any] = {
        "sqs": work_queues._sqs,  # noqa: SLF001
        "secretsmanager": secret._secrets_manager().client,  # noqa: SLF001
        "sns": services.publisher._sns,  # noqa: SLF001
        "s3": services.files._s3,  # noqa: SLF001
        "dynamodb": services.table._dynamodb,  # noqa: SLF001
    }
    longest_s = calls * longest_call_s(clients[service].meta.config)

    assert longest_s <= MIN_TIME_LEFT_S[phase] - MIN_TIME_LEFT_S[later_phase]


@pytest.mark.usefixtures("deployed_relay")
def test_a_cold_start_of_poll_opens_each_client_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    client: Any = boto3.client

    def open_client(service: str, **arguments: Any) -> Any:
        opened.append(service)
        return client(service, **arguments)

    monkeypatch.setattr(boto3, "client", open_client)
    poll._services()  # noqa: SLF001 - as deployed

    assert sorted(opened) == ["dynamodb", "s3", "sns", "sqs"]


def test_a_missing_setting_is_named(
    deployed_relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deployed_relay.url
    monkeypatch.delenv("TABLE_NAME")

    with pytest.raises(SettingError, match="TABLE_NAME is missing"):
        submit.handler({"Records": [{"body": "{}"}]}, Context())  # type: ignore[arg-type]
