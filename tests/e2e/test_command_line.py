"""`./relay` against the deployed stack, with exactly the permissions that docs/relay.md lists."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.cloud import ACCOUNT, REGION, Cloud
from tests.e2e.conftest import STACK
from tests.e2e.relay import Relay, Upload, jsonl, rows

ROOT = Path(__file__).parent.parent.parent
POLICY = re.compile(r"<!-- policy: (\w+) -->\n```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIMEOUT_S = 90
MOVES = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "sqs:StartMessageMoveTask", "Resource": "*"},
        ],
    }
)
"""The emulator does not take the queue of this action from its SourceArn, as SQS does."""


class CommandLine:
    """Runs `./relay` as a user of IAM."""

    def __init__(self, cloud: Cloud, keys: dict[str, str]) -> None:
        self._env = cloud.env() | {
            "PATH": os.environ["PATH"],
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - a list made here
            [str(ROOT / "relay"), *arguments, "--stack", STACK, "--json"],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        """Return the JSON document that a command prints."""
        return self.end(self.start(*arguments), code)

    def succeeds(self, *arguments: str) -> bool:
        process = self.start(*arguments)
        process.communicate(timeout=TIMEOUT_S)
        return process.returncode == 0

    def end(self, process: subprocess.Popen[str], code: int = 0) -> Any:
        return json.loads(self._output(process, code) or "null")

    def end_lines(self, process: subprocess.Popen[str]) -> list[Any]:
        return [json.loads(line) for line in self._output(process, 0).splitlines()]

    def _output(self, process: subprocess.Popen[str], code: int) -> str:
        output, errors = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == code, errors + output
        return output


@pytest.fixture(scope="session")
def policies(outputs: dict[str, str]) -> dict[str, str]:
    """The policies of docs/relay.md, with the names of this stack."""
    names = {
        "DEAD_UPLOADS": outputs["DeadUploadsQueueArn"].rpartition(":")[2],
        "DEAD_RESULTS": outputs["DeadResultsQueueArn"].rpartition(":")[2],
        "SUBMIT_QUEUE": outputs["SubmitQueueUrl"].rpartition("/")[2],
        "RESULTS_QUEUE": outputs["ResultsQueueUrl"].rpartition("/")[2],
        "RESULTS_FUNCTION": outputs["ResultsFunctionName"],
        "REGION": REGION,
        "ACCOUNT": ACCOUNT,
        "STACK": STACK,
        "TABLE": outputs["TableName"],
        "RESULTS": outputs["ResultsBucket"],
        "UPLOADS": outputs["UploadsBucket"],
        "TOPIC": outputs["EventsTopicArn"].rpartition(":")[2],
    }
    page = (ROOT / "docs" / "relay.md").read_text(encoding="utf-8")
    placeholder = re.compile(r"\b(?:" + "|".join(names) + r")\b")
    return {
        name: placeholder.sub(lambda match: names[match[0]], policy)
        for name, policy in POLICY.findall(page)
    }


def _user(cloud: Cloud, name: str, policies: dict[str, str]) -> CommandLine:
    iam = cloud.connect("iam")
    iam.create_user(UserName=name)
    for policy_name, policy in policies.items():
        iam.put_user_policy(UserName=name, PolicyName=policy_name, PolicyDocument=policy)
    return CommandLine(cloud, iam.create_access_key(UserName=name)["AccessKey"])


@pytest.fixture(scope="session")
def reader(cloud: Cloud, policies: dict[str, str]) -> CommandLine:
    return _user(cloud, "reader", {"read": policies["read"]})


@pytest.fixture(scope="session")
def steerer(cloud: Cloud, policies: dict[str, str]) -> CommandLine:
    return _user(cloud, "steerer", policies | {"moves": MOVES})


def test_a_job_is_sent_watched_and_fetched_by_the_command_line(
    relay: Relay, reader: CommandLine, steerer: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "march.jsonl").write_bytes(jsonl(rows(3, "command line")))

    sent = steerer("send", str(tmp_path / "march.jsonl"), "--as", "cli/")
    job = sent["job"]
    relay.poll_until(lambda: reader("ls", "--running"), "the job")
    assert reader("why", job)["waiting"]
    watching = reader.start("watch", "cli/march.jsonl")
    relay.poll_until(lambda: watching.poll() is not None, "the end")
    states = reader.end_lines(watching)
    got = reader("get", job[:8], "--into", str(tmp_path / "results"))

    assert states[-1]["outcome"] == "succeeded"
    assert {"results.jsonl", "manifest.json"} <= set(got["files"])
    results = (Path(got["folder"]) / "results.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["row"] for line in results] == [1, 2, 3]
    assert reader("cost")["folders"]["cli"]["jobs"] >= 1  # other tests send there, too
    assert [entry["outcome"] for entry in reader("ls") if entry["job"] == job] == ["succeeded"]

    relay.poll_until(lambda: steerer.succeeds("reassemble", job), "reassembling")
    upload = Upload("cli/march.jsonl", job, f"results/cli/march/{job}")
    relay.poll_until(lambda: len(relay.deliveries_of(upload, "job.completed")) > 1, "the new end")
    assert relay.manifest(upload)["counts"] == {"succeeded": 3}


def test_a_read_only_user_cannot_cancel_a_job(relay: Relay, reader: CommandLine) -> None:
    upload = relay.upload("cli/read-only.jsonl", jsonl(rows(1, "read only")))
    relay.poll_until(lambda: relay.deliveries_of(upload, "job.planned"), "the job")

    assert reader("cancel", upload.job, code=4) is None

    relay.finish(upload)


def test_a_job_is_canceled_and_its_failed_rows_are_sent_again(
    relay: Relay, steerer: CommandLine
) -> None:
    relay.simulator.processing_s = 3600
    queues = event_queues(relay)
    upload = relay.upload("cli/cancel.jsonl", jsonl(rows(2, "cancel")))
    relay.poll_until(relay.open_batches, "the batch")
    following = steerer.start("events", "--job", upload.job)
    assert following.stderr is not None
    assert "Ctrl-C" in following.stderr.readline()

    steerer("cancel", "cli/cancel.jsonl")
    relay.finish(upload)
    relay.simulator.processing_s = 1
    retrying = steerer.start("retry", upload.job, "--wait")
    relay.poll_until(lambda: retrying.poll() is not None, "the end of the retry")
    following.send_signal(signal.SIGINT)
    types = [event["type"] for event in steerer.end_lines(following)]

    assert relay.manifest(upload)["outcome"] == "canceled"
    assert "job.completed" in {".".join(name.split(".")[-2:]) for name in types}
    assert event_queues(relay) == queues
    retried = steerer.end_lines(retrying)[-1]
    assert (retried["outcome"], retried["rows_planned"]) == ("succeeded", 2)


def event_queues(relay: Relay) -> list[str]:
    """Return the temporary queues of subscribers; the test's own is one."""
    return relay.cloud.sqs.list_queues(QueueNamePrefix="relay-events-").get("QueueUrls", [])


def test_dead_letters_go_back_to_their_queue(relay: Relay, steerer: CommandLine) -> None:
    dead = relay.cloud.sqs.get_queue_url(
        QueueName=relay.outputs["DeadUploadsQueueArn"].rpartition(":")[2]
    )["QueueUrl"]
    message = {"schema": 1, "job": "f" * 20, "item": "#", "next_step": "plan"}
    relay.cloud.sqs.send_message(QueueUrl=dead, MessageBody=json.dumps(message))

    assert steerer("redrive") == {"submit": 1, "results": 0}

    relay.poll_until(lambda: relay.log_lines("submit", "f" * 20), "the message")
