"""docs/reliability.md: the campaigns against the promises, and their outcomes."""

from collections.abc import Sequence

from tests.verification.figures import Figures

COLUMNS = (
    "campaign", "calls", "tried", "killed twice", "recovered", "answers billed", "not delivered", "rows lost",
    "requests paid twice", "longest recovery (ticks)", "seconds",
)  # fmt: skip

_NOT_RUNS = {"model", "fuzz"}
"""Campaigns that try states and inputs, not runs."""

_PAGE = """\
# Reliability
This page reports how [promises 1 and 2](../README.md#what-it-promises) were tested: one line for each row, and no request paid for twice.
`make verify` wrote it on {today}, after {tried:,} runs of a whole job, and further states and inputs, in {minutes:.0f} minutes with two processes. CI runs a fixed sample of every campaign (`make test`).

{table}

{verdict}

## Method
Each run sends one job through the real handlers. The usual job has three chunks; one row expires and is sent again, and one is rejected. Another job has objects of several parts; others have other formats.
S3, SQS, SNS and DynamoDB are in-memory fakes; a test compares them with [moto](https://github.com/getmoto/moto), call by call. The lifecycle rules are those of our own template.
Claude is the simulator of `local/simulator`. The tests control the clock. A *tick* is a poll with the steps that it wakes, every 150 seconds.

**Calls** counts every call that leaves the process in an undisturbed run, the baseline: each AWS API call, each part of a multipart upload, each block of an S3 object, each request to
Claude, each block of an answer, and each page of a listing. For each call, the job runs again with a fault **just before** and **just after** it:
- *killed*: a `BaseException` that no stage catches. The process makes no further call, not even in a `finally`.
- *fails* (every second call): the client's own error. After the call, only its answer is lost.
- *freezes* (every third call): the stage stops for twenty minutes, past its lease, while others run; then it continues. Around a create, it stops for an hour.

Then the clock advances, poll runs, and interrupted messages are delivered again. A run has **recovered** if it equals the baseline, apart from ids and times:
- `results.jsonl`, `errors.jsonl`, `retry.jsonl`, `manifest.json` and `status.json` are the same, byte for byte.
- Each custom_id was accepted once, and each row's content as often as in the baseline. The simulator counts both.
- Every answer that the simulator billed is in `results.jsonl`.
- The same events arrived. An event that arrived more than once has one id and one content.
- No incomplete file was visible in the results at any tick or crash, and the manifest named no missing file.
- Nothing is left that no lifecycle rule and no TTL removes: objects, parts of uploads, or items of the table.

In a pair of kills, the second counts its calls from the first; *killed twice* counts the different pairs of which both happened. *During adoption* starts with a lost answer to a create, beside a foreign batch of the same size.
*During recovery* kills at the four calls that leave most in doubt, and again at each call of the recovery.

**Other formats**: a CSV table, an Excel workbook, a Parquet file, a JSON array, gzip, UTF-16, an OpenAI batch, a Bedrock batch, and records that wait for their template, each in three chunks. Each job is killed
at every call until planning has ended, which resumes in the middle of the upload, and at every fifth call after it. The exports must be the baseline's, byte for byte, too.
**Options** arrive in any order: before their upload, after it, at the same time (interleaved at every call), hours later, twice, without their event, unusable at first, and replaced while the job runs.
Only the events that say for what the job waits may differ.

**API faults** are those of the simulator, alone and in pairs. `tests/verification/crash/fault_table.py` lists how each changes the rows. A run in which a fault never strikes counts as a violation.
If a create lost its answer, and its batch was deleted before it could be read, its two rows must be paid for again. The fault table says so, and these are not counted.
Further tests cover unconfirmed creates of one size, foreign batches, late listings, `retry-after` and API keys (`tests/integration/test_lost_answers.py`, `test_refusals.py`, `test_recovery.py`, `test_late_adoptions.py`),
unreadable items (`test_poison.py`), repeats by the SDK (`tests/verification/crash/test_repeats.py`), and SIGKILL of real processes (`tests/e2e/test_sigkill.py`).

**Concurrency and delivery**: messages are repeated, delayed by hours, reordered or lost. Two invocations, or one and poll, are interleaved at every call by a deterministic scheduler. AWS errors occur at random, and for an hour for each operation.
Lambda's timeout strikes at any call, even inside a stream. The clocks differ by five minutes. Items of another schema version: `tests/integration/test_schema.py`.

**Long outages** last ten minutes, eight hours, a day and a week, from the first, a middle or the last call of their kind. The secret cannot be read; a bucket denies access, or its KMS key is disabled; the disk is full;
the table throttles or denies; SNS, SQS or tagging is denied; Anthropic is unreachable, or does not answer a create, a listing or a download. Only the reports of an outage may differ from the baseline
(`batch.stuck`, `sending.paused`, status.json), and retry.jsonl, if the upload could not be read again.

The **model** ([states](states.md)) counts the states explored, and those from which the end is reached. **Fuzz** counts coverage-guided inputs to everything that reads bytes from outside.
Any bytes, given to any reader, become rows, rejected rows with a sentence, or a refusal of the whole upload. No text between two rows is lost. Reading resumes at any stored position with the same rows,
and a retry file has the rows that it was made from. Any row of OpenAI, Bedrock and Vertex AI becomes one request or one rejection, and one line of its export under its own id; no sentence quotes a prompt.
Round trips: the cells of a table, written in any dialect, are those of `results.csv` before the new columns; rows are the same in every form of JSON, encoding and container.

## Limits
The fakes and the simulator are not AWS and Anthropic; they are as strict as we know how to make them. Crashes inside an AWS service are not tested. Two calls that a
stage makes at the same time (tagging) are struck in the order in which they happen. A stage that is frozen past its lease may leave a work file behind after its job is done.
Lambda's timeout prevents that, so files under its own token are ignored.
"""


