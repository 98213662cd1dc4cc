"""docs/scale.md: what a million requests cost, what limits a day, and who waits for whom."""

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.scale import capacity, cost, shares
from benchmarks.scale.arrivals import CHUNK, HOUR, OURS, SimulationResult
from benchmarks.scale.capacity import Capacity
from benchmarks.scale.cost import Calls, Line, Stage, StalledDay
from benchmarks.scale.limits import BATCHES_A_DAY, TIERS, chunks_assembled, limits
from benchmarks.workload import ROW_BYTES

TARGET_USD = 0.10
COLUMNS = 100
"""Line length of the page."""
MINUTES = (10, 40, 60, 6 * HOUR, 24 * HOUR)
Table = list[Sequence[str]]
_OF_A_POLL = {"Lambda GB-seconds", "Lambda requests", "DynamoDB write units", "DynamoDB read units", "CloudWatch log GB"}  # fmt: skip

_PAGE = """\
# Scale

What a million requests and an idle month cost in AWS, what limits a day of 100 million rows, and how long small jobs wait behind a large one. `make scale` wrote this page on {today}. Calls and bytes are counted on the real handlers. Lambda seconds come from `benchmarks/results.json`, measured on {measured_on}. Waiting times are simulated with the relay's own admission. [Measured and assumed](#measured-and-assumed) says which figure is which.

## A million requests

One upload with {row_kb:.2f} KB for each request, 10,000 requests in a batch, and 1 % errored rows. Prices are those of us-east-1, looked up on {priced}, without free tiers.

{million}

{verdict}

![Cost by service](scale/cost.svg)

The table leaves out the storage of your own files: ${upload:.3f} a month for the upload ({upload_gb:.2f} GB) and ${results:.3f} a month for the results ({results_gb:.2f} GB). Transfer within the region, and from Anthropic to AWS, is free. The largest part of the bill is the storage of work files: {work_gb:.1f} GB stay for a week after they are written (`infra/storage.py`).

## An idle month

Without uploads, poll runs every minute ({polls:,} times), and Lambda polls both queues.

{idle}

CloudWatch's free tier covers poll's {metrics} metrics and 10 of the {alarms} alarms, if nothing else in the account uses it. A larger `pollMinutes` lowers the number of polls. Lambda keeps {pollers} long polls open for each queue; a queue with a maximum concurrency does not go down to two ([AWS](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html)).

## A day without an API key

{stalled_batches:,} batches have ended, and the API key is missing, so their results cannot be downloaded. *Collect* tries each batch {tries:.0f} times on the first day, after pauses that grow to six hours, and four times on each later day. The first day costs this much more than an idle day, without free tiers:

{stalled}

## Rows a day

Anthropic limits the number of queued requests, so rows a day = 1440 · queued requests / minutes that a batch takes. The figures are simulated with one huge job. Poll notices the end of a batch up to a minute later.

{tiers}

![Rows a day](scale/throughput.svg)

The relay counts all requests of a batch as queued until the batch has ended, because the API does not report more. Anthropic counts a request until it is processed, so it accepts somewhat more than `queuedRequests`. A 429 costs nothing and pauses sending for as long as it says.

## What limits 100 million rows a day

Such a day has {batches:,} batches of 10,000 requests, {minute:.0f} a minute.

{limits}

Such a day reaches no other limit of the relay. If Anthropic allows 5 M queued requests and `queuedRequests` is 5000000, such a day is possible, in uploads of up to about {whole:.0f} M rows each.

## Fairness

A job of 10 million rows comes first. Over the following day, 100 jobs of 1,000 rows arrive, one batch each. At most 200,000 requests are queued (tier Start) and 1,000 batches are open. On a *usual* day, a batch takes 37 minutes in the median, and one in twenty takes more than an hour and a half. On a *slow* day, a batch takes 6 to 24 hours. "Slowdown" is the time of a small job divided by the time of its batch: 1.0 means that it did not wait.

{fairness}

![How long small jobs wait](scale/waits.svg)

First come, first served, a small job waits as long as the huge one takes: a day and a half on usual days, a month on slow ones. The relay lets jobs take turns, so a small job is sent once there is room for it. On a usual day that takes at most {usual_longest}. On a slow day, the huge job may fill all room while none of its batches ends for hours: {waited} of the 100 jobs wait, at most {slow_longest}.

While a job with nothing at Anthropic waits for room, the others leave a twentieth of it free. A huge job that is alone uses all room. In this simulation the reserve changes nothing, because a small job fits as soon as a batch ends. To leave room for other programs, set `queuedRequests` lower than your tier allows.

Jobs do not take turns in the queues of *submit* and *results*: {concurrency} invocations of each process messages as they arrive. At 100 M rows a day they are idle most of the time. After an outage, each thousand batches of a huge job delay a small job's results by {backlog:.1f} minutes.

### Shares and priorities

Three folders always have more to send than the {shared} Message Batches that fit, for two days; each takes an hour. One has a [share](options.md#shares), one has a low priority. A test holds this table to what the relay's own admission chooses.

{shares}

A share is kept by a folder of high priority, too, and the others use what it leaves. Only its own jobs wait for it. A job of low priority is never forgotten: for each six hours of waiting, it counts as one priority higher.

## Measured and assumed

**Counted**: jobs of one and of three chunks of 10,000 requests ({row_kb:.2f} KB up and {results_gb:.2f} KB down for each request) run through the real handlers, with [moto](https://github.com/getmoto/moto) as AWS and the simulator as Claude. The difference gives the cost of a chunk: {chunk}. DynamoDB units are computed from the size of each item before and after each write, in the table and in the index, and count twice in a transaction. The day without a key runs through the real stages, with AWS in memory.

**Measured**: Lambda seconds for a million requests, with the CPU share of the memory size and a network of 75 MB/s: {stages}. On the machine that wrote this page, with a whole CPU: {read_us:.0f} µs for poll to read an unfinished batch, {call_ms:.1f} ms of boto3 for a call, {crc_ms:.3f} ms to add a part to a joined CRC-32, {admit_ms:.0f} ms to choose among 10,000 batches.

**Assumed**: {way_ms:.0f} ms for the round trip of a call to AWS, {copy_ms:.0f} ms for an UploadPartCopy of 20 MB, {tag_ms:.0f} ms for a tag or a small GET, {containers} cold starts of {cold:.0f} s each, and long polls of 20 s. Anthropic's response time to a create is unknown: each second of it adds ${answer:.4f} to a million requests. Stages also request polls, at most two for each batch; they would add at most ${requested:.4f} and are not in the table. The simulation assumes how long batches take and that they do not slow each other down. Anthropic promises results within 24 hours and says that most batches end within one.

**Sources**: prices of {sources}. Limits of [Lambda](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html), [S3](https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html), [SQS](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html), [DynamoDB](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html), [Anthropic](https://platform.claude.com/docs/en/api/rate-limits).
"""


