"""docs/scale.md: what a million requests cost, what limits a day, and who waits for whom."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.scale import capacity, cost
from benchmarks.scale.arrivals import HOUR, OURS, SimulationResult
from benchmarks.scale.capacity import Capacity
from benchmarks.scale.cost import Calls, Line, Stage
from benchmarks.scale.limits import BATCHES_A_DAY, TIERS, chunks_assembled, limits
from benchmarks.workload import ROW_BYTES

TARGET_USD = 0.10
MINUTES = (10, 40, 60, 6 * HOUR, 24 * HOUR)
Table = list[Sequence[str]]

_PAGE = """\
# Scale
What a million requests cost in AWS beside Claude, what an idle month costs, what limits a day of 100 million rows, and who waits for whom. This page is written by `make scale`, on {today}:
calls and bytes are counted on the real handlers, seconds of Lambda are those of `benchmarks/results.json`, waiting is simulated with the relay's own `admit`. What is measured, and what is a model: [below](#measured-and-assumed).

## A million requests
One upload, {row_kb:.2f} KB a request, 10,000 a batch, 1 % of them errored; us-east-1, prices of {priced}, without any free tier.

{million}

{verdict}

![Cost by service](scale/cost.svg)

Not in the table, because it is yours: the upload ({upload_gb:.2f} GB, ${upload:.3f} for each month that you keep it) and the results ({results_gb:.2f} GB, ${results:.3f}). Inside the region, and from Anthropic to you, bytes cost nothing.
The largest single part is work files: {work_gb:.1f} GB lie for a week after they were written (`infra/storage.py`).

## An idle month
Nobody uploads; poll looks every minute ({polls:,} times), Lambda reads both queues.

{idle}

Ten of the twelve alarms, and the seven figures of poll, are within what CloudWatch gives for nothing, if nothing else in the account uses it. `pollMinutes` makes polls fewer. The queues cost that much because Lambda keeps five readers for each:
where a mapping has a cap on concurrency, as ours do, it does not go down to two ([AWS](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html)).

## Rows a day
Anthropic lets so many requests wait, and a batch takes as long as it takes: rows a day = 1440 · requests waiting / minutes. Simulated, with one huge job, and a minute until poll has seen an end:

{tiers}

![Rows a day](scale/throughput.svg)

The relay counts a batch's requests as waiting until the whole batch has ended, since the API does not say sooner; Anthropic counts them until each is done. So there is some room above `queuedRequests`; a 429 is free, and holds sending for as long as it says.

## What limits 100 million rows a day
{batches:,} batches of 10,000 a day, {minute:.0f} a minute.

{limits}

By these figures nothing else of ours is within a factor of five. With a limit of Anthropic's of 5 M requests, `queuedRequests=5000000`, such a day is within reach, in uploads of up to some {whole:.0f} M rows each.

## Fairness
A job of 10 million rows comes first; over the day after it come 100 jobs of 1,000 rows, one batch each. 200,000 requests may wait (Start), 1,000 batches be open. On a *usual* day a batch takes 37 minutes (median; one in twenty takes more than an hour and a half), on a *slow* one 6 to 24 hours.
"Slower" is how many times longer a small job took than its own batch: 1.0 is as if it were alone.

{fairness}

![How long small jobs wait](scale/waits.svg)

Behind a queue, a small job waits as long as the huge one takes: a day and a half, or a month of slow days. In turns, it is sent by the next poll, but for the slow day, when the huge job has filled all room and none of its batches ends for hours. So the relay keeps a twentieth for jobs that
have nothing at Anthropic: nobody waits on a usual day, and on a slow one {kept} of the 100, at most {ours_most}: those that find the twentieth full before the first of the huge one's batches ends. It costs the huge job {loss:.0f} % of its rows a day while it is alone. A quarter would do away with
the rest of the waiting, and cost {more:.0f} %: that is not worth it by default. A lower `queuedRequests` than your tier's keeps room for others outside the relay.

Jobs do not take turns at the queues of *submit* and *results*: four invocations of each take what comes. At 100 M rows a day those are idle most of the time; after an outage, a small job's results wait for {backlog:.1f} minutes behind each thousand batches of a huge one.