_DUPLICATES = """

Where a create freezes for an hour, {duplicates:,} requests were accepted twice: the frozen create continued after its batch had been declared absent and sent again. No other case does this
([states](states.md#a-batch), WAITING to IN_PROGRESS), and Lambda ends a stage long before. Each time the duplicate was flagged, and the newer batch was canceled unless it had ended. The table does not count these."""


def render_page(table: Sequence[Figures], today: str, minutes: float, shares_left: int) -> str:
    """Return the page.

    Args:
        table: The figures, one for each campaign.
        today: The date.
        minutes: Duration of all campaigns.
        shares_left: How many shares of campaigns have not ended.
    """
    tried = sum(figures.tried for figures in table if figures.campaign not in _NOT_RUNS)
    verdict = _verdict(table)
    if duplicates := sum(figures.duplicates for figures in table):
        verdict += _DUPLICATES.format(duplicates=duplicates)
    if shares_left:
        verdict += f"\n\nIncomplete: {shares_left} shares of campaigns had not ended when this page was written."
    return _PAGE.format(
        today=today, minutes=minutes, tried=tried, table=_markdown(table), verdict=verdict
    )


def table_row(figures: Figures) -> list[str]:
    """Return a row of the table."""
    counts = (
        *(figures.recovered, figures.billed, figures.undelivered),
        *(figures.rows_lost, figures.paid_twice),
    )
    return [
        figures.campaign,
        f"{figures.calls:,}" if figures.calls else "",
        f"{figures.tried:,}",
        f"{figures.killed_twice:,}" if figures.killed_twice else "",
        *(f"{count:,}" for count in counts),
        f"{figures.longest_ticks:,}" if figures.longest_ticks else "",
        f"{figures.seconds:,.0f}",
    ]


def _markdown(table: Sequence[Figures]) -> str:
    rows = [COLUMNS, ["---"] + ["---:"] * (len(COLUMNS) - 1), *map(table_row, table)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _verdict(table: Sequence[Figures]) -> str:
    violations = [violation for figures in table for violation in figures.violations]
    if not violations:
        return "Every promise held."
    return "\n".join(["Violations:", *(f"- {violation}" for violation in violations)])
