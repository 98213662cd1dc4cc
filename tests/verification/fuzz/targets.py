"""All fuzz targets by name: each takes any bytes and asserts what must hold."""

from collections.abc import Callable

from tests.verification.fuzz import (
    answers,
    any_job,
    conversions,
    formats,
    jobs,
    messages,
    round_trips,
    rows,
    uploads,
)

type Target = Callable[[bytes], None]

TARGETS: dict[str, tuple[Target, int]] = {
    "reader": (uploads.reader, 200_000),
    "validation": (uploads.validation, 150_000),
    "text": (uploads.text, 50_000),
    "ledger": (uploads.ledger, 80_000),
    "rows": (rows.rows, 100_000),
    "join": (rows.join, 40_000),
    "whole_job": (jobs.whole_job, 10_000),
    "upload": (formats.upload, 60_000),
    "json_values": (formats.json_values, 60_000),
    "table": (formats.table, 60_000),
    "workbook": (formats.workbook_bytes, 1_000),
    "parquet": (formats.parquet_bytes, 400),
    "packed": (formats.packed, 20_000),
    "encoded": (formats.encoded, 20_000),
    "template": (conversions.template, 20_000),
    "defaults": (conversions.defaults, 20_000),
    "openai": (conversions.openai, 60_000),
    "bedrock": (conversions.bedrock, 40_000),
    "vertex": (conversions.vertex, 20_000),
    "csv_table": (round_trips.csv_table, 20_000),
    "workbook_table": (round_trips.workbook_table, 1_000),
    "parquet_table": (round_trips.parquet_table, 200),
    "json_rows": (round_trips.json_rows, 20_000),
    "any_job": (any_job.any_job, 6_000),
    "result": (answers.result, 150_000),
    "stream": (answers.stream, 30_000),
    "verdict": (answers.verdict, 80_000),
    "listing": (answers.listing, 40_000),
    "refusal": (answers.refusal, 10_000),
    "message": (messages.message, 50_000),
    "key": (messages.key, 40_000),
    "environment": (messages.environment, 30_000),
    "context": (messages.context, 50_000),
    "request_id": (messages.request_id, 40_000),
}
"""Targets, and the number of inputs that each gets in a full campaign."""
