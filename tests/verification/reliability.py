"""docs/reliability.md: what was tried against the promises, and what came of it."""

from collections.abc import Sequence

from tests.verification.figures import Figures

COLUMNS = (
    "campaign", "calls M", "tried", "struck twice", "recovered", "answers billed", "not delivered", "rows lost",
    "requests paid twice", "longest recovery, in ticks", "seconds",
)  # fmt: skip

_NOT_RUNS = {"model", "fuzz"}
"""What these try are states and inputs."""

_PAGE = """\
# Reliability
[Promises 1 and 2](../README.md#what-it-promises), N rows in and N lines out, and paid once, are not argued for here; they are attacked, in every way that we could think of.
This page is written by `make verify`, on {today}: {tried:,} runs of a whole job, states and inputs beside them, in {minutes:.0f} minutes of two processes. CI runs a fixed sample of every campaign (`make test`).

{table}

{verdict}

## How it is done
A job runs through the real handlers: an upload of three chunks, of which one row expires and is sent again, and one is rejected; or one whose objects need several parts.
S3, SQS, SNS and DynamoDB are [moto](https://github.com/getmoto/moto), with the table and the lifecycle rules of our own template; Claude is the simulator of `local/simulator`,
on a real socket. Time is a clock that the tests move; a tick is a poll with what it wakes, here every 150 seconds.

**Calls M** are all that leaves the process in an undisturbed run: each AWS API call and each part of a multipart upload, each block of an S3 object, each request to
Claude and each block of an answer, each page of a listing. For every one of them the job is run again, and its stage is struck **just before** and **just after** it:
- *killed*: a `BaseException` that nothing may catch, and no call gets out any more, whatever a `finally` would like to do;
- *fails* (every second call): the error of the client's own, also where the call took place and only its answer is lost, as of a CompleteMultipartUpload;
- *stands still* (every third call): for twenty minutes, past its lease, while others go on; then it goes on, too. Around a create, for an hour: past its lease, its Lambda and its replacement.

Then time passes, the schedule ticks, and what was being worked on is delivered again. A run is **recovered** if, compared with the undisturbed one and but for ids and times:
- `results.jsonl`, `errors.jsonl`, `retry.jsonl`, `manifest.json` and `status.json` are the same, byte for byte;
- each custom_id was accepted once, and each row's content as often as then: the simulator counts both;
- every answer that the simulator billed is in `results.jsonl`;
- the same events arrived, each under one id, however often, with the same content;
- at no tick and at no death was anything to be seen in the results that was not whole, and the manifest named nothing that was not there;
- nothing is left that no lifecycle rule and no expiry removes: neither objects, nor parts of uploads, nor items of the table.

A pair of kills counts the second from the first on; *struck twice* are the different pairs of which both fell. *In an adoption* begins with a create whose answer is lost, and a stranger's batch of the same size beside it;
*in recovery* kills four times where most is in doubt, and once more at each call of what mends it.

**Claude's faults** are those of the simulator, each by its name (`tests/verification/crash/fault_table.py` says what becomes of the rows), alone and each with each; a run in which one of them was never met counts as
broken. Where the two rows of a batch must be paid for again (its create lost its answer, and it was deleted before a line of it could be read), the table says so, and they are not counted. What needs a
story of its own has a test: three unconfirmed creates of one size, foreign batches in the window, an orphan that is listed late, `retry-after` of an hour, keys missing, wrong, replaced and of another workspace, the
late 200 (`tests/integration/test_lost_answers.py`, `test_refusals.py`, `test_recovery.py`, `test_record.py`), poison (`test_poison.py`), what the SDK repeats by itself (`tests/verification/crash/test_repeats.py`), and SIGKILL of real processes (`tests/e2e/test_sigkill.py`).

**Disorder**: messages twice, hours late, out of order, or lost; two invocations at once, or one and poll, interleaved at every call by a scheduler whose every run can be repeated; AWS's own errors, at random and
for an hour for each operation, SNS's too; Lambda's time running out, also in the middle of a stream; clocks five minutes apart. Items of another schema version: `tests/integration/test_schema.py`.

**The environment fails** for ten minutes, eight hours, a day and a week: the secret cannot be read, a bucket denies reading or writing or its KMS key is disabled, the disk is full, the table throttles or
denies, SNS, SQS or tagging is denied, Anthropic cannot be reached or does not answer a create, a listing or a download; from the first, a middle or the last such call of the job on. What may differ from
the undisturbed run is what tells of it (`batch.stuck`, `sending.paused`, status.json), and retry.jsonl, where the upload could not be read again.

The **model** ([states](states.md)) counts states explored, and those from which the end is reached; **fuzz** counts inputs, guided by coverage, to all that reads bytes from outside.

## What it does not show
moto and the simulator are not AWS and Anthropic: they are as strict as we know how to make them, and no stricter. A kill inside one of AWS's own services is AWS's. Two calls that one
stage makes at the same time (tagging) are struck in the order in which they happen to come. A stage that stood still past its lease may leave a work file behind when its job is
done: Lambda ends it before that, so the files under its own token are not looked at.
"""


_DUPLICATES = """

Where a create stands still for an hour, {duplicates:,} requests were accepted twice: what stood still came after their absence had been proved and they had been sent again. That is the one case in which this can be
([states](states.md#a-batch), WAITING to IN_PROGRESS); Lambda ends a stage long before. Each time the duplicate was flagged, and the newer batch canceled, if it had not ended. The table does not count these."""


def render_page(table: Sequence[Figures], today: str, minutes: float, shares_left: int) -> str:
    """Write the page.

    Args:
        table: the figures, one campaign each.
        today: the date.
        minutes: how long all of it took.
        left: how many shares of campaigns are still to come.
    """
    tried = sum(figures.tried for figures in table if figures.campaign not in _NOT_RUNS)
    verdict = _verdict(table)
    if duplicates := sum(figures.duplicates for figures in table):
        verdict += _DUPLICATES.format(duplicates=duplicates)
    if shares_left:
        verdict += f"\n\nThis is not all: {shares_left} shares of campaigns had not ended when it was written."
    return _PAGE.format(
        today=today, minutes=minutes, tried=tried, table=_markdown(table), verdict=verdict
    )


def table_row(figures: Figures) -> list[str]:
    """Give a row of the table."""
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
        return "All of them held."
    return "\n".join(["What did not hold:", *(f"- {violation}" for violation in violations)])
