"""Numbers with their nouns, as sentences for people have them."""


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 row``, ``2 batches``."""
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
