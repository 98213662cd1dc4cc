"""Default items of the table, for tests."""

from typing import Any

import msgspec

from functions.model import events, upload_events
from functions.model.create_response import PAUSE_MESSAGES
from functions.model.estimate import Estimate, ExpectedTokens
from functions.model.events import Event
from functions.model.items.batch import Batch
from functions.model.items.job import Checkpoint, Job
from functions.model.items.measured_pilot import Pilot
from functions.model.items.stored_objects import ObjectVersion, StoredObject
from functions.model.items.work_item import JOB, OPEN, SCHEMA
from functions.model.pricing import newest_price_list
from functions.model.records import Ignored, MarkerRequest
from functions.model.spending import Budget

AT = "2026-11-23T20:54:10.123Z"
JOB_ID = "3f9ac21b04d7c1e89a02"


def job(key: str = "in/march.jsonl", **fields: Any) -> Job:
    default = Job(
        job=JOB_ID, item=JOB, schema=SCHEMA, status="RUNNING", status_key=f"RUNNING#{AT}", open=OPEN,
        bucket="uploads", key=key, version="v1", size_bytes=1, uploaded_at=AT, claimed_at=AT,
        requests_per_batch=10, batch_bytes=1000, row_bytes=1000, attempts=3,
        api_version="2026-10-21", retention_days=90, price_list="2026-11", checkpoint=Checkpoint(),
    )  # fmt: skip
    return msgspec.structs.replace(default, **fields)


def batch(job_id: str = JOB_ID, chunk: int = 1, requests: int = 10, **fields: Any) -> Batch:
    default = Batch(
        job=job_id, item=f"{chunk:05d}-1", schema=SCHEMA, status="WAITING", status_key=f"WAITING#{AT}",
        open=OPEN, next_step="send", chunk=f"{chunk:05d}", attempt=1, first_row=1, last_row=requests,
        start_byte=0, end_byte=1, requests=requests, size_bytes=1, requests_key="work/r",
        ledger_key="work/l",
    )  # fmt: skip
    return msgspec.structs.replace(default, **fields)


def stored_pieces(*sizes: int) -> list[StoredObject]:
    return [StoredObject(key=f"work/{n}", size=size, crc32=0) for n, size in enumerate(sizes)]


def ignored(**fields: Any) -> Ignored:
    default = Ignored(
        item="2026-11-23/0c5f1e2d3b4a59687766", day="2026-11-23", bucket="uploads", folder="marketing",
        suffix=".parquet", count=12,
    )  # fmt: skip
    return msgspec.structs.replace(default, **fields)


def reconciled() -> dict[str, Any]:
    return {
        "pages": 2, "listed": 1204, "looked_up": 31, "found": 3, "claimed": 2, "keys": ["marketing/march.jsonl"],
        "complete": True,
    }  # fmt: skip


def marker_request(key: str = "marketing/march.jsonl", **fields: Any) -> MarkerRequest:
    default = MarkerRequest(
        job="cancel", item="0c5f1e2d3b4a59687766", schema=SCHEMA, open=OPEN, status_key=f"CANCEL#{AT}",
        bucket="uploads", key=key, at=AT, expires=1, marker=f"{key}.cancel",
    )  # fmt: skip
    return msgspec.structs.replace(default, **fields)