## Measured and assumed
**Counted**: a job of one and one of three chunks of 10,000 requests ({row_kb:.2f} KB up, 2.15 KB down) run through the real handlers over [moto](https://github.com/getmoto/moto) and the simulator; the difference is a chunk's. A chunk: {chunk}.
DynamoDB's units come from each item's size before and after each write, in table and index, twice in a transaction.

**Measured**: seconds of Lambda for a million requests, with the processor that Lambda gives at that memory and a network of 75 MB/s: {stages}. On the machine that wrote this page, at one whole processor: {read_us:.0f} µs for poll to read an
unfinished batch, {call_ms:.1f} ms for boto3 to make a call, {crc_ms:.1f} ms to add a piece to a joined CRC, {admit_ms:.0f} ms to choose among 10,000 batches.

**Assumed**: {way_ms:.0f} ms for a call to a service and back, {copy_ms:.0f} ms for an UploadPartCopy of 20 MB, {tag_ms:.0f} ms for a tag or a small GET; {containers} containers that start, {cold:.0f} s each; Lambda's long polls last 20 s. What Anthropic takes to answer a create is not known: each second of it adds ${answer:.4f} to a million requests.
How long batches take, and that they do not slow each other down, is the simulation's assumption: Anthropic promises 24 hours, and says that most end within one.

**Sources**: prices of {sources}. Limits of [Lambda](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html), [S3](https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html), [SQS](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html),
[DynamoDB](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html), [Anthropic](https://platform.claude.com/docs/en/api/rate-limits).
"""


@dataclass(frozen=True)
class Measurements:
    """All counts, measurements and simulations.

    Attributes:
        policies: simulation results by day and policy.
        tiers: rows per day by tier and minutes.
    """

    calls: Calls
    stages: Mapping[str, Stage]
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
        return cost.of_idle_month(self.calls, capacity.poll_s(self.capacity, 4))


def render(measurements: Measurements, today: str) -> str:
    """Render the page."""
    return _PAGE.format(
        today=today,
        priced=cost.priced_at(),
        million=_markdown(million(measurements)),
        verdict=verdict(cost.total(measurements.million), cost.egress(measurements.calls)),
        idle=_markdown(idle(measurements.idle)),
        tiers=_markdown(tiers(measurements)),
        limits=_markdown(limit_table(measurements)),
        fairness=_markdown(fairness(measurements)),
        sources=_sources(),
        **_bytes(measurements.calls),
        **_fair(measurements),
        **_figures(measurements),
    )


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
    return [("limit", "number", "such a day needs", "then"), *rows]


def fairness(measurements: Measurements) -> Table:
    """Return the waiting times by day and policy."""
    rows: Table = [
        ("day", "policy", "small jobs wait: median", "95 %", "at most", "slower: median", "at most", "huge job done after", "rows a day")
    ]  # fmt: skip
    for day, results_by_policy in measurements.policies.items():
        rows += [(day, policy, *_waits(result)) for policy, result in results_by_policy.items()]
    return rows


def verdict(usd: float, sent: Line) -> str:
    """State whether the target is reached, with and without egress."""
    within = "is reached" if usd < TARGET_USD else "**is not reached**"
    both = usd + sent.usd
    beyond = "is reached" if both < TARGET_USD else "**is not reached**"
    free = cost.prices()["Internet egress GB"].free / sent.amount
    return (
        f"The target of ${TARGET_USD:.2f} for a million {within} by all that the relay does inside of AWS: ${usd:.3f}. With egress at its full price it {beyond}: "
        f"${both:.2f}. Whoever calls Anthropic from AWS pays that for the prompts' bytes, with this relay or without; an account's first {free:.0f} M requests of this size in a month are within the free 100 GB."
    )


def _part(line: Line) -> str:
    return f"{_amount(line)} {line.what.removeprefix(line.service).strip()}"


def _amount(line: Line) -> str:
    measure_job = f"{line.amount:,.0f}"
    return (
        measure_job
        if len(measure_job) > 1 or line.amount == int(line.amount)
        else f"{line.amount:.2g}"
    )


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


def _fair(measurements: Measurements) -> dict[str, str | float]:
    day = measurements.policies["usual"]
    turns, quarter = (day[name].rows_a_day for name in ("in turns", "in turns, 25 % kept"))
    slow_duration = measurements.policies["slow"][OURS]
    return {
        "ours_most": _time(max(slow_duration.waits)),
        "kept": sum(wait > 1 for wait in slow_duration.waits),
        "loss": 100 * (1 - day[OURS].rows_a_day / turns),
        "more": 100 * (1 - quarter / turns),
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
        "polls": cost.MONTH_POLLS, "batches": BATCHES_A_DAY, "minute": BATCHES_A_DAY / 1440,
        "whole": chunks_assembled(power) / 100, "backlog": collect.seconds_per_million / 100 * 1000 / 10 / 60,
        "chunk": f"{calls}, {each['dynamodb.writes']:g} write units and {each['dynamodb.half_reads'] / 2:g} read units, {each['sqs.messages']:g} messages",
        "stages": stages, "read_us": power.read_s * 1e6, "call_ms": power.call_s * 1e3, "crc_ms": power.crc_s * 1e3, "admit_ms": power.admit_s * 1e3,
        "way_ms": capacity.CALL_S * 1e3, "copy_ms": capacity.COPY_S * 1e3, "tag_ms": capacity.TAG_S * 1e3,
        "containers": cost.CONTAINERS, "cold": cost.COLD_S, "answer": 100 * send_gb * cost.prices()["Lambda GB-seconds"].usd,
    }  # fmt: skip


def _sources() -> str:
    """List the sources of prices, and the prices without a source."""
    pages = {price.source: name for name, price in reversed(cost.prices().items())}
    named = ", ".join(f"[{cost.Line(name, 0).service}]({url})" for url, name in pages.items())
    unread = ", ".join(name for name, price in cost.prices().items() if price.read is None)
    return f"{named}; the figures were found on the pages that `benchmarks/scale/prices.json` names beside these, and those of {unread} on none: check them"


def _markdown(table: Table) -> str:
    head, *rows = table
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)
