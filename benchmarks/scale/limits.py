"""The limits of a day of 100 million rows: each limit, what such a day needs, and the consequence."""

from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.scale.arrivals import CHUNK, DAY, DEFAULTS, HOUR, admission_with_reserve, simulate
from benchmarks.scale.capacity import Capacity, assembly_s, poll_s
from benchmarks.scale.cost import CONCURRENCY, Calls, Stage, prices
from functions.adapters.multipart import PARTS_PER_SIZE
from functions.adapters.s3 import COPY_THREADS
from functions.model.multipart_plan import MIN_PART_BYTES
from functions.planning.plan import MAX_PLANNING_S
from functions.polling.admission import Limits

ROWS_A_DAY = 100_000_000
BATCHES_A_DAY = ROWS_A_DAY // CHUNK
BATCHES_A_MINUTE = BATCHES_A_DAY / DAY
LAMBDA_S, POLL_S = 900, 120
"""Lambda timeouts of submit and results, and of poll, in seconds."""
CALLS_PER_ENDED = 3
"""Calls of poll for each ended batch: the transaction, the event, and the record that it is published."""
ITEM_KB = 2
"""Memory of poll for each unfinished batch."""


class Tier(NamedTuple):
    """A tier of Anthropic: queued requests, and calls per minute."""

    requests: int
    calls: int


TIERS = {"Start": Tier(200_000, 1_000), "Build": Tier(300_000, 2_000), "Scale": Tier(500_000, 4_000)}  # fmt: skip


class Row(NamedTuple):
    """One limit."""

    what: str
    number: str
    needs: str
    then: str


def rows_a_day(requests: int, minutes: int) -> float:
    """Simulate one huge job under the relay's admission; poll notices the end of a batch a minute later."""
    limits = Limits(DEFAULTS.batches, requests)
    seen = simulate(
        admission_with_reserve(limits.reserve_divisor, limits),
        lambda _: minutes + 1,
        20 * requests,
        small=0,
    )
    return seen.rows_a_day


def waiting(minutes: float) -> float:
    """Return how many requests are in progress on such a day, by the duration of a batch."""
    return ROWS_A_DAY * minutes / DAY


def parts(size: int) -> int:
    """Return the number of parts of an object; 1 for a single PUT."""
    part, count = MIN_PART_BYTES, 0
    while size > 0:
        if count and count % PARTS_PER_SIZE == 0:
            part *= 2
        size, count = size - part, count + 1
    return max(1, count)


def chunks_assembled(
    capacity: Capacity, copies: int = COPY_THREADS, crc_s: float | None = None
) -> int:
    """Return how many chunks one invocation can assemble, rounded to hundreds."""
    each = assembly_s(capacity, 1_000, copies, crc_s) / 1_000
    return int(LAMBDA_S / each / 100) * 100


def ended_per_poll(capacity: Capacity) -> int:
    """Return how many ended batches one poll can handle, rounded to hundreds."""
    return int(POLL_S / poll_s(capacity, CALLS_PER_ENDED) / 100) * 100


def limits(capacity: Capacity, measured: Mapping[str, Stage], calls: Calls) -> list[Row]:
    """Return all limits, the tightest first."""
    return [
        *_of_anthropic(),
        *_of_functions(measured),
        _of_assembly(capacity),
        *_of_poll(capacity, calls),
        *_of_services(calls),
    ]


def _of_anthropic() -> list[Row]:
    tiers = [*TIERS.values()]
    ends = " / ".join(f"{tier.requests / ROWS_A_DAY * DAY:.1f}" for tier in tiers)
    jobs = DEFAULTS.batches * DAY // HOUR
    return [
        Row(
            "Requests queued at Anthropic (tiers Start / Build / Scale)",
            " / ".join(f"{tier.requests:,}" for tier in tiers),
            f"{waiting(HOUR) / 1e6:.1f} M if a batch takes an hour",
            f"**The first limit, by far.** Batches would have to end within {ends} minutes. Ask Anthropic for a custom limit, then set `queuedRequests`",
        ),
        Row(
            "Open batches (`openBatches`)", f"{DEFAULTS.batches:,}", f"{waiting(HOUR) / CHUNK:,.0f} if a batch takes an hour",
            f"Enough. Many small jobs need more: at an hour for each, it allows {jobs:,} jobs a day",
        ),
        Row(
            "Calls to the Batches API, per minute", " / ".join(f"{tier.calls:,}" for tier in tiers),
            f"{BATCHES_A_MINUTE:.0f} creates, {BATCHES_A_MINUTE:.0f} results, up to 10 pages of the listing",
            "Not reached, unless jobs are tiny: a million jobs a day are 1,400 calls a minute",
        ),
    ]  # fmt: skip


