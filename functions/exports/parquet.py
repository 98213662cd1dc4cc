"""results.parquet: what results.csv has, with the columns of a Parquet upload in their own types.

Parquet cannot be joined from parts, so the parts are JSON Lines. `functions.assembling.results_parquet` makes the file of them.
"""

from collections.abc import Iterator

import msgspec

from functions.exports import results_csv
from functions.exports.contract import ExportContext, ExportRow, JobSummary

PATH = "results.parquet"
_encode = msgspec.json.Encoder().encode


def paths(_context: ExportContext) -> tuple[str, ...]:
    """Return the path of the only file."""
    return (PATH,)


def head(_path: str, _context: ExportContext) -> bytes:
    """Return nothing: each line has the numbers of its columns."""
    return b""


def lines(row: ExportRow, context: ExportContext) -> Iterator[tuple[str, bytes]]:
    """Yield the row with its answer as a JSON object: number of the column → text, tokens as numbers."""
    cells = results_csv.unguarded_cells(row, context)
    yield PATH, _encode({str(number): cell for number, cell in enumerate(cells)}) + b"\n"


def closing(_summary: JobSummary, _context: ExportContext) -> dict[str, bytes]:
    """Return no files."""
    return {}
