"""A chunk's lines are written in blocks of limited size, however long a custom_id is."""

from collections.abc import Iterator
from tempfile import TemporaryFile
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from functions.collecting.merge import Merge
from functions.collecting.result_set import ResultSet
from functions.collecting.spool import Spool
from functions.model.chunk_files import LedgerEntry
from functions.model.ids import RequestId
from functions.model.items.batch import CloseReason
from functions.model.rows import Rejection
from functions.model.streams import CACHE_BLOCK
from tests.unit.factories import JOB_ID, batch

ROWS = 2_000


def entries(id_bytes: int, rejection: Rejection | None = None) -> Iterator[LedgerEntry]:
    """Yield rows with a custom_id of this length."""
    custom_id = msgspec.Raw(b'"%b"' % (b"x" * id_bytes))
    sent = 0 if rejection else 1
    return (
        LedgerEntry(row, row, 0, 1, custom_id, 0, sent, rejection) for row in range(1, ROWS + 1)
    )


def results() -> bytes:
    line = b'{"custom_id":"%b","result":{"type":"succeeded","message":{}}}'
    ids = (str(RequestId(JOB_ID, "00001", 1, row)).encode() for row in range(1, ROWS + 1))
    return b"\n".join(line % custom_id for custom_id in ids)


@pytest.mark.parametrize("id_bytes", [0, 9, 20_000])
@pytest.mark.parametrize("rejection", [None, Rejection("too_deep", "line 1: no " * 20, 1)])
@pytest.mark.parametrize("text", [results(), b""], ids=["succeeded", "missing"])
def test_lines_are_written_in_blocks_of_limited_size(
    id_bytes: int, rejection: Rejection | None, text: bytes
) -> None:
    sent_batch = batch(requests=ROWS)
    blocks: list[bytes] = []
    services: Any = SimpleNamespace(
        files=SimpleNamespace(write=lambda _, lines: blocks.extend(lines))
    )
    with TemporaryFile() as file, TemporaryFile() as errors:
        result_set = ResultSet(sent_batch, [rejection is None] * ROWS, Spool(file, 1, ROWS))
        if rejection is None and text:
            result_set.add(text)
        merge = Merge(services, sent_batch, result_set, CloseReason.MISSING, errors, 1 << 30)

        merge_result = merge.write("work/results", entries(id_bytes, rejection), lambda: 900.0)

    assert sum(block.count(b"\n") for block in blocks) == ROWS
    assert max(map(len, blocks)) < CACHE_BLOCK + id_bytes + 1000
    assert sum(merge_result.counts.outcomes.values()) == ROWS
    assert len(blocks) < 2 + ROWS * (id_bytes + 1000) / CACHE_BLOCK
