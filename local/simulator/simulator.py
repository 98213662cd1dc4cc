"""The state behind the API: batches, armed faults and counters."""

import hashlib
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import msgspec

from local.simulator.answers import Answers
from local.simulator.batches import SimulatedBatch, StoredAnswers
from local.simulator.bill import SimulatedBill
from local.simulator.catalog import Moment, Option
from local.simulator.errors import ControlError
from local.simulator.faults import ArmedFault, CallFacts, Faults
from local.simulator.models import MODELS
from local.simulator.prompt_cache import CacheView, PromptCache
from local.simulator.requests import Request, Requests

_DEFAULT_KEYS: Mapping[str, str] = MappingProxyType({"sk-local": "default"})
ADMIN_KEY = "sk-ant-admin01-local"
_MINUTE_S = 60.0
# More calls per minute than the highest tier allows.
_MAX_CALLS_KEPT = 10_000
_NO_FATES: Mapping[str, float] = MappingProxyType({})


class Simulator:
    """The Message Batches API without HTTP; all methods are thread-safe.

    Args:
        folder: holds answers and incoming bodies; created if missing.
        keys: workspace by API key.
        processing_s: the time from a batch's creation to its end.
        expiry_s: the time from a batch's creation to its ``expires_at``.
        fates: share of requests by fate; see `local.simulator.answers`.
        seed: selects the requests with a fate, and the order of results.

    Raises:
        ValueError: a fate is unknown, or the shares add up to more than 1.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keys: Mapping[str, str] = _DEFAULT_KEYS,
        processing_s: float = 0.0,
        expiry_s: float = 86_400.0,
        fates: Mapping[str, float] = _NO_FATES,
        seed: int = 0,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.keys = dict(keys)
        self.admin_keys = {ADMIN_KEY}  # for the reports of usage and cost, and for nothing else
        self.processing_s = processing_s
        self.expiry_s = expiry_s
        self.url = "http://127.0.0.1"  # `serving` adds the port
        self.clock: Callable[[], float] = time.time  # seconds since 1970, for tests of 29 days
        self.ranges = False  # whether results honor `Range`, which is undocumented
        self._seed = seed
        self.models = set(MODELS)  # requests for any other are errored
        self._answers = Answers(fates, seed, self.models)
        self._faults = Faults()
        self._cache = PromptCache()
        self._lock = threading.RLock()
        self._batches: list[SimulatedBatch] = []
        self._calls: Counter[str] = Counter()
        self._recent: deque[float] = deque(maxlen=_MAX_CALLS_KEPT)
        self._accepted: Counter[str] = Counter()
        self._digests: Counter[bytes] = Counter()
        self._creates = 0

    # For tests and the control interface.

    def arm(self, name: str, times: int = 1, **options: Option) -> None:
        """Arm a fault of `local.simulator.catalog.FAULTS`.

        Args:
            name: the name of the fault.
            times: how often it happens; 0 means until `reset`.
            **options: its own options, and the filters of all faults (``FILTERS``).

        Raises:
            ControlError: no such fault or option; the message lists the valid ones.
        """
        self._faults.arm(name, times, options)

    def disarm(self) -> None:
        """Disarm every fault."""
        self._faults.clear()

    def accepted(self) -> dict[str, int]:
        """Return how often each custom_id was accepted, without foreign batches."""
        with self._lock:
            return dict(self._accepted)

    def accepted_params(self) -> dict[str, int]:
        """Return how often the same params were accepted, by the hex SHA-256 of their bytes."""
        with self._lock:
            return {digest.hex(): count for digest, count in self._digests.items()}

    def calls(self) -> dict[str, int]:
        """Return the number of calls by endpoint, including failed ones."""
        with self._lock:
            return dict(self._calls)

    def batches(self) -> list[dict[str, object]]:
        """Return all batches that are not deleted, newest first, as the API shows them."""
        with self._lock:
            candidates = [batch for batch in self._batches if not batch.deleted]
        return [self.to_json(batch) for batch in reversed(candidates)]

    def accounting(self) -> dict[str, object]:
        """Return all counters and the faults that are still armed."""
        with self._lock:
            batches_by_workspace = Counter(
                batch.workspace for batch in self._batches if not batch.deleted
            )
            return {
                "creates": {"received": self._calls["create"], "accepted": self._creates},
                "accepted": self.accepted(),
                "accepted_params": self.accepted_params(),
                "batches": dict(batches_by_workspace),
                "calls": self.calls(),
                "armed": self._faults.still_armed(),
            }

    def billed(self) -> dict[str, int]:
        """Return the number of billed answers of each ended batch, including deleted ones.

        Succeeded results are billed, even of a canceled batch. Foreign batches do not count.
        """
        with self._lock:
            now_s = self.clock()
            candidates = [
                batch for batch in self._batches if not batch.foreign and batch.ended(now_s)
            ]
            return {batch.id: batch.billed(now_s) for batch in candidates}

    def billed_ids(self, batch_id: str) -> Iterator[str]:
        """Return the custom_ids of a batch's billed answers, in the order of its results.

        Raises:
            ControlError: the batch never existed.
        """
        with self._lock:
            batch = next((b for b in self._batches if b.id == batch_id), None)
        if batch is None:
            message = f"there is no batch {batch_id}"
            raise ControlError(message)
        lines = batch.billed_lines(self.clock())
        return (line.split(b'"', 4)[3].decode() for line in lines)

    def bill(self) -> SimulatedBill:
        """Return what all answers of `billed` cost, by the simulator's own price list."""
        bill = SimulatedBill()
        with self._lock:
            now_s = self.clock()
            batches = [
                batch for batch in self._batches if not batch.foreign and batch.ended(now_s)
            ]
        for batch in batches:
            bill.add(batch.id, batch.billed_lines(now_s), batch.end_day())
        return bill

    def add_foreign(self, count: int, workspace: str = "default", *, ended: bool = True) -> str:
        """Let somebody else create a batch of this many requests; unended ones wait for `end`."""
        name = uuid.uuid4().hex[:8]
        params = msgspec.Raw(
            b'{"model":"claude-haiku-4-5","max_tokens":9,'
            b'"messages":[{"role":"user","content":"not yours"}]}'
        )
        items = (Request(f"foreign-{name}-{row}", params) for row in range(count))
        rows = self._answer(((item, 1) for item in items), "")
        return self._open(workspace, rows, 0.0 if ended else float("inf"), foreign=True).id

    def end(self, batch_id: str) -> None:
        """End the batch now."""
        with self._locked_batch(batch_id) as batch:
            batch.end(self.clock())

    def cancel(self, batch_id: str) -> None:
        """Cancel the batch, as somebody in the Console would."""
        with self._locked_batch(batch_id) as batch:
            now_s = self.clock()
            if batch.ended(now_s):
                message = f"the batch {batch_id} has ended: only one in progress can be canceled"
                raise ControlError(message)
            batch.cancel(now_s)

    def delete(self, batch_id: str) -> None:
        """Delete the batch, as somebody in the Console would."""
        with self._locked_batch(batch_id) as batch:
            self.forget(batch)

    def archive(self, batch_id: str) -> None:
        """Archive the batch: its results are gone, the batch is not."""
        with self._locked_batch(batch_id) as batch:
            batch.archive(self.clock())

    def reset(self) -> None:
        """Delete all batches, faults and counters."""
        with self._lock:
            for batch in self._batches:
                batch.rows.file.unlink(missing_ok=True)
            self._batches.clear()
            self._faults.clear()
            self._cache.clear()
            for account in (self._calls, self._accepted, self._digests):
                account.clear()
            self._recent.clear()
            self._creates = 0

    # For the endpoints.

    def count(self, endpoint: str) -> None:
        """Count a call."""
        with self._lock:
            self._calls[endpoint] += 1
            self._recent.append(self.clock())

    def recent(self) -> int:
        """Return the number of calls within the last minute, up to 10,000."""
        with self._lock:
            since = self.clock() - _MINUTE_S
            return sum(call_s > since for call_s in self._recent)

    def queued(self) -> int:
        """Return the number of requests in processing in all workspaces: limits are per organization."""
        with self._lock:
            now_s = self.clock()
            return sum(len(batch.rows) for batch in self._batches if not batch.ended(now_s))

    def fault(self, moment: Moment, facts: CallFacts) -> ArmedFault | None:
        """Return the fault that strikes this call."""
        return self._faults.first(moment, facts)

    def faults(self, moment: Moment, facts: CallFacts) -> list[ArmedFault]:
        """Return all faults that strike this call."""
        return self._faults.all_striking(moment, facts)

    def accept(self, workspace: str, requests: Requests, version: str) -> SimulatedBatch:
        """Create a batch of the requests."""
        seen_counts: list[int] = []
        with self._lock:
            self._creates += 1
            for item in requests.items:
                digest = hashlib.sha256(item.params).digest()
                seen_counts.append(self._digests[digest])
                self._digests[digest] += 1
                self._accepted[item.custom_id] += 1
        view = self._cache.view(workspace, self.clock())
        rows = self._answer(zip(requests.items, seen_counts, strict=True), version, view)
        batch = self._open(workspace, rows, self.processing_s)
        self._cache.add(batch, view)
        return batch

    def all_batches(self) -> list[SimulatedBatch]:
        """Return every batch of the organization, with those of others and those that are deleted."""
        with self._lock:
            return list(self._batches)

    def find(self, workspace: str, batch_id: str) -> SimulatedBatch | None:
        """Return the batch if it exists in the workspace."""
        with self._lock:
            return next(
                (
                    batch
                    for batch in self._batches
                    if batch.id == batch_id and batch.workspace == workspace and not batch.deleted
                ),
                None,
            )

    def listed(self, workspace: str) -> list[SimulatedBatch]:
        """Return the batches that one list call shows, newest first; counts down hidden ones."""
        with self._lock:
            candidates = [b for b in self._batches if b.workspace == workspace and not b.deleted]
            visible = [batch for batch in reversed(candidates) if not batch.listings]
            for batch in candidates:
                batch.listings = max(0, batch.listings - 1)
            return visible

    def number(self, workspace: str, batch_id: str) -> int | None:
        """Return the position of a batch in the order of creation, even if it is deleted."""
        with self._lock:
            candidates = (
                b for b in self._batches if b.workspace == workspace and b.id == batch_id
            )
            return next((batch.number for batch in candidates), None)

    def forget(self, batch: SimulatedBatch) -> None:
        """Delete the batch; its position remains for paging, and it stays billed."""
        with self._lock:
            batch.deleted = True

    def to_json(self, batch: SimulatedBatch, now_s: float | None = None) -> dict[str, object]:
        """Return the batch as the API shows it now, or at a given time."""
        with self._lock:
            return batch.to_json(self.clock() if now_s is None else now_s, self.url)

    def _answer(
        self,
        requests: Iterable[tuple[Request, int]],
        version: str,
        cache: CacheView | None = None,
    ) -> StoredAnswers:
        rows = StoredAnswers(self.folder / f"{uuid.uuid4().hex}.jsonl")
        with rows.file.open("wb", buffering=1 << 20) as file:
            for item, seen in requests:
                answer = self._answers.answer(
                    item.custom_id,
                    item.params,
                    row=len(rows),
                    seen=seen,
                    version=version,
                    cache=cache,
                )
                rows.add(answer.kind, file.write(answer.line))
        return rows

    def _open(
        self, workspace: str, rows: StoredAnswers, processing_s: float, *, foreign: bool = False
    ) -> SimulatedBatch:
        with self._lock:
            batch = SimulatedBatch(
                id=f"msgbatch_{uuid.uuid4().hex[:24]}",
                workspace=workspace,
                number=len(self._batches) + 1,
                rows=rows,
                seed=self._seed,
                created_s=self.clock(),
                processing_s=processing_s,
                expiry_s=self.expiry_s,
                foreign=foreign,
            )
            self._batches.append(batch)
            return batch

    @contextmanager
    def _locked_batch(self, batch_id: str) -> Iterator[SimulatedBatch]:
        with self._lock:
            candidates = (b for b in self._batches if b.id == batch_id and not b.deleted)
            if (batch := next(candidates, None)) is None:
                message = f"there is no batch {batch_id}"
                raise ControlError(message)
            yield batch
