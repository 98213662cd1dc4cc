"""`relay check` finds in a file what planning finds in its upload."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from cli.checking import MAX_SENTENCES, Checked, RejectedRows, check
from functions.model.chunk_files import read_ledger
from functions.model.expected_cost import estimate_figures
from functions.model.ids import job_id
from functions.model.items.job import Job
from tests.harness import UPLOADS, Harness, make_row, make_upload
from tests.integration.upload_kinds import KINDS

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
FOUND = sorted(path for path in SAMPLES.rglob("*") if path.is_file())
ANY_MODEL = 'models = { "*" = "claude-haiku-5-5" }'
TEMPLATE = """
[request.params]
model = "claude-haiku-5-5"
max_tokens = 64
messages = [{ role = "user", content = "{{%s}}" }]
"""
ODD_ROWS = b"\n".join(
    [make_row(1), b'{"custom_id": "b"}', *[b'{"custom_id": "c"'] * 7, make_row(4, model="gpt-4o")]
)
UPLOADED: dict[str, tuple[str, bytes, str]] = {
    **{f"the kind {kind.name}": (kind.key, kind.body, kind.options) for kind in KINDS},
    "rows of every kind of fault": ("odd.jsonl", ODD_ROWS, ""),
    "no row that can be sent": ("none.jsonl", b'{"custom_id": "a"}\n{}\n', ""),
    "an empty file": ("empty.jsonl", b"", ""),
    "a PDF": ("paper.jsonl", b"%PDF-1.7\n", ""),
    "an archive that is cut off": ("cut.jsonl.gz", gzip.compress(make_upload(500))[:-200], ""),
    "records without a template": ("records.jsonl", b'{"id":"a","text":"one"}\n', ""),
    "a template for another table": ("other.csv", b"id,text\n1,one\n", TEMPLATE % "body"),
    "a model without a mapping": (KINDS[-1].key, KINDS[-1].body, 'priority = "low"'),
    "options that are not TOML": ("bad.jsonl", make_upload(2), "models = "),
    "a model that thinks": ("few.jsonl", make_row(1, model="claude-opus-5", max_tokens=9), ""),
    "defaults for requests": (
        "more.jsonl",
        make_upload(3),
        "[request.params]\nsystem = 'Be brief'",
    ),
    "members beside the requests": ("b.json", b'{"requests": [%b], "a": 1}' % make_row(1), ""),
    "more than its budget": ("dear.jsonl", make_upload(9), "budget_usd = 0.000001"),
    "less than its budget": ("cheap.jsonl", make_upload(9), "budget_usd = 9"),
    "a budget without a price": (
        "new.jsonl",
        make_row(1, model="claude-new"),
        'budget_usd = 9\nskip_checks = ["unknown_model"]',
    ),
    "a pilot": ("pilot.jsonl", make_upload(9), "pilot_rows = 4"),
}


@pytest.mark.parametrize("name", UPLOADED)
def test_a_file_is_checked_as_its_upload_is_planned(
    name: str, relay: Harness, tmp_path: Path
) -> None:
    key, body, options = UPLOADED[name]
    (tmp_path / key).write_bytes(body)
    if options:
        (tmp_path / f"{key}.relay.toml").write_text(options)

    checked = check(tmp_path / key, claude=relay.submit.claude)

    assert found_by_check(checked) == found_by_planning(relay, key, body, options)


@pytest.mark.skipif(not FOUND, reason="the sample data is not available")
@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
@pytest.mark.parametrize("options", ["", ANY_MODEL])
def test_a_sample_is_checked_as_its_upload_is_planned(
    path: Path, options: str, relay: Harness, tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(options)

    checked = check(path, options=own, claude=relay.submit.claude)

    body = path.read_bytes()
    assert found_by_check(checked) == found_by_planning(relay, path.name, body, options)


def found_by_check(checked: Checked) -> dict[str, Any]:
    return {
        "failure": checked.failure,
        "waiting_for": checked.waiting_for,
        "rows": (checked.rows, checked.requests),
        "batches": checked.batches,
        "rejected": checked.rejected,
        "changed": checked.changed_fields,
        "notices": checked.notices,
        "kind": checked.row_kind,
        "estimate": checked.estimate,
    }


def found_by_planning(relay: Harness, key: str, body: bytes, options: str) -> dict[str, Any]:
    if options:
        relay.put(f"{key}.relay.toml", options.encode())
    relay.upload(key, body)
    if not body:
        relay.tick()
    job = uploaded(relay, key)
    batches = [batch for batch in relay.items.unfinished().batches if batch.job == job.job]
    rejected: dict[str, RejectedRows] = {}
    for batch in sorted(batches, key=lambda batch: batch.first_row):
        ledger = relay.submit.files.lines(relay.submit.files.results_object(batch.ledger_key))
        for rejection in (row.rejection for row in read_ledger(ledger) if row.rejection):
            kind = rejected.setdefault(rejection.code, RejectedRows())
            kind.rows += 1
            kind.messages = [*kind.messages, rejection.message][:MAX_SENTENCES]
    return {
        "failure": job.failure,
        "waiting_for": job.waiting_for,
        "rows": (job.checkpoint.row, job.sendable_rows),
        "batches": sum(batch.requests > 0 for batch in batches),
        "rejected": rejected,
        "changed": job.translation_changes,
        "notices": [] if job.format is None else job.format.notices,
        "kind": None if job.format is None else job.row_kind,
        "estimate": estimate_figures(job) if job.sendable_rows else None,
    }


def uploaded(relay: Harness, key: str) -> Job:
    version = relay.s3.head_object(Bucket=UPLOADS, Key=key)["VersionId"]
    job = relay.items.job(job_id(UPLOADS, key, version))
    assert job is not None
    return job
