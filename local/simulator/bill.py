"""The bill for the answers of all batches."""

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import msgspec

from local.simulator.standard_prices import micro_usd

_MICRO = 1_000_000


class BilledMessage(msgspec.Struct):
    """An answer that is billed: its model, and what it used."""

    model: str
    usage: dict[str, Any]


class _Result(msgspec.Struct):
    message: BilledMessage


class _Line(msgspec.Struct):
    result: _Result


_decoder = msgspec.json.Decoder(_Line)


def read_message(line: bytes) -> BilledMessage:
    """Read the answer in a line of results."""
    return _decoder.decode(line).result.message


class SimulatedBill:
    """What answers cost in US dollars, without rounding until the end.

    Attributes:
        unpriced: model without a price → its answers, which are not in the sums.
    """

    def __init__(self) -> None:
        self._micro_usd: dict[str, Fraction] = {}
        self.unpriced: Counter[str] = Counter()

    def add(self, batch_id: str, lines: Iterable[bytes], day: str) -> None:
        """Add the answers of a batch.

        Args:
            batch_id: its id.
            lines: the lines of results of its answers.
            day: the day on which it ended, in ISO 8601, UTC.
        """
        total = Fraction()
        for line in lines:
            message = read_message(line)
            cost = micro_usd(message.model, message.usage, day)
            if cost is None:
                self.unpriced[message.model] += 1
            else:
                total += cost
        self._micro_usd[batch_id] = total

    @property
    def usd(self) -> float:
        """The sum over all batches."""
        return float(sum(self._micro_usd.values(), Fraction()) / _MICRO)

    @property
    def batches(self) -> dict[str, float]:
        """Batch id → its sum."""
        return {name: float(total / _MICRO) for name, total in self._micro_usd.items()}

    def to_json(self) -> dict[str, object]:
        """Return it as the control interface shows it."""
        return {"usd": self.usd, "batches": self.batches, "unpriced": dict(self.unpriced)}
