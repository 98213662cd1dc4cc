"""What an interrupted command leaves open at the real API, and how it is canceled."""

import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from functions.model.items.batch import BatchStatus
from functions.model.nouns import count_of
from local.api_endpoint import ApiEndpoint
from local.consent import agrees
from local.environment import LocalEnvironment
from local.started_job import StartedJob

TIMEOUT_S = 20.0
API_VERSION = "2023-06-01"
_OPEN = frozenset({BatchStatus.SENDING, BatchStatus.UNCONFIRMED, BatchStatus.IN_PROGRESS})


@dataclass(frozen=True)
class OpenBatch:
    """A Message Batch that has not ended, by the local cloud's own record.

    Attributes:
        id: its id at Anthropic; None if the answer to its create has not arrived.
        requests: its requests.
    """

    id: str | None
    requests: int


def open_batches(environment: LocalEnvironment, jobs: Sequence[StartedJob]) -> Iterator[OpenBatch]:
    """Yield the batches of jobs that may be open at Anthropic."""
    for job in jobs:
        pages = environment.cloud.tables.get_paginator("query").paginate(
            TableName=environment.outputs["TableName"],
            KeyConditionExpression="job = :job",
            ExpressionAttributeValues={":job": {"S": job.id}},
        )
        items: Iterator[Mapping[str, Any]] = (item for page in pages for item in page["Items"])
        for item in items:
            if item.get("status", {}).get("S") in _OPEN and "requests" in item:
                yield OpenBatch(item.get("batch_id", {}).get("S"), int(item["requests"]["N"]))


def offer_to_cancel(
    console: Console,
    claude: ApiEndpoint,
    environment: LocalEnvironment,
    jobs: Sequence[StartedJob],
) -> None:
    """Print what is open at Anthropic after an interruption; at a terminal, offer to cancel it."""
    batches = [*open_batches(environment, jobs)]
    if not batches:
        return
    for batch in batches:
        name = batch.id or "a batch whose id is not known yet"
        _print(console, f"still open at Anthropic: {name}, {count_of(batch.requests, 'request')}")
    ids = [batch.id for batch in batches if batch.id is not None]
    _print(
        console,
        "Answers cost money, and Anthropic keeps them for 29 days: https://platform.claude.com/workspaces/default/batches",
    )
    if ids and sys.stdin.isatty() and agrees(console, "Cancel them?"):
        for line in cancel_batches(claude, ids):
            _print(console, line)


def cancel_batches(claude: ApiEndpoint, ids: Sequence[str]) -> Iterator[str]:
    """Cancel batches at the API. Yield what to print about each."""
    for batch_id in ids:
        request = urllib.request.Request(  # noqa: S310 - the address of the API
            f"{claude.base_url}/v1/messages/batches/{batch_id}/cancel",
            method="POST",
            headers={"x-api-key": claude.key, "anthropic-version": API_VERSION},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - as above
                yield f"{batch_id}: {json.load(answer)['processing_status']}"
        except (OSError, ValueError) as error:
            yield f"{batch_id} could not be canceled: {error}"


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
