"""Keep copies answered when their chunk is split between them and the row whose request they share."""

from array import array
from collections.abc import Iterable, Iterator

import msgspec

from functions.model.chunk_files import LedgerEntry
from functions.model.items.batch import Batch


def with_own_requests(
    half: Iterable[LedgerEntry], chunk: Iterable[LedgerEntry], batch: Batch
) -> Iterator[LedgerEntry]:
    """Yield the second half of a chunk. Of copies whose request is in the other half, the first gets one of its own.

    Args:
        half: the entries of the second half of a chunk.
        chunk: all entries of the chunk.
        batch: the chunk's batch.

    Yields:
        The entries of the half. Params may precede those of the entry before.
    """
    offsets, sizes = array("Q", bytes(8 * batch.rows)), array("Q", bytes(8 * batch.rows))
    for entry in chunk:
        slot = entry.row - batch.first_row
        offsets[slot], sizes[slot] = entry.params_offset, entry.params_size
    first_row, renamed = 0, dict[int, int]()
    for entry in half:
        first_row = first_row or entry.row
        if not entry.copy_of or entry.copy_of >= first_row:
            yield entry
        elif entry.copy_of in renamed:
            yield msgspec.structs.replace(entry, copy_of=renamed[entry.copy_of])
        else:
            renamed[entry.copy_of] = entry.row
            slot = entry.copy_of - batch.first_row
            yield msgspec.structs.replace(
                entry, copy_of=0, params_offset=offsets[slot], params_size=sizes[slot]
            )
