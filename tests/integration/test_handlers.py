"""The handlers as Lambda calls them: settings from the environment, the key from the secret."""

import json
from typing import Any

import boto3
import pytest

from functions import poll, submit
from functions.adapters import secret
from functions.errors import SettingError
from functions.polling.phases import MIN_TIME_LEFT_S
from tests.harness import Harness, make_upload
from tests.integration.crowded_table import longest_call_s
from tests.integration.deployed_functions import Context, run

KEY = "in/march.jsonl"


def test_a_job_runs_through_the_handlers(
    deployed_relay: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    submit.handler({"Records": [{"body": json.dumps({"Event": "s3:TestEvent"})}]}, Context())  # type: ignore[arg-type]
    run(deployed_relay, KEY, make_upload(3))

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
        ("sns", 1, "events", "reconcile"),
        ("s3", 1, "status files", "reconcile"),
        ("dynamodb", 1, "record states", "ready submit"),
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