@dataclass(frozen=True)
class Measurements:
    """All counts, measurements and simulations.

    Attributes:
        measured_on: the date of the Lambda seconds.
        policies: simulation results by day and policy.
        tiers: rows per day by tier and minutes.
    """

    calls: Calls
    stalled_day: StalledDay
    stages: Mapping[str, Stage]
    measured_on: str
    capacity: Capacity
    item_minutes: int
    policies: Mapping[str, Mapping[str, SimulationResult]]
    tiers: Mapping[str, Mapping[int, float]]

    @property
    def million(self) -> list[Line]:
        """The bill of a million requests, without egress."""
        return cost.of_million(self.calls, self.stages.values(), self.item_minutes)

    @property
    def idle(self) -> list[Line]:
        """The bill of an idle month."""
        return cost.of_idle_month(self.calls, self.idle_poll_s)

    @property
    def idle_poll_s(self) -> float:
        """The billed seconds of a poll with nothing to do."""
        return capacity.poll_s(self.capacity, 4)

    @property
    def stalled(self) -> list[Line]:
        """The bill of a day without an API key, beyond an idle day."""
        return cost.of_stalled_day(self.stalled_day, self.calls.item_bytes, self.capacity)


def render(measurements: Measurements, today: str) -> str:
    """Render the page."""
    text = _PAGE.format(
        today=today,
        priced=cost.priced_at(),
        million=_markdown(million(measurements)),
        verdict=verdict(cost.total(measurements.million), cost.egress(measurements.calls)),
        idle=_markdown(idle(measurements.idle)),
        stalled=_markdown(stalled(measurements.stalled)),
        stalled_batches=measurements.stalled_day.batches,
        tries=measurements.stalled_day.tries_per_batch,
        measured_on=measurements.measured_on,
        tiers=_markdown(tiers(measurements)),
        limits=_markdown(limit_table(measurements)),
        fairness=_markdown(fairness(measurements)),
        shares=_markdown(shares.table()),
        shared=shares.LIMITS.batches,
        sources=_sources(),
        **_bytes(measurements.calls),
        **_fair(measurements),
        **_figures(measurements),
    )
    return "\n".join(_wrapped(line) for line in text.split("\n"))


