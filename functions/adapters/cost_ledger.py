"""The cost ledger's entries in the table."""

from collections.abc import Iterator

import msgspec

from functions.adapters.table import Table
from functions.model.cost_ledger import CostEntry


class CostLedger:
    """The store of cost entries. `WorkItems.transition` creates them."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def entries(
        self, month: str, first_day: str = "0", last_day: str = "9"
    ) -> Iterator[CostEntry]:
        """Yield the entries of a month, ``ledger/2026-11``, or of some of its days, by the time when their jobs ended."""
        condition = "job = :job AND #item BETWEEN :low AND :high"
        values = {":job": month, ":low": first_day, ":high": f"{last_day}~"}
        for item in self._table.query(condition, values):
            yield msgspec.convert(item, CostEntry)

    def newest(self, month: str, limit: int) -> Iterator[CostEntry]:
        """Yield the entries of a month, the newest first, in pages of `limit`."""
        condition, values = "job = :job", {":job": month}
        for item in self._table.query(condition, values, limit=limit, newest_first=True):
            yield msgspec.convert(item, CostEntry)

    def close(self, entry: CostEntry) -> None:
        """Remove an entry from the index of unfinished items, because it is in the file of its month."""
        changes = {"open": None, "status_key": None}
        expected = {"status_key": entry.status_key}
        self._table.write(self._table.update(entry.job, entry.item, changes, expected))
