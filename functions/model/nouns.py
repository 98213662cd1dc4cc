"""Numbers with their nouns or their currency, for sentences."""

_CENT = 0.01


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 row``, ``2 batches``."""
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def dollars(usd: float) -> str:
    """Return an amount: ``$1,234.50``; if it is less than a cent, up to millionths: ``$0.0001``."""
    return f"${usd:.6f}".rstrip("0") if 0 < usd < _CENT else f"${usd:,.2f}"
