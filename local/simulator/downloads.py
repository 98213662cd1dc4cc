"""Stream a batch's results, with the armed faults applied."""

import itertools
import re
from collections.abc import Callable, Iterator

import msgspec

from local.simulator.batches import SimulatedBatch
from local.simulator.errors import not_found
from local.simulator.faults import ArmedFault, CallFacts
from local.simulator.http import Framing, Reply
from local.simulator.simulator import Simulator

_BLOCK_BYTES = 256 << 10


def results(simulator: Simulator, batch: SimulatedBatch, range_header: str | None = None) -> Reply:
    """Return the results of an ended batch; honors ``Range`` if ranges are enabled.

    Raises:
        ApiError: it has not ended, or its results are archived.
    """
    facts = CallFacts("results", batch.workspace, batch.id, len(batch.rows))
    if fault := simulator.fault("collect", facts):
        _remove(simulator, batch, fault)
    now_s = simulator.clock()
    if batch.deleted or batch.archived(now_s) or not batch.ended(now_s):
        message = f"Message Batch {batch.id} has no available results"
        raise not_found(message)
    row_faults = simulator.faults("rows", facts)
    cut = simulator.fault("stream", facts)
    range_match = re.fullmatch(r"bytes=(\d+)-", range_header or "") if simulator.ranges else None
    if cut is None and range_match:
        return _from_byte(lambda: _with_row_faults(batch.lines(), row_faults), int(range_match[1]))
    if cut is None:
        blocks = _blocks(_with_row_faults(batch.lines(), row_faults))
        return Reply(blocks, kind="application/x-jsonl", framing="chunked")
    return Reply(
        _blocks(_cut(_with_row_faults(batch.lines(), row_faults), len(batch.rows), cut)),
        kind="application/x-jsonl",
        framing=_framing(cut),
        length=sum(map(len, _with_row_faults(batch.lines(), row_faults))),
        cut=True,
    )


def _from_byte(lines: Callable[[], Iterator[bytes]], start: int) -> Reply:
    """Return the results from a byte offset on."""
    size = sum(map(len, lines()))
    if start >= size:
        return Reply(b"", 416, headers={"Content-Range": f"bytes */{size}"})
    return Reply(
        _blocks(_skip_bytes(lines(), start)),
        206,
        "application/x-jsonl",
        {"Content-Range": f"bytes {start}-{size - 1}/{size}"},
        framing="chunked",
    )


def _skip_bytes(lines: Iterator[bytes], start: int) -> Iterator[bytes]:
    for line in lines:
        if start < len(line):
            yield line[start:]
        start = max(start - len(line), 0)


def _remove(simulator: Simulator, batch: SimulatedBatch, fault: ArmedFault) -> None:
    if fault.name == "deleted_before_collection":
        simulator.forget(batch)
    else:
        batch.archive(simulator.clock())


def _framing(cut: ArmedFault) -> Framing:
    framing = cut.options["framing"]
    if framing == "chunked":
        return "chunked"
    return "close" if framing == "close" else "length"


def _blocks(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Join lines to larger blocks."""
    pending: list[bytes] = []
    size = 0
    for line in lines:
        pending.append(line)
        size += len(line)
        if size >= _BLOCK_BYTES:
            yield b"".join(pending)
            pending, size = [], 0
    if pending:
        yield b"".join(pending)


def _cut(lines: Iterator[bytes], count: int, fault: ArmedFault) -> Iterator[bytes]:
    """Yield the lines up to the cut; a cut inside a line keeps half of it."""
    rows = int(fault.number("rows"))
    yield from itertools.islice(lines, count // 2 if rows < 0 else rows)
    if fault.name == "cut_inside_line":
        line = next(lines, b"")
        yield line[: len(line) // 2]


def _with_row_faults(lines: Iterator[bytes], faults: list[ArmedFault]) -> Iterator[bytes]:
    """Apply each fault in turn to the first few lines."""
    for fault in faults:
        lines = _corrupt_lines(lines, fault.name, int(fault.number("rows")))
    return lines


def _corrupt_lines(lines: Iterator[bytes], name: str, rows: int) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        yield from _corrupt_line(line, name, number) if number < rows else (line,)


def _corrupt_line(line: bytes, name: str, number: int) -> tuple[bytes, ...]:
    """Return the lines that replace one line."""
    if name == "row_missing":
        return ()
    if name == "row_doubled":
        return (line, line)
    if name == "row_unreadable":
        return (line.replace(b'"result"', b'"result', 1),)
    if name == "row_foreign":
        return (_line(f"foreign-{number}", {"type": "expired"}), line)
    custom_id = str(msgspec.json.decode(line)["custom_id"])
    if name == "unknown_result_type":
        return (_line(custom_id, {"type": "postponed", "until": None}),)
    error = {"type": "unheard_of_error", "message": "Nobody has heard of this error."}
    body = {"type": "error", "error": error, "request_id": None}
    return (_line(custom_id, {"type": "errored", "error": body}),)


def _line(custom_id: str, result: dict[str, object]) -> bytes:
    return msgspec.json.encode({"custom_id": custom_id, "result": result}) + b"\n"
