"""Count what ended batches cost while there is no API key to download their results with.

The stages are real; AWS is in memory and Claude is the simulator.
"""

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.scale.cost import StalledDay
from functions.adapters.secret import UNSET_KEY
from tests.harness import Harness, make_upload, open_harness

BATCHES = 1_000
DAY_S, HOUR_S = 86_400.0, 3_600.0
POLL_EVERY_S = 300.0
"""Fewer polls than deployed make counting faster. Each try comes at most this much later."""


def count(batches: int = BATCHES, poll_every_s: float = POLL_EVERY_S) -> StalledDay:
    """Let one-row batches end, remove the key, and count the calls of a day.

    Args:
        batches: how many.
        poll_every_s: seconds between polls.
    """
    with _silence(), tempfile.TemporaryDirectory() as folder, open_harness(Path(folder)) as relay:
        relay.deploy(open_batches=batches, queued_requests=batches, requests_per_batch=1)
        with _count_calls(relay) as idle_calls:
            relay.tick()
        relay.upload("in/march.jsonl", make_upload(batches))
        relay.tick()
        relay.pass_time(HOUR_S)
        relay.poll_once()  # records that the batches have ended
        relay.key = UNSET_KEY
        relay.deploy()
        polls = round(DAY_S / poll_every_s)
        with _count_calls(relay) as calls:
            for _ in range(polls):
                relay.tick(poll_every_s)
        waiting = relay.items.unfinished().batches
        if len(waiting) != batches:
            message = f"{len(waiting):,} of {batches:,} batches still wait: nothing is counted"
            raise RuntimeError(message)
    calls.subtract({name: polls * per_poll for name, per_poll in idle_calls.items()})
    return StalledDay(batches, calls["DeleteMessage"], +calls)


@contextmanager
def _silence() -> Iterator[None]:
    """Drop log lines: each try writes one."""
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def _count_calls(relay: Harness) -> Iterator[Counter[str]]:
    """Count the calls to AWS by name."""
    calls: Counter[str] = Counter()

    def count_call(model: object, **_: object) -> None:
        calls[getattr(model, "name", "?")] += 1

    clients = (relay.dynamodb, relay.s3, relay.sqs, relay.sns)
    for client in clients:
        client.meta.events.register("provide-client-params.*.*", count_call)
    try:
        yield calls
    finally:
        for client in clients:
            client.meta.events.unregister("provide-client-params.*.*", count_call)
