"""Counting the tokens of some rows: they are spread over the chunk, and memory does not grow with it."""

import threading
import time
import tracemalloc
from io import BytesIO
from types import SimpleNamespace
from typing import IO, Any, cast

import msgspec
import pytest
from aws_lambda_powertools import Logger

from functions.model.chunk_files import ChunkWriter
from functions.model.estimate import Sample
from functions.model.rows import LinePosition, Record, Row
from functions.planning.sampling import MAX_PARAMS_BYTES, count_sample

Logger()  # as in a handler: a child logger needs its parent
JOB: Any = SimpleNamespace(job="a" * 20, api_version="2023-06-01")


class Claude:
    """Counts one token for each request, and keeps the requests."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def count_tokens(self, params: bytes, **_: object) -> int:
        self.numbers.append(msgspec.json.decode(params)["n"])
        return 1


def write_chunk(body: IO[bytes], ledger: IO[bytes], sizes: list[int], custom_id: bytes) -> None:
    writer = ChunkWriter(JOB.job, "00001", 1, body, ledger)
    for number, size in enumerate(sizes):
        params = b'{"model":"m","max_tokens":1,"n":%d,"x":"%b"}' % (number, b"x" * size)
        record = Record(number, 1, 0, 0, b"", LinePosition())
        writer.add(number, record, Row(msgspec.Raw(custom_id), params if size else None, None))
    writer.finish()


def count(body: IO[bytes], ledger: IO[bytes], rows: int) -> tuple[list[int], dict[str, Sample]]:
    claude = Claude()
    samples = count_sample(cast("Any", claude), JOB, rows, body, ledger, ())
    return sorted(claude.numbers), samples


@pytest.mark.parametrize(
    ("sizes", "rows", "numbers"),
    [
        ([1] * 10, 5, [0, 2, 4, 6, 8]),
        ([1] * 3, 5, [0, 1, 2]),
        ([0, 1, 0, 1], 5, [1, 3]),
        ([1, MAX_PARAMS_BYTES], 5, [0]),
        ([0, 0], 5, []),
        ([1] * 10, 0, []),
    ],
)
def test_sent_rows_are_spread_over_the_chunk(
    sizes: list[int], rows: int, numbers: list[int]
) -> None:
    body, ledger = BytesIO(), BytesIO()
    write_chunk(body, ledger, sizes, b'"a"')

    counted, samples = count(body, ledger, rows)

    assert counted == numbers
    assert sum(sample.requests for sample in samples.values()) == len(numbers)


def test_the_ledger_is_not_held_in_memory() -> None:
    body, ledger = BytesIO(), BytesIO()
    write_chunk(body, ledger, [1] * 20_000, b'"%b"' % (b"a" * 1_000))

    tracemalloc.start()
    counted, _ = count(body, ledger, 50)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(counted) == 50
    assert peak < ledger.seek(0, 2) / 2


class _EndlessClaude(Claude):
    """Answers all but one request; that answer never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()

    def count_tokens(self, params: bytes, **_: object) -> int:
        if super().count_tokens(params) and self.numbers[-1] == 3:
            self.ended.wait(10)
        return 1


def test_an_answer_that_never_ends_does_not_delay_planning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("functions.planning.sampling.MAX_SAMPLING_S", 0.2)
    body, ledger, claude = BytesIO(), BytesIO(), _EndlessClaude()
    write_chunk(body, ledger, [1] * 20, b'"a"')

    started = time.monotonic()
    samples = count_sample(cast("Any", claude), JOB, 20, body, ledger, ())

    assert time.monotonic() - started < 5
    assert samples["m"].requests == 3
    claude.ended.set()
