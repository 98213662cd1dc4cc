"""Find long prefixes that rows share. The first row of each is sent alone, so that the others read it from the cache.

Requests of one batch run side by side, so each of them would write the prefix that they share. What a batch wrote,
later batches read: https://github.com/anthropics/skills/issues/1475. A write costs more than an uncached prefix, and a
read a tenth or less. So the second row of a prefix already pays for the entry's lifetime of an hour.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.model.capabilities import capabilities_of, list_of
from functions.model.estimate import BYTES_PER_TOKEN
from functions.model.rows import Record, Row, ValidRows
from functions.planning.fast_path import ValidatedRow
from functions.planning.validation import has_too_many_values

MAX_PREFIXES = 20
"""The most prefixes of a job that are warmed up. Each is a batch of one request."""
LIFETIME_CHANGE = "cache_control.ttl"
"""The name in the manifest of a changed lifetime."""
_LIFETIME = "1h"
_MARK = "cache_control"
_Rows = ValidRows | ValidatedRow


class _Prompt(msgspec.Struct, gc=False):
    model: str
    tools: list[msgspec.Raw] | None = None
    system: list[msgspec.Raw] | str | None = None


class _Block(msgspec.Struct, gc=False):
    cache_control: dict[str, Any] | None = None


_prompts = msgspec.json.Decoder(_Prompt)
_blocks = msgspec.json.Decoder(_Block)


def mark_warmups(
    rows: Iterator[_Rows], warmed_prefixes: Sequence[str], capability_list: str | None
) -> Iterator[_Rows]:
    """Yield rows with the first one of each shared prefix alone and marked. Rows share it if they are close to each other.

    Args:
        rows: valid and rejected rows, in order.
        warmed_prefixes: the prefixes of the job that earlier rows warm up.
        capability_list: the version of the list that says how long a prefix must be.
    """
    known = {*warmed_prefixes}
    current: _Rows | None = None
    prefixes: list[str | None] = []
    for following in chain(rows, [None]):
        ahead = [prefix_of(params, capability_list) for params in _params_of(following)]
        if current is not None:
            counts = Counter([*prefixes, *ahead])
            yield from _separate(current, _first_rows(prefixes, counts, known))
        current, prefixes = following, ahead


def _params_of(rows: _Rows | None) -> Sequence[bytes | msgspec.Raw]:
    if isinstance(rows, ValidRows):
        return rows.params
    return [b"" if rows is None or rows[1].params is None else rows[1].params]


def _first_rows(
    prefixes: Sequence[str | None], counts: Counter[str | None], known: set[str]
) -> dict[int, str]:
    """Return which rows are the first of a prefix that others share. Add their prefixes to the known ones."""
    first = dict[int, str]()
    for number, prefix in enumerate(prefixes):
        is_new = prefix is not None and prefix not in known and counts[prefix] > 1
        if is_new and prefix is not None and len(known) < MAX_PREFIXES:
            first[number] = prefix
            known.add(prefix)
    return first


def _separate(rows: _Rows, first: dict[int, str]) -> Iterator[_Rows]:
    """Yield rows again, with the first ones of a prefix alone and marked."""
    if not isinstance(rows, ValidRows):
        yield (rows[0], _warmup(rows[1], first[0])) if first else rows
        return
    begin = 0
    for number, prefix in first.items():
        before, rest = rows.cut(number - begin)
        first_row, rows = rest.cut(1)
        if before.offsets:
            yield before
        record = Record(
            first_row.line, 1, first_row.offsets[0], first_row.sizes[0], None, first_row.end
        )
        yield (
            record,
            _warmup(Row(first_row.custom_ids[0], bytes(first_row.params[0]), None), prefix),
        )
        begin = number + 1
    if rows.offsets:
        yield rows


def _warmup(row: Row, prefix: str) -> Row:
    params, is_changed = _with_lifetime(row.params or b"")
    changes = (*row.changes, LIFETIME_CHANGE) if is_changed else row.changes
    return msgspec.structs.replace(
        row,
        params=params,
        changes=changes,
        warmup_prefix=prefix,
        own_params=row.params if is_changed else None,
    )


def prefix_of(params: bytes | msgspec.Raw, capability_list: str | None = None) -> str | None:
    """Return a digest of the tools and system that a request asks to cache; None if there are none, or too few.

    The digest is that of the bytes, so the same prefix written differently counts as another one.
    """
    if b'"cache_control"' not in bytes(params):
        return None
    try:
        prompt = _prompts.decode(params)
        blocks = [
            *(prompt.tools or ()),
            *(() if isinstance(prompt.system, str) else prompt.system or ()),
        ]
        marked = [n for n, block in enumerate(blocks, 1) if _blocks.decode(block).cache_control]
    except UNREADABLE_JSON:
        return None
    prefix = b",".join(blocks[: max(marked, default=0)])
    if len(prefix) < _least_tokens(prompt.model, capability_list) * BYTES_PER_TOKEN:
        return None
    digest = hashlib.blake2b(prefix, digest_size=8, person=b"prefix")
    digest.update(prompt.model.encode())
    return digest.hexdigest()


def _least_tokens(model: str, capability_list: str | None) -> int:
    capabilities = capabilities_of(model, capability_list) or list_of(capability_list).unknown
    return capabilities.least_cacheable_tokens


def _with_lifetime(params: bytes) -> tuple[bytes, bool]:
    """Return params of which tools and system are cached for an hour, and whether that changes them.

    All marks change, because the API refuses a longer lifetime after a shorter one.
    """
    if has_too_many_values(params):
        return params, False
    try:
        request = msgspec.json.decode(params)
    except UNREADABLE_JSON:  # numbers too large for Python; the request keeps its own lifetime
        return params, False
    marks = [
        block[_MARK]
        for block in chain(request.get("tools") or (), request.get("system") or ())
        if isinstance(block, dict) and block.get(_MARK)
    ]
    if all(mark.get("ttl") == _LIFETIME for mark in marks):
        return params, False
    for mark in marks:
        mark["ttl"] = _LIFETIME
    return msgspec.json.encode(request), True