def _wrapped(line: str) -> str:
    """Wrap a paragraph. Tables, headings and images are lines of their own."""
    if line.startswith(("|", "#", "!")):
        return line
    return textwrap.fill(line, COLUMNS, break_long_words=False, break_on_hyphens=False)


def million(measurements: Measurements) -> Table:
    """Return the bill of a million requests by service."""
    lines = measurements.million
    rows: Table = [("service", "USD", "for what")]
    for service, usd in cost.by_service(lines).items():
        parts = [line for line in lines if line.service == service]
        rows.append((service, f"{usd:.4f}", "; ".join(map(_part, parts))))
    rows.append(("**all**", f"**{cost.total(lines):.3f}**", ""))
    sent = cost.egress(measurements.calls)
    rows.append(
        (sent.service, f"{sent.usd:.3f}", f"{sent.amount:.2f} GB to Anthropic; the first 100 GB of an account's month are free")
    )  # fmt: skip
    return rows


def idle(lines: Sequence[Line]) -> Table:
    """Return the bill of an idle month."""
    rows: Table = [("what", "how much", "USD", "USD beyond the free tier")]
    rows += [
        (line.what, _amount(line),
         f"{line.usd:.2f}", f"{line.usd_beyond_free:.2f}") for line in lines
    ]  # fmt: skip
    beyond = sum(line.usd_beyond_free for line in lines)
    rows.append(("**all**", "", f"**{cost.total(lines):.2f}**", f"**{beyond:.2f}**"))
    return rows


def stalled(lines: Sequence[Line]) -> Table:
    """Return the bill of a day without an API key."""
    rows: Table = [("what", "how much", "USD")]
    rows += [(line.what, _amount(line), f"{line.usd:.3f}") for line in lines]
    rows.append(("**all**", "", f"**{cost.total(lines):.2f}**"))
    return rows


def tiers(measurements: Measurements) -> Table:
    """Return rows per day by tier and duration of batches."""
    rows: Table = [("a batch takes", *(f"{name} ({tier.requests:,})" for name, tier in TIERS.items()))]  # fmt: skip
    rows += [
        (_time(minutes), *(f"{measurements.tiers[name][minutes] / 1e6:.1f} M" for name in TIERS))
        for minutes in MINUTES
    ]
    return rows


def limit_table(measurements: Measurements) -> Table:
    """Return the limits of a day of 100 million rows."""
    rows = limits(measurements.capacity, measurements.stages, measurements.calls)
    return [("limit", "number", "such a day needs", "consequence"), *rows]


def fairness(measurements: Measurements) -> Table:
    """Return the waiting times by day and policy."""
    rows: Table = [
        ("day", "policy", "small jobs wait: median", "95 %", "longest", "slowdown: median", "largest", "huge job ends after", "rows a day")
    ]  # fmt: skip
    for day, results_by_policy in measurements.policies.items():
        rows += [(day, policy, *_waits(result)) for policy, result in results_by_policy.items()]
    return rows


def verdict(usd: float, sent: Line) -> str:
    """State whether the target is reached, with and without egress."""
    within, with_egress = usd < TARGET_USD, usd + sent.usd < TARGET_USD
    free = cost.prices()["Internet egress GB"].free / sent.amount
    return (
        f"Target: at most ${TARGET_USD:.2f} for a million requests. Without egress it {_reached(within)} (${usd:.3f}); with egress at its full price it "
        f"{_reached(with_egress)} (${usd + sent.usd:.2f}). Anyone who calls Anthropic from AWS pays egress for the prompts, with or without this relay. "
        f"The first {free:.0f} M requests of this size in an account's month are within its free 100 GB."
    )


def _reached(reached: bool) -> str:  # noqa: FBT001 - a word for a truth value
    return "is reached" if reached else "**is not reached**"


def _part(line: Line) -> str:
    return f"{_amount(line)} {line.what.removeprefix(line.service).strip()}"


def _amount(line: Line) -> str:
    rounded = f"{line.amount:,.0f}"
    is_precise = len(rounded) > 1 or line.amount == int(line.amount)
    return rounded if is_precise else f"{line.amount:.2g}"


