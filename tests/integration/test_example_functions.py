"""The functions of examples/ take the events that a real job publishes, as SNS hands them to Lambda."""

from __future__ import annotations

import importlib.util
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.validate import validate_parameters
from moto import mock_aws

from tests.harness import RESULTS, UPLOADS, Harness, make_row, make_upload, s3_event
from tests.unit.templates import EXAMPLES, functions, read_template
from tests.unit.test_event_schemas import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REJECTED = b'{"custom_id": "no-params"}'


def load(path: str) -> Any:
    """Import a file of the examples."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, EXAMPLES / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def deliveries(relay: Harness, recipe: str) -> Iterator[dict[str, Any]]:
    """Yield each event since the last call that passes the recipe's filter, as Lambda gets it."""
    [function] = functions(read_template(recipe)).values()
    [subscription] = function["Events"].values()
    policy = subscription["Properties"].get("FilterPolicy", {})
    for envelope in relay.envelopes():
        attributes = {name: a["Value"] for name, a in envelope["MessageAttributes"].items()}
        if all(passes(attributes.get(name, ""), accepted) for name, accepted in policy.items()):
            yield {"Records": [{"EventSource": "aws:sns", "Sns": envelope}]}


def passes(value: str, accepted: list[Any]) -> bool:
    return any(
        value.startswith(rule["prefix"]) if isinstance(rule, dict) else value == rule
        for rule in accepted
    )


@dataclass
class Recorded:
    """A client whose calls botocore validates, and that are recorded and not sent."""

    service: str
    answer: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def client(self) -> Any:
        client: Any = boto3.client(self.service)  # type: ignore[call-overload]

        def call(operation: str, arguments: dict[str, Any]) -> Any:
            model = client.meta.service_model.operation_model(operation)
            validate_parameters(arguments, model.input_shape)
            self.calls.append((operation, arguments))
            if error := self.answer.get("error"):
                raise client.exceptions.from_code(error)({"Error": {"Code": error}}, operation)
            return self.answer

        client._make_api_call = call  # noqa: SLF001 - the one method that every API call goes through
        return client


