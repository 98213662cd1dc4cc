"""A deployed relay as its users see it: uploads, events and results. Tests invoke poll themselves."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from functions.model import timestamps
from functions.model.ids import job_id
from local.cloud import Cloud
from local.polling import Polling, has_pending_messages, invoke
from local.simulator import Simulator
from local.subscriber import Delivery, Subscriber

FINAL_EVENTS = {"job.completed", "job.rejected"}


@dataclass(frozen=True)
class Upload:
    """An uploaded object and its job."""

    key: str
    job: str
    folder: str


@dataclass
class Relay:
    """The deployed relay, and all events since the test began."""

    cloud: Cloud
    outputs: dict[str, str]
    simulator: Simulator
    subscriber: Subscriber
    deliveries: list[Delivery] = field(default_factory=list)

    def upload(self, key: str, body: bytes) -> Upload:
        bucket = self.outputs["UploadsBucket"]
        version = self.cloud.s3.put_object(Bucket=bucket, Key=key, Body=body)["VersionId"]
        job = job_id(bucket, key, version)
        return Upload(key, job, f"results/{key.rpartition('.')[0]}/{job}")

    def poll(self) -> None:
        invoke(self.cloud, self.outputs["PollFunctionName"])

    def poll_until(
        self, condition: Callable[[], Any], description: str, timeout_s: float = 60
    ) -> None:
        """Poll until a condition holds."""
        deadline = time.monotonic() + timeout_s
        with Polling(self.cloud, self.outputs) as polling:
            while not condition():
                message = f"waited {timeout_s:.0f} s for {description}; {self.describe_progress()}"
                assert time.monotonic() < deadline, message
                polling.tick()
                self.listen()
                time.sleep(0.1)

    def finish(self, *uploads: Upload, timeout_s: float = 60) -> None:
        """Poll until every job has its final event."""
        self.poll_until(
            lambda: all(self.deliveries_of(upload, *FINAL_EVENTS) for upload in uploads),
            "the end",
            timeout_s,
        )

    def listen(self, wait_s: int = 0) -> None:
        self.deliveries.extend(self.subscriber.receive(wait_s))

    def deliveries_of(self, upload: Upload, *types: str) -> list[Delivery]:
        """Return the deliveries of a job's events of these types, including duplicates."""
        return [
            delivery
            for delivery in self.deliveries
            if delivery.attributes["job"] == upload.job and delivery.attributes["type"] in types
        ]

    def deliveries_about_sending(self, event_type: str) -> list[Delivery]:
        return [
            delivery for delivery in self.deliveries if delivery.attributes["type"] == event_type
        ]

    def read(self, upload: Upload, name: str) -> bytes:
        answer = self.cloud.s3.get_object(
            Bucket=self.outputs["ResultsBucket"], Key=f"{upload.folder}/{name}"
        )
        return answer["Body"].read()

    def lines(self, upload: Upload, name: str = "results.jsonl") -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read(upload, name).splitlines()]

    def manifest(self, upload: Upload) -> dict[str, Any]:
        return dict(json.loads(self.read(upload, "manifest.json")))

    def open_batches(self) -> list[dict[str, object]]:
        """Return the batches that are in progress at the API."""
        batches = self.simulator.batches()
        return [batch for batch in batches if batch["processing_status"] == "in_progress"]

    def log_lines(self, stage: str, text: str) -> list[str]:
        """Return the log lines of a stage that contain a text."""
        function = self.outputs[f"{stage.title()}FunctionName"]
        groups = self.cloud.functions.get_function_configuration(FunctionName=function)
        group = groups.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{function}"
        pages = self._logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        return [
            event["message"]
            for page in pages
            for event in page["events"]
            if text in event["message"]
        ]

    @property
    def _logs(self) -> Any:
        client_options = {
            "endpoint_url": self.cloud.endpoint,
            "verify": str(self.cloud.certificate),
        }
        return self.cloud.session.client("logs", **client_options)  # type: ignore[call-overload]

    def restart_functions(self) -> None:
        """End the containers that run, so that none remembers the key."""
        wait_until_idle(self.cloud, self.outputs)
        for stage in ("Submit", "Poll", "Results"):
            function = self.outputs[f"{stage}FunctionName"]
            configuration = self.cloud.functions.get_function_configuration(FunctionName=function)
            self.cloud.functions.update_function_configuration(
                FunctionName=function, MemorySize=configuration["MemorySize"]
            )
        self.end_lease("relay", "poll")

    def end_lease(self, job: str, item: str) -> None:
        """End the lease of a dead function; there may be none.

        Lambda lets an invocation finish when its function is updated. The emulator kills it, and a poll may run at
        any time, because stages request it: everything would wait for its lease of 130 seconds.
        """
        with suppress(ClientError):
            self.cloud.tables.update_item(
                TableName=self.outputs["TableName"],
                Key={"job": {"S": job}, "item": {"S": item}},
                UpdateExpression="SET #lease = :past",
                ConditionExpression="attribute_exists(#lease)",
                ExpressionAttributeNames={"#lease": "lease"},
                ExpressionAttributeValues={":past": {"S": timestamps.after(timestamps.now(), -1)}},
            )

    def set_key(self, value: str) -> None:
        self.cloud.secrets.put_secret_value(
            SecretId=self.outputs["SecretName"], SecretString=value
        )

    def describe_progress(self) -> str:
        """Describe events and calls for the message of a failed test."""
        events = [(delivery.attributes["type"], delivery.subject) for delivery in self.deliveries]
        return f"events: {events}; calls to the API: {self.simulator.calls()}"


def wait_until_idle(cloud: Cloud, outputs: dict[str, str], timeout_s: float = 60) -> None:
    """Wait until no stage is at work, before a function is updated.

    Lambda lets an invocation finish when its function is updated. The emulator kills it: its lease would have to
    run out, and its message would count as being worked on for 16 minutes, in which `Polling` polls every 5 s.
    """
    deadline = time.monotonic() + timeout_s
    while has_pending_messages(cloud, outputs):
        assert time.monotonic() < deadline, f"a stage is still at work after {timeout_s:.0f} s"
        time.sleep(0.1)


def rows(count: int, text: str = "question", start: int = 1) -> list[bytes]:
    """Build requests, each with its own text."""
    return [request(f"{text} {number}", f"id-{number}") for number in range(start, start + count)]


def request(text: str, custom_id: str) -> bytes:
    params = {
        "model": "claude-haiku-5-5",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": text}],
    }
    return json.dumps({"custom_id": custom_id, "params": params}).encode()


def jsonl(lines: Iterable[bytes]) -> bytes:
    return b"\n".join(lines) + b"\n"


def kinds(lines: Sequence[dict[str, Any]]) -> list[str]:
    return [line["result"]["type"] for line in lines]
