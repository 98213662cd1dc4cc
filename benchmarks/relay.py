"""The relay without a deployment: the emulator's table and topic, and the environment of the functions."""

import json
import platform
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import Run, measure
from functions.adapters.table import Table
from functions.adapters.work_items import WorkItems
from functions.model.ids import job_id
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.work_item import UNFINISHED_INDEX, Step
from functions.settings import PROCESS, PollSettings, ResultsSettings, SubmitSettings
from infra.bundle import bundled
from local import emulator
from local.cloud import Cloud
from local.workspace import Workspace, free_port

UPLOADS, RESULTS, TABLE = "uploads", "results", "relay"
CHUNK = "00001-1"
KEY = "sk-local"
STAGE = (sys.executable, "-S", "-m", "benchmarks.stage")
"""Runs a stage with only the packages of the bundle."""
ONE_STEP_S = 200
"""Enough time for one step, but not for the next."""


def s3_notification(key: str, version: str, size_bytes: int) -> dict[str, Any]:
    """Build S3's notification of a new object."""
    name = {"key": key, "size": size_bytes, "versionId": version}
    record = {
        "eventTime": "2026-11-23T00:00:00.000Z",
        "s3": {"bucket": {"name": UPLOADS}, "object": name},
    }
    return {"Records": [record]}


@dataclass
class Relay:
    """Runs stages against the emulator and the fakes of S3 and Claude.

    Attributes:
        bundle: the folder with the unpacked bundle, from which the stages run.
        s3: the address of the fake S3.
        claude: the address of the fake API.
        requests: the maximum number of requests in a chunk.
    """

    cloud: Cloud
    bundle: Path
    s3: str
    claude: str
    requests: int = 100_000

    @property
    def items(self) -> WorkItems:
        """The table, for preparing and checking a stage."""
        return WorkItems(Table(TABLE, self.cloud.tables))

    @property
    def queue(self) -> str:
        """The queue of work messages, shared by both stages here."""
        return self.cloud.sqs.create_queue(QueueName="work-messages")["QueueUrl"]

    def stage_settings(self) -> dict[str, str]:
        """Return the settings of all three functions."""
        common: dict[str, Any] = {
            "table_name": TABLE, "uploads_bucket": UPLOADS, "results_bucket": RESULTS, "secret_name": "key",
            "topic_arn": self.cloud.sns.create_topic(Name="events")["TopicArn"], "base_url": self.claude,
        }  # fmt: skip
        settings_of_stages = (
            PollSettings(**common, submit_queue_url=self.queue, results_queue_url=self.queue),
            ResultsSettings(**common, queue_url=self.queue),
            SubmitSettings(
                **common,
                queue_url=self.queue,
                requests_per_batch=self.requests,
                repeats="run",
                estimate_rows=0,
            ),
        )
        return {
            name: text
            for settings in settings_of_stages
            for name, text in settings.to_env().items()
        }

    def stage_env(self) -> dict[str, str]:
        """Return the environment of a Lambda function."""
        return self.cloud.env() | PROCESS | self.stage_settings() | {
            "AWS_ENDPOINT_URL_S3": self.s3, "POWERTOOLS_SERVICE_NAME": "relay", "POWERTOOLS_LOG_LEVEL": "WARNING",
            "POWERTOOLS_METRICS_NAMESPACE": "relay", "PYTHONPATH": str(self.bundle),
        }  # fmt: skip

    def run(self, stage: str, message: dict[str, Any]) -> Run:
        """Run a stage on one message in its own process."""
        arguments = (stage, str(ONE_STEP_S), json.dumps(message))
        return measure(*STAGE, *arguments, env=self.stage_env())

    def plan(self, key: str, version: str, size_bytes: int) -> tuple[str, Run]:
        """Claim and plan an upload; return the job id and the run."""
        notification = s3_notification(key, version, size_bytes)
        return job_id(UPLOADS, key, version), self.run("submit", notification)

    def step(self, stage: str, job: str, step: Step, item: str = CHUNK) -> Run:
        """Run one step of an item."""
        return self.run(stage, {"schema": 1, "job": job, "item": item, "next_step": step})

    def batch(self, job: str) -> Batch:
        """Read the only batch of a job."""
        batch = self.items.batch(job, CHUNK)
        if batch is None:
            message = f"{job} has no batch: it was not planned"
            raise LookupError(message)
        return batch

    def mark_ended(self, job: str) -> None:
        """Mark a batch as ended, as poll does."""
        changes = {"status": BatchStatus.ENDED, "next_step": Step.COLLECT}
        self.items.transition(
            self.batch(job), changes, expected={"status": BatchStatus.IN_PROGRESS}
        )


def unpack_bundle(folder: Path) -> Path:
    """Build the bundle for this machine and unpack it."""
    arm = platform.machine() in {"arm64", "aarch64"}
    with zipfile.ZipFile(bundled("arm64" if arm else "x86_64")) as bundle:
        bundle.extractall(folder)
    return folder


@contextmanager
def cloud(folder: Path) -> Iterator[Cloud]:
    """Start the emulator with an empty table, and stop it at exit."""
    python = emulator.install(Workspace.of_this_clone())
    started = emulator.start(python, folder, port=free_port())
    try:
        started.cloud.secrets.create_secret(Name="key", SecretString=KEY)
        make_table(started.cloud)
        yield started.cloud
    finally:
        started.program.stop()


def make_table(cloud_clients: Cloud) -> None:
    """Create the empty table, with the keys of infra/storage.py.

    Each fake API numbers its batches from 1, and ownership records are permanent, so each fake needs a new table.
    """
    keys = [("job", "HASH"), ("item", "RANGE")], [("open", "HASH"), ("status_key", "RANGE")]
    schemas: Any = ([{"AttributeName": n, "KeyType": k} for n, k in pairs] for pairs in keys)
    table, index = schemas
    if TABLE in cloud_clients.tables.list_tables()["TableNames"]:
        cloud_clients.tables.delete_table(TableName=TABLE)
    cloud_clients.tables.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=table,
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"}
            for name in ("job", "item", "open", "status_key")
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": UNFINISHED_INDEX,
                "KeySchema": index,
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