@pytest.fixture(autouse=True)
def account(relay: Harness, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Let functions reach the buckets of the relay, and moto for what else they use.

    Yields:
        the clients that functions get; a test may put others there.
    """
    real, clients = boto3.client, {"s3": relay.s3}
    monkeypatch.setattr(boto3, "client", lambda name: clients.get(name) or real(name))
    with mock_aws():
        yield clients


@pytest.fixture
def record(account: dict[str, Any]) -> Callable[[str], Recorded]:
    """Return a function that records the calls of a service."""

    def record(service: str) -> Recorded:
        recorded = Recorded(service)
        account[service] = recorded.client()
        return recorded

    return record


def test_the_subscriber_counts_rows_without_an_answer(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    template = read_template("subscriber")
    create_table(template["Resources"]["Seen"], "seen")
    monkeypatch.setenv("SEEN_TABLE", "seen")
    relay.upload("team/march.jsonl", make_upload(2) + b"\n" + REJECTED)
    relay.finish()
    capsys.readouterr()

    [delivery] = deliveries(relay, "subscriber")
    for _ in range(2):
        load("subscriber/subscriber.py").handler(delivery, None)

    assert capsys.readouterr().out.count("1 rows of s3://results/results/team/march/") == 1


def create_table(resource: dict[str, Any], name: str) -> None:
    """Create the table that a template describes."""
    shape = {
        key: value
        for key, value in resource["Properties"].items()
        if key != "TimeToLiveSpecification"
    }
    boto3.client("dynamodb").create_table(TableName=name, **shape)


# -- Slack


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[Any]]]:
    """Serve a webhook; return its URL, and what was posted."""
    posted: list[Any] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", posted
        server.shutdown()


def test_slack_gets_the_end_of_a_job(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, webhook: tuple[str, list[Any]]
) -> None:
    url, posted = webhook
    relay.upload("team/<a&b>.jsonl", make_upload(2) + b"\n" + REJECTED)
    relay.finish()
    monkeypatch.setenv("WEBHOOK_SECRET", "slack-webhook")

    with mock_aws():
        boto3.client("secretsmanager").create_secret(Name="slack-webhook", SecretString=f"{url}\n")
        for delivery in deliveries(relay, "slack"):
            load("slack/slack.py").handler(delivery, None)

    [message] = posted
    subject, details = message["text"].splitlines()
    assert subject.endswith(": partial; 2 of 3 rows succeeded*")
    assert details.startswith("$0.00 · s3://results/results/team/&lt;a&amp;b&gt;/")


def test_each_event_has_a_text_for_slack() -> None:
    slack = load("slack/slack.py")
    for example in examples():
        subject, *details = slack.text_of(example["Subject"], example["Message"]).splitlines()
        assert subject == f"*{slack.escape(example['Subject'])}*"
        assert bool(details) == ("results" in example["Message"]["data"])


# -- EventBridge


def test_every_event_is_put_on_the_bus(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, record: Callable[[str], Recorded]
) -> None:
    monkeypatch.setenv("BUS", "relay-events")
    recorded = record("events")
    recorded.answer = {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}
    relay.upload("team/march.jsonl", make_upload(2) + b"\n" + REJECTED)
    relay.finish()

    for delivery in deliveries(relay, "eventbridge"):
        load("eventbridge/forward.py").handler(delivery, None)

    entries = [call["Entries"][0] for _, call in recorded.calls]
    assert [entry["DetailType"] for entry in entries] == [
        "job.planned",
        "batch.ended",
        "job.completed",
    ]
    pattern = read_template("eventbridge")["Resources"]["Failures"]["Properties"]["EventPattern"]
    assert [matches(pattern, as_rules_see(entry)) for entry in entries] == [False, False, True]


def as_rules_see(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": entry["Source"],
        "detail-type": entry["DetailType"],
        "detail": json.loads(entry["Detail"]),
    }


def matches(pattern: Any, event: Any) -> bool:
    """Return whether an event matches a pattern of exact values."""
    if isinstance(pattern, list):
        return event in pattern
    return all(name in event and matches(inner, event[name]) for name, inner in pattern.items())


def test_an_event_that_the_bus_refuses_is_delivered_again(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, record: Callable[[str], Recorded]
) -> None:
    monkeypatch.setenv("BUS", "relay-events")
    recorded = record("events")
    recorded.answer = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException"}]}
    relay.upload("team/march.jsonl", make_upload(1))

    with pytest.raises(RuntimeError, match="refused 1 of 1 events: ThrottlingException"):
        load("eventbridge/forward.py").handler(next(deliveries(relay, "eventbridge")), None)


# -- Step Functions

TOKEN = "AQCEAAAAKgAAAAMAAAAAAAAAAcjB+/="


@dataclass
class StateMachine:
    """Runs a definition of the Amazon States Language, as far as ours goes."""

    definition: dict[str, Any]
    invoke: Callable[[dict[str, Any]], None]
    data: dict[str, Any] = field(default_factory=dict)

    def start(self, data: dict[str, Any]) -> None:
        """Run the first state up to where it waits for its token."""
        self.data = data
        state = self.definition["States"][self.definition["StartAt"]]
        assert state["Resource"] == "arn:aws:states:::lambda:invoke.waitForTaskToken"
        self.invoke(self._resolved(state["Parameters"]["Payload"]))

    def succeed(self, output: str) -> tuple[str, Any]:
        """Take the output that came for the token; return how the execution ends."""
        state = self.definition["States"][self.definition["StartAt"]]
        self.data[state["ResultPath"].removeprefix("$.")] = json.loads(output)
        while "Next" in state or state["Type"] == "Choice":
            state = self.definition["States"][self._next(state)]
        if state["Type"] == "Fail":
            return self._at(state["ErrorPath"]), self._at(state["CausePath"])
        return "SUCCEEDED", self._at(state["OutputPath"])

    def _next(self, state: dict[str, Any]) -> str:
        for choice in state.get("Choices", ()):
            if self._at(choice["Variable"]) == choice["StringEquals"]:
                return str(choice["Next"])
        return str(state.get("Next") or state["Default"])

    def _resolved(self, payload: dict[str, str]) -> dict[str, Any]:
        return {name.removesuffix(".$"): self._at(path) for name, path in payload.items()}

    def _at(self, path: str) -> Any:
        if path.startswith("States.JsonToString("):
            return json.dumps(self._at(path[20:-1]))
        value: Any = {"Task": {"Token": TOKEN}, "Execution": {"Name": "run-1"}}
        root, *names = path.split(".")
        value = value if root == "$$" else self.data
        for name in names:
            value = value[name]
        return value


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> StateMachine:
    """The state machine of the recipe, with its function and its table."""
    template = read_template("step-functions")
    create_table(template["Resources"]["Tokens"], "tokens")
    monkeypatch.setenv("TOKENS_TABLE", "tokens")
    monkeypatch.setenv("UPLOADS_BUCKET", UPLOADS)
    definition = json.loads((EXAMPLES / "step-functions" / "job.asl.json").read_bytes())
    module = load("step-functions/wait_for_job.py")
    return StateMachine(definition, lambda payload: module.handler(payload, None))


def start_and_finish(
    relay: Harness, machine: StateMachine, body: bytes, name: str = "march.jsonl"
) -> None:
    """Start an execution on a file of a bucket; run the job that it uploads."""
    relay.s3.put_object(Bucket=RESULTS, Key=f"mine/{name}", Body=body)
    machine.start({"source": {"bucket": RESULTS, "key": f"mine/{name}"}})
    key = f"step-functions/run-1/{name}"
    head = relay.s3.head_object(Bucket=UPLOADS, Key=key)
    moment = relay.moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    relay.submit_message(s3_event(UPLOADS, key, head["ContentLength"], head["VersionId"], moment))
    relay.finish()


@pytest.mark.parametrize(
    ("body", "end", "outcome"),
    [
        (make_upload(2), "SUCCEEDED", "succeeded"),
        (make_row(1) + b"\n" + REJECTED, "SUCCEEDED", "partial"),
        (REJECTED, "failed", "failed"),
    ],
)
def test_a_state_machine_waits_for_its_job(
    relay: Harness, machine: StateMachine, record: Callable[[str], Recorded], body: bytes, end: str, outcome: str
) -> None:  # fmt: skip
    recorded = record("stepfunctions")
    relay.upload("team/other.jsonl", make_upload(1))
    start_and_finish(relay, machine, body)

    for delivery in deliveries(relay, "step-functions"):
        machine.invoke(delivery)

    [(operation, arguments)] = recorded.calls
    assert (operation, arguments["taskToken"]) == ("SendTaskSuccess", TOKEN)
    status, output = machine.succeed(arguments["output"])
    data = json.loads(output) if isinstance(output, str) else output
    assert (status, data["outcome"]) == (end, outcome)
    assert data["results"].startswith("s3://results/results/step-functions/run-1/march/")


@pytest.mark.parametrize(
    ("name", "error", "cause"),
    [
        ("march.jsonl", "job.duplicate", "has the same bytes, and its results are in s3://"),
        ("march.pdf", "upload.ignored", "upload a file that ends in .jsonl"),
    ],
)
def test_an_upload_that_is_not_run_fails_its_execution(
    relay: Harness, machine: StateMachine, record: Callable[[str], Recorded], name: str, error: str, cause: str
) -> None:  # fmt: skip
    recorded = record("stepfunctions")
    relay.deploy(repeats="skip")
    relay.upload("team/march.jsonl", make_upload(2))
    relay.finish()
    start_and_finish(relay, machine, make_upload(2), name)

    for delivery in deliveries(relay, "step-functions"):
        machine.invoke(delivery)

    [(operation, arguments)] = recorded.calls
    assert (operation, arguments["error"]) == ("SendTaskFailure", error)
    assert cause in arguments["cause"]


@pytest.mark.parametrize("error", ["TaskTimedOut", "TaskDoesNotExist"])
def test_a_second_delivery_changes_nothing(
    relay: Harness, machine: StateMachine, record: Callable[[str], Recorded], error: str, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    recorded = record("stepfunctions")
    start_and_finish(relay, machine, make_upload(1))
    recorded.answer = {"error": error}

    for delivery in deliveries(relay, "step-functions"):
        machine.invoke(delivery)

    assert "nobody waits for it any more" in capsys.readouterr().out


def test_each_state_is_reached_and_exists() -> None:
    definition = json.loads((EXAMPLES / "step-functions" / "job.asl.json").read_bytes())

    targets = {definition["StartAt"]}
    for state in definition["States"].values():
        targets |= {choice["Next"] for choice in state.get("Choices", ())}
        targets |= {state[name] for name in ("Next", "Default") if name in state}

    assert targets == set(definition["States"])


def test_a_token_is_kept_longer_than_its_state_waits() -> None:
    definition = json.loads((EXAMPLES / "step-functions" / "job.asl.json").read_bytes())

    assert (
        definition["States"]["Answer"]["TimeoutSeconds"]
        < load("step-functions/wait_for_job.py").KEPT_S
    )
