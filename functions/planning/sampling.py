"""Count the input tokens of some rows of a job, through an endpoint that is free, to estimate those of all."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import batched
from typing import IO

from aws_lambda_powertools import Logger

from functions.adapters import tracing
from functions.adapters.anthropic_api import COUNTED_AT_ONCE, Claude
from functions.adapters.log_context import log_context
from functions.errors import ApiKeyRejectedError, ApiUnavailableError, KeyMissingError
from functions.model import demand
from functions.model.chunk_files import LedgerEntry, read_all
from functions.model.estimate import Sample
from functions.model.items.job import Job
from functions.model.request_demand import has_media
from functions.model.streams import line_blocks, read_blocks

MAX_SAMPLING_S = 15.0
"""Seconds after which no further row is counted. The first batch waits for this."""
MAX_PARAMS_BYTES = 1 << 20
"""Longer rows are not counted."""
logger = Logger(child=True)


@tracing.traced("count tokens")
def count_sample(
    claude: Claude, job: Job, rows: int, body: IO[bytes], ledger: IO[bytes], betas: Sequence[str]
) -> dict[str, Sample]:
    """Count the input tokens of rows of a chunk, evenly spread over it.

    Args:
        claude: the API.
        job: the chunk's job.
        rows: how many rows to count.
        body: the chunk's request body.
        ledger: its ledger.
        betas: the values of `anthropic-beta` of the chunk.

    Returns:
        What was counted, by model; less or nothing if the API does not answer, or not in time.
    """
    samples: dict[str, Sample] = {}
    deadline = time.monotonic() + MAX_SAMPLING_S

    def count(params: bytes) -> int | None:
        with log_context(job):
            return claude.count_tokens(params, api_version=job.api_version, betas=betas)

    pool = tracing.thread_pool(COUNTED_AT_ONCE)
    try:
        for group in batched(_spread(ledger, rows), COUNTED_AT_ONCE, strict=False):
            texts = [_params(body, entry) for entry in group]
            left_s = max(deadline - time.monotonic(), 0.0)
            _add(samples, texts, pool.map(count, texts, timeout=left_s))
    except (ApiUnavailableError, ApiKeyRejectedError, KeyMissingError, TimeoutError) as error:
        if isinstance(error, ApiKeyRejectedError | KeyMissingError):
            claude.reload_key()  # or the next create would use what was read now
        facts = {"job": job.job, "problem": type(error).__name__}
        logger.info("tokens not counted", extra=facts)
    finally:
        # Do not wait: an answer that arrives byte by byte never times out.
        pool.shutdown(wait=False, cancel_futures=True)
    return samples


def _spread(ledger: IO[bytes], rows: int) -> Iterator[LedgerEntry]:
    """Return up to this many sent rows of a ledger, evenly spread over it. It is read twice, because it may be large."""
    total = sum(1 for _ in _sent(ledger)) if rows else 0
    count = min(rows, total)
    wanted = {number * total // count for number in range(count)}
    return (entry for number, entry in enumerate(_sent(ledger)) if number in wanted)


def _sent(ledger: IO[bytes]) -> Iterator[LedgerEntry]:
    ledger.seek(0)
    entries = read_all(line_blocks(read_blocks(ledger)))
    return (entry for entry in entries if 0 < entry.params_size <= MAX_PARAMS_BYTES)


def _params(body: IO[bytes], entry: LedgerEntry) -> bytes:
    body.seek(entry.params_offset)
    return body.read(entry.params_size)


def _add(samples: dict[str, Sample], texts: Sequence[bytes], counts: Iterable[int | None]) -> None:
    """Add the params and tokens of requests. Those that the API refused to count are left out."""
    for params, tokens in zip(texts, counts, strict=True):
        if tokens is not None:
            model, _ = demand.limits_of(params)
            name = demand.name_of(model, samples)
            sample = samples.get(name, Sample())
            samples[name] = Sample(
                sample.requests + 1,
                sample.params_bytes + len(params),
                sample.input_tokens + tokens,
                sample.media_requests + has_media(params),
            )
