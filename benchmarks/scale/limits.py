"""The limits of a day of 100 million rows: each limit, what such a day needs, and the consequence."""

from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.scale.arrivals import CHUNK, DAY, DEFAULTS, HOUR, admission_with_reserve, simulate
from benchmarks.scale.capacity import Capacity, assembly_s, poll_s
from benchmarks.scale.cost import Calls, Stage, prices
from functions.adapters.multipart import PARTS_PER_SIZE
from functions.adapters.s3 import COPY_THREADS
from functions.model.multipart_plan import MIN_PART_BYTES
from functions.planning.plan import MAX_PLANNING_S
from functions.polling.admission import Limits

ROWS_A_DAY = 100_000_000
BATCHES_A_DAY = ROWS_A_DAY // CHUNK
BATCHES_A_MINUTE = BATCHES_A_DAY / DAY
CONCURRENCY = 4
"""Invocations of submit, and of results."""
LAMBDA_S, POLL_S = 900, 120
"""How long submit, results and poll may run."""
CALLS_PER_ENDED = 3
"""What poll does for each batch that has ended: the transaction, the event, and that it is published."""
ITEM_KB = 2
"""What poll keeps of an unfinished batch in memory."""


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
    """Simulate one huge job under our admission: batches take so long, and a minute more until poll has seen it."""
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
            "Requests waiting at Anthropic (tiers Start / Build / Scale)",
            " / ".join(f"{tier.requests:,}" for tier in tiers),
            f"{waiting(HOUR) / 1e6:.1f} M, if a batch takes an hour",
            f"**Binds first, by far**: batches would have to end within {ends} minutes. Ask for a custom limit, then set `queuedRequests`",
        ),
        Row(
            "`openBatches`, ours", f"{DEFAULTS.batches:,}", f"{waiting(HOUR) / CHUNK:,.0f}, if a batch takes an hour",
            f"Enough; many small jobs need more of it: an hour each, {jobs:,} jobs a day",
        ),
        Row(
            "Calls a minute to the Batches API", " / ".join(f"{tier.calls:,}" for tier in tiers),
            f"{BATCHES_A_MINUTE:.0f} creates, {BATCHES_A_MINUTE:.0f} results, up to 10 pages of the list",
            "Far away, unless jobs are tiny: a million jobs a day are 1,400 calls a minute",
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
            f"*submit*, {CONCURRENCY} at once", f"{each:.0f} s for each batch",
            f"{cpu_s_per_chunk['plan'] + cpu_s_per_chunk['send']:.1f} s, and what Anthropic takes to answer",
            "Not near",
        ),
        Row(
            f"*results*, {CONCURRENCY} at once", f"{each:.0f} s for each batch", f"{cpu_s_per_chunk['collect']:.1f} s", "Not near",
        ),
        Row(
            "*plan* reads one upload from one end to the other", f"{MAX_PLANNING_S / 60:.0f} minutes, then poll wakes the next invocation",
            f"{cut_s / 60:.0f} minutes for all of it in one upload: {runs:.0f} invocations",
            "Sending begins with the first chunk. Ten such uploads at once hold all of *submit*, each for so long: a send may wait for that",
        ),
    ]  # fmt: skip


def _of_assembly(capacity: Capacity) -> Row:
    chunks = chunks_assembled(capacity)
    took = assembly_s(capacity, BATCHES_A_DAY, COPY_THREADS)
    return Row(
        "*assemble*, in one invocation", f"{LAMBDA_S // 60} minutes",
        f"{took / 60:.0f} minutes, if all of it is one upload",
        f"**Binds for one upload of more than some {chunks * CHUNK / 1e6:.0f} M rows** (as S3's copies are assumed below): cut such uploads in two",
    )  # fmt: skip


def _of_poll(capacity: Capacity, calls: Calls) -> list[Row]:
    items, pages = BATCHES_A_DAY, -(-BATCHES_A_DAY * calls.item_bytes // 2**20)
    reads = items * calls.item_bytes / 8192
    took = poll_s(capacity, pages, items)
    return [
        Row(
            "*poll*: batches that have ended", f"{ended_per_poll(capacity):,} in its {POLL_S} s",
            f"{BATCHES_A_MINUTE:.0f} a minute", "Not near; the rest would be noted a minute or two later",
        ),
        Row(
            "*poll*: what is unfinished", f"{POLL_S} s, 512 MB",
            f"{took:.0f} s and {items * ITEM_KB / 1000:.0f} MB for {items:,} batches",
            "Not near; some 100,000 unfinished batches would be",
        ),
        Row(
            "DynamoDB: the index is one partition", "1,000 write units and 3,000 read units a second",
            f"{BATCHES_A_MINUTE * calls.chunk['dynamodb.writes'] / 60:.0f} write units a second; {reads:,.0f} read units within {took:.0f} s each minute, if all wait at once",
            "Not near",
        ),
    ]  # fmt: skip


def _of_services(calls: Calls) -> list[Row]:
    sent = calls.chunk["claude.sent_bytes"]
    gb = sent * BATCHES_A_DAY / 1e9
    usd = gb * prices()["Internet egress GB"].usd
    return [
        Row(
            "DynamoDB: an item", "400 KB", f"{calls.item_bytes / 1024:.1f} KB; a job's counters do not grow",
            "Never",
        ),
        Row(
            "S3: parts of an object", "10,000, of 5 MiB to 5 GiB",
            f"{parts(round(sent))} for a chunk, {parts(250_000_000)} for the longest; {BATCHES_A_DAY:,} for all results joined",
            "A job of more chunks is joined in two steps. Parts written grow after each 2,000",
        ),
        Row(
            "SQS: messages in flight", "120,000", f"{2 * CONCURRENCY}",
            "Never. What waits is sent a work message again each minute; a work message too many costs an invocation of milliseconds",
        ),
        Row(
            "Lambda: invocations at once in the account", "1,000; 10 in a new one", f"{2 * CONCURRENCY + 1}",
            "A new account must ask for more",
        ),
        Row(
            "Egress to Anthropic", f"{sent / CHUNK / 1e3:.2f} KB for each request", f"{gb:,.0f} GB", f"${usd:.0f} a day: more than all else here",
        ),
    ]  # fmt: skip
