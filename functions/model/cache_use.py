"""The figures of a job's manifest about the cache of prompts."""

from collections.abc import Iterable
from typing import Any

from functions.model.items.counts import Usage

_READ = ("cache_read_input_tokens",)
_WRITTEN = ("cache_creation_input_tokens", "cache_creation_1h_input_tokens")


def cache_figures(usages: Iterable[Usage], warmed_prefixes: int) -> dict[str, Any]:
    """Return how much was read from the cache.

    Args:
        usages: what each model used.
        warmed_prefixes: the prefixes that were sent first.

    Returns:
        ``hit_rate`` is the share of the cached tokens that were read; None if there were none.
    """
    counted = [*usages]
    read, written = _tokens(counted, _READ), _tokens(counted, _WRITTEN)
    return {
        "read_tokens": read,
        "written_tokens": written,
        "hit_rate": round(read / (read + written), 4) if read + written else None,
        "warmed_prefixes": warmed_prefixes,
    }


def _tokens(usages: Iterable[Usage], names: Iterable[str]) -> int:
    both = [tier + name for name in names for tier in ("", "long_")]
    return sum(usage.get(name, 0) for usage in usages for name in both)