def _of_functions(measured: Mapping[str, Stage]) -> list[Row]:
    cpu_s_per_chunk = {
        name: stage.seconds_per_million * CHUNK / 1e6 for name, stage in measured.items()
    }
    each = CONCURRENCY * DAY * 60 / BATCHES_A_DAY
    cut_s = measured["plan"].seconds_per_million * ROWS_A_DAY / 1e6
    runs = -(-cut_s // MAX_PLANNING_S)
    return [
        Row(
            f"*submit*, {CONCURRENCY} at once (`submitConcurrency`)", f"{each:.0f} s for each batch",
            f"{cpu_s_per_chunk['plan'] + cpu_s_per_chunk['send']:.1f} s, plus Anthropic's response time",
            "Not reached",
        ),
        Row(
            f"*results*, {CONCURRENCY} at once (`resultsConcurrency`)", f"{each:.0f} s for each batch", f"{cpu_s_per_chunk['collect']:.1f} s", "Not reached",
        ),
        Row(
            "*plan* reads an upload sequentially", f"{MAX_PLANNING_S / 60:.0f} minutes for each invocation; poll enqueues the next one",
            f"{cut_s / 60:.0f} minutes for one upload of 100 M rows: {runs:.0f} invocations",
            f"Sending begins with the first chunk. {CONCURRENCY} such uploads at once occupy all of *submit*, and sends wait up to {MAX_PLANNING_S / 60:.0f} minutes",
        ),
    ]  # fmt: skip


def _of_assembly(capacity: Capacity) -> Row:
    chunks = chunks_assembled(capacity)
    took = assembly_s(capacity, BATCHES_A_DAY, COPY_THREADS)
    return Row(
        "*assemble*, in one invocation", f"{LAMBDA_S // 60} minutes",
        f"{took / 60:.0f} minutes for one upload of 100 M rows",
        f"**Limits one upload to about {chunks * CHUNK / 1e6:.0f} M rows**, at the assumed time of a copy in S3. Split larger uploads",
    )  # fmt: skip


def _of_poll(capacity: Capacity, calls: Calls) -> list[Row]:
    items, pages = BATCHES_A_DAY, -(-BATCHES_A_DAY * calls.item_bytes // 2**20)
    reads = items * calls.item_bytes / 8192
    took = poll_s(capacity, pages, items)
    return [
        Row(
            "*poll*: ended batches", f"{ended_per_poll(capacity):,} in {POLL_S} s",
            f"{BATCHES_A_MINUTE:.0f} a minute", "Not reached. The next poll continues with the rest",
        ),
        Row(
            "*poll*: unfinished batches", f"{POLL_S} s, 512 MB",
            f"{took:.0f} s and {items * ITEM_KB / 1000:.0f} MB for {items:,} batches",
            "Not reached. About 100,000 unfinished batches would reach it",
        ),
        Row(
            "DynamoDB: one partition of the index", "1,000 write units and 3,000 read units a second",
            f"{BATCHES_A_MINUTE * calls.chunk['dynamodb.writes'] / 60:.0f} write units a second; {reads:,.0f} read units within {took:.0f} s each minute if all batches wait at once",
            "Not reached",
        ),
    ]  # fmt: skip


def _of_services(calls: Calls) -> list[Row]:
    sent = calls.chunk["claude.sent_bytes"]
    gb = sent * BATCHES_A_DAY / 1e9
    usd = gb * prices()["Internet egress GB"].usd
    return [
        Row(
            "DynamoDB: size of an item", "400 KB", f"{calls.item_bytes / 1024:.1f} KB; no item grows with its job",
            "Never reached",
        ),
        Row(
            "S3: parts of an object", "10,000, of 5 MiB to 5 GiB",
            f"{parts(round(sent))} for a chunk, {parts(250_000_000)} for the largest one; {BATCHES_A_DAY:,} to join the results of one upload",
            f"A job with more chunks is joined in two steps. The size of written parts doubles after each {PARTS_PER_SIZE:,} parts",
        ),
        Row(
            "SQS: messages in flight", "120,000", f"{2 * CONCURRENCY}",
            "Never reached. Poll sends a waiting item's message again each minute, and a superfluous message costs an invocation of milliseconds",
        ),
        Row(
            "Lambda: concurrency of the account", "1,000; 10 in a new account", f"{2 * CONCURRENCY + 1}",
            "Fits, if nothing else runs in the account",
        ),
        Row(
            "Egress to Anthropic", f"{sent / CHUNK / 1e3:.2f} KB for each request", f"{gb:,.0f} GB", f"${usd:.0f} a day, more than all other costs together",
        ),
    ]  # fmt: skip