def _waits(result: SimulationResult) -> tuple[str, ...]:
    return (
        _time(result.wait_percentile(50)), _time(result.wait_percentile(95)), _time(max(result.waits)),
        f"{statistics.median(result.slowdowns):,.1f}", f"{max(result.slowdowns):,.1f}", _time(result.huge), f"{result.rows_a_day / 1e6:.2f} M",
    )  # fmt: skip


def _time(minutes: float) -> str:
    if minutes <= HOUR:
        return f"{minutes:.0f} min"
    hours = minutes / HOUR
    return f"{hours:.1f} h" if hours < 3 * 24 else f"{hours / 24:.0f} days"


def _bytes(calls: Calls) -> dict[str, float]:
    month = cost.prices()["S3 GB-months"].usd
    sent, kept = (
        calls.chunk[name] * 100 / cost.GB for name in ("claude.sent_bytes", "s3.results_bytes")
    )
    return {
        "row_kb": ROW_BYTES / 1e3, "upload_gb": ROW_BYTES / 1e3, "upload": ROW_BYTES / 1e3 * month,
        "results_gb": kept, "results": kept * month, "work_gb": calls.chunk["s3.work_bytes"] * 100 / cost.GB, "sent_gb": sent,
    }  # fmt: skip


def _fair(measurements: Measurements) -> dict[str, str | int]:
    usual, slow = (measurements.policies[day][OURS] for day in ("usual", "slow"))
    return {
        "usual_longest": _time(max(usual.waits)),
        "slow_longest": _time(max(slow.waits)),
        "waited": sum(wait > 1 for wait in slow.waits),
    }


def _figures(measurements: Measurements) -> dict[str, str | float]:
    power, collect = measurements.capacity, measurements.stages["collect"]
    counted = ("s3.PutObject", "s3.UploadPart", "s3.UploadPartCopy", "s3.PutObjectTagging", "s3.GetObject", "sns.Publish")  # fmt: skip
    each = measurements.calls.chunk
    calls = ", ".join(f"{each[name]:g} {name.partition('.')[2]}" for name in counted)
    stages = ", ".join(
        f"{stage.stage} {stage.seconds_per_million:.0f} s at {stage.memory_mb:,} MB" for stage in measurements.stages.values()
    )  # fmt: skip
    send_gb = measurements.stages["send"].memory_mb / cost.GIB_MB
    return {
        "metrics": cost.METRICS, "alarms": cost.ALARMS, "pollers": cost.POLLERS,
        "concurrency": cost.CONCURRENCY, "requested": _requested_polls_usd(measurements),
        "polls": cost.MONTH_POLLS, "batches": BATCHES_A_DAY, "minute": BATCHES_A_DAY / 1440,
        "whole": chunks_assembled(power) / 100, "backlog": collect.seconds_per_million / 100 * 1000 / cost.CONCURRENCY / 60,
        "chunk": f"{calls}, {each['dynamodb.writes']:g} write units and {each['dynamodb.half_reads'] / 2:g} read units, {each['sqs.messages']:g} messages",
        "stages": stages, "read_us": power.read_s * 1e6, "call_ms": power.call_s * 1e3, "crc_ms": power.crc_s * 1e3, "admit_ms": power.admit_s * 1e3,
        "way_ms": capacity.CALL_S * 1e3, "copy_ms": capacity.COPY_S * 1e3, "tag_ms": capacity.TAG_S * 1e3,
        "containers": cost.CONTAINERS, "cold": cost.COLD_S, "answer": 100 * send_gb * cost.prices()["Lambda GB-seconds"].usd,
    }  # fmt: skip


def _requested_polls_usd(measurements: Measurements) -> float:
    """Return the cost of two polls for each batch of a million requests."""
    idle = [line for line in measurements.idle if line.what in _OF_A_POLL]
    return 2 * cost.MILLION / CHUNK * cost.total(idle) / cost.MONTH_POLLS


def _sources() -> str:
    """List the sources of prices, and the prices without a source."""
    pages = {price.source: name for name, price in reversed(cost.prices().items())}
    named = ", ".join(f"[{cost.Line(name, 0).service}]({url})" for url, name in pages.items())
    unread = ", ".join(name for name, price in cost.prices().items() if price.read is None)
    return f"{named}; `benchmarks/scale/prices.json` names the page on which each figure was found. The prices of {unread} are from memory and need a check"


def _markdown(table: Table) -> str:
    head, *rows = table
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)