def example_events() -> dict[str, Event]:
    """Return an event of every type: the examples in docs/events/README.md."""
    job_with_results = job(
        "marketing/march.jsonl",
        checkpoint=Checkpoint(row=41, chunk=1),
        rows_rejected=4,
        outcome="partial",
        price_list=newest_price_list().version,
        estimate=Estimate(
            counted_rows=37,
            models={
                "claude-haiku-4-5": ExpectedTokens(
                    requests=37,
                    input=4810,
                    output_low=3700,
                    output_expected=4440,
                    output_worst=37_888,
                )
            },
        ),
    )
    rejected_job = job(
        "marketing/april.jsonl", job="0c5f1e2d3b4a59687766", checkpoint=Checkpoint(row=3), rows_rejected=3, outcome="failed",
        failure="none of the 3 rows can be sent: no_params (3); results.jsonl says why, row by row",
    )  # fmt: skip
    sent_batch = batch(
        requests=37, batch_id="msgbatch_013Zva2CMHLNnXjNJJKqJ2EF", status="IN_PROGRESS"
    )
    stuck_batch = batch(
        chunk=2,
        requests=37,
        status="ENDED",
        next_step="collect",
        tries=5,
        first_tried_at="2026-11-23T16:35:10.123Z",
    )
    counts = {"processing": 0, "succeeded": 36, "errored": 0, "canceled": 0, "expired": 1}
    examples = [
        events.job_planned(job_with_results, "results", AT),
        events.job_ended(
            job_with_results,
            "results",
            _job_figures(job_with_results, {"succeeded": 37, "rejected": 4}),
            AT,
        ),
        events.job_ended(rejected_job, "results", _job_figures(rejected_job, {"rejected": 3}), AT),
        events.batch_ended(sent_batch, counts, AT),
        events.stuck(stuck_batch, "AccessDenied", AT),
        events.paused("spend_limit", PAUSE_MESSAGES["spend_limit"], AT),
        events.resumed("spend_limit", AT, "2026-11-23T21:04:10.123Z"),
        upload_events.upload_ignored(
            ignored(),
            {"bucket": "uploads", "key": "marketing/march.parquet"},
            [".jsonl", ".csv", ".xlsx"],
            AT,
        ),
        events.job_waiting(job("support/tickets.csv"), "results", ["ticket_id", "body"], AT),
        upload_events.options_rejected(
            ObjectVersion("uploads", "support/_relay.toml", "v2"),
            "Object contains unknown field `modle` at `request.params`",
            AT,
        ),
        upload_events.job_duplicate(
            job("marketing/copy.jsonl", job="0c5f1e2d3b4a59687766"),
            job_with_results,
            "results",
            AT,
        ),
        upload_events.uploads_reconciled(reconciled(), AT),
        events.budget_reached(_day_budget(), 1_250_000, 12, AT),
        events.job_pilot(_costly_job(), "results", pilot(), AT, goes_on=False),
        events.job_held(_costly_job(), "results", "budget", 5_000_000, AT),
        upload_events.marker_unmatched(
            marker_request(job="go", status_key=f"GO#{AT}", marker="marketing/march.jsonl.go"),
            [],
            "2026-11-24T20:54:10.123Z",
            "2026-11-23T21:04:30.123Z",
        ),
        upload_events.marker_unmatched(
            marker_request(), [], "2026-11-24T20:54:10.123Z", "2026-11-23T21:04:30.123Z"
        ),
    ]
    return {event.type: event for event in examples}


def _day_budget() -> Budget:
    return Budget(
        scope="day",
        period="2026-11-23",
        limit=50_000_000,
        spent=37_250_000,
        reserved=12_000_000,
        is_announced=False,
    )


def pilot() -> Pilot:
    return Pilot(
        rows=20,
        sent=20,
        succeeded=19,
        errors={"overloaded_error": 1},
        truncated=2,
        input_tokens=2_280,
        output_tokens=15_200,
        cost_micro_usd=39_140,
        rest_rows=980,
    )


def _costly_job() -> Job:
    expected = ExpectedTokens(
        requests=1_000,
        input=120_000,
        output_low=None,
        output_expected=None,
        output_worst=4_096_000,
    )
    return job(
        "marketing/march.jsonl",
        price_list=newest_price_list().version,
        estimate=Estimate(counted_rows=50, models={"claude-haiku-4-5": expected}),
    )


def _job_figures(ended_job: Job, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "rows": ended_job.checkpoint.row,
        "counts": counts,
        "empty_answers": 0,
        "truncated": 2 if "succeeded" in counts else 0,
        "cost_usd": 0.0123 if "succeeded" in counts else 0,
        "manifest": f"s3://results/{ended_job.results_prefix}/manifest.json",
    }
