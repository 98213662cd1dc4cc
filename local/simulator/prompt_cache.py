"""The cache of prompts: which prefixes are in it, and what a request reads from it and writes to it.

An entry belongs to a workspace and a model. A batch reads only entries of batches that had ended when it was
created: requests of one batch run at the same time, so none reads what another writes. Each use renews an entry.
Source: docs/build-with-claude/prompt-caching, and anthropics/skills#1475 about batches.
"""

import threading
from array import array
from collections.abc import Mapping
from typing import NamedTuple

from local.simulator.batches import SimulatedBatch
from local.simulator.prompts import LIFETIMES_S, PromptBlock
from local.simulator.standard_prices import undated

LOOKBACK_BLOCKS = 20
"""How many blocks up to a mark are compared with the entries."""
LEAST_TOKENS = {
    "claude-opus-4-5": 4096,
    "claude-opus-4-6": 4096,
    "claude-haiku-4-5": 4096,
    "claude-opus-4-7": 2048,
    "claude-opus-4-1": 1024,
    "claude-opus-4-8": 1024,
    "claude-sonnet-4-5": 1024,
    "claude-sonnet-4-6": 1024,
    "claude-sonnet-5": 1024,
}
"""Model → the shortest prefix that is cached; 512 tokens for all others."""
_Key = tuple[str, str, bytes]
"""Workspace, model, digest of the prefix."""


class CacheUse(NamedTuple):
    """The tokens that a request reads from the cache and writes to it, by lifetime."""

    read: int = 0
    written_5m: int = 0
    written_1h: int = 0


class _Entry(NamedTuple):
    ttl: str
    expires_s: float


class _Touch(NamedTuple):
    """An entry that rows of a batch write or renew.

    Attributes:
        ttl: its lifetime.
        rows: the numbers of these rows in their batch, from 0.
    """

    ttl: str
    rows: "array[int]"


class CacheView:
    """The cache as one batch sees it, for its whole time.

    Args:
        workspace: that of the batch.
        entries: the entries when it was created.
    """

    def __init__(self, workspace: str, entries: Mapping[_Key, _Entry]) -> None:
        self._workspace = workspace
        self._entries = entries
        self.touched: dict[_Key, _Touch] = {}

    def use(self, row: int, model: str, blocks: list[PromptBlock]) -> CacheUse:
        """Return what a succeeded request reads and writes.

        Args:
            row: its number in the batch, from 0.
            model: its model.
            blocks: those of its prompt.
        """
        least = LEAST_TOKENS.get(undated(model), 512)
        marks = [n for n, block in enumerate(blocks) if block.ttl and block.tokens >= least]
        if not marks:
            return CacheUse()
        hit = self._longest_hit(model, blocks, marks)
        cached = 0 if hit is None else blocks[hit].tokens
        written = {"5m": 0, "1h": 0}
        before = cached
        if hit is not None:
            self._touch(row, model, blocks[hit], self._entry(model, blocks[hit]).ttl)
        for number in marks:
            if hit is None or number > hit:
                block = blocks[number]
                written[block.ttl] += block.tokens - before
                before = block.tokens
                self._touch(row, model, block, block.ttl)
        return CacheUse(cached, written["5m"], written["1h"])

    def _longest_hit(self, model: str, blocks: list[PromptBlock], marks: list[int]) -> int | None:
        """Return the number of the last block up to which an entry exists."""
        near = {n for mark in marks for n in range(max(0, mark - LOOKBACK_BLOCKS + 1), mark + 1)}
        hits = (
            n for n in sorted(near, reverse=True) if self._key(model, blocks[n]) in self._entries
        )
        return next(hits, None)

    def _entry(self, model: str, block: PromptBlock) -> _Entry:
        return self._entries[self._key(model, block)]

    def _key(self, model: str, block: PromptBlock) -> _Key:
        return self._workspace, undated(model), block.digest

    def _touch(self, row: int, model: str, block: PromptBlock, ttl: str) -> None:
        touch = self.touched.setdefault(self._key(model, block), _Touch(ttl, array("L")))
        touch.rows.append(row)


class PromptCache:
    """The entries of all workspaces; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[_Key, _Entry] = {}
        self._pending: list[tuple[SimulatedBatch, dict[_Key, _Touch]]] = []

    def view(self, workspace: str, now_s: float) -> CacheView:
        """Return the cache as a batch sees it that is created now."""
        with self._lock:
            self._settle(now_s)
            live = {key: entry for key, entry in self._entries.items() if entry.expires_s > now_s}
            return CacheView(workspace, live)

    def add(self, batch: SimulatedBatch, view: CacheView) -> None:
        """Let a batch that was created with this view write and renew entries once it has ended."""
        if view.touched:
            with self._lock:
                self._pending.append((batch, view.touched))

    def clear(self) -> None:
        """Delete all entries."""
        with self._lock:
            self._entries.clear()
            self._pending.clear()

    def _settle(self, now_s: float) -> None:
        """Apply what batches wrote that have ended since. Rows that did not finish wrote nothing."""
        ended = [pending for pending in self._pending if pending[0].ended(now_s)]
        self._pending = [pending for pending in self._pending if not pending[0].ended(now_s)]
        for batch, touched in sorted(ended, key=lambda pending: pending[0].end_time_s()):
            finished = set(batch.finished_rows())
            for key, touch in touched.items():
                if not finished.isdisjoint(touch.rows):
                    expires_s = batch.end_time_s() + LIFETIMES_S[touch.ttl]
                    old = self._entries.get(key)
                    if old is None or old.expires_s < expires_s:
                        self._entries[key] = _Entry(touch.ttl, expires_s)
