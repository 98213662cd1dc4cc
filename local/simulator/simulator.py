"""The state behind the API: the batches of each workspace, the armed faults, the accounts."""

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
from local.simulator.batches import Batch, Rows
from local.simulator.catalog import Moment, Option
from local.simulator.errors import ControlError
from local.simulator.faults import ArmedFault, CallFacts, Faults
from local.simulator.models import MODELS
from local.simulator.requests import Request, Requests

_DEFAULT_KEYS: Mapping[str, str] = MappingProxyType({"sk-local": "default"})
_MINUTE_S = 60.0
# Of the calls of the last minute, no more are kept than the highest tier may make, and some.
_MAX_CALLS_KEPT = 10_000
_NO_FATES: Mapping[str, float] = MappingProxyType({})


class Simulator:
    """The Message Batches API, without HTTP around it; every method may be called in any thread.

    Args:
        folder: answers lie there, and bodies on their way in; it is made if it is missing.
        keys: workspace by API key.
        processing_s: from a batch's creation to its end.
        expiry_s: from a batch's creation to its ``expires_at``; a batch that takes longer expires.
        fates: share of requests that go wrong, by fate; see `local.simulator.answers`.
        seed: chooses which ones, and the order of results.

    Raises:
        ValueError: an unknown fate, or shares of more than 1 together.
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
        self.processing_s = processing_s
        self.expiry_s = expiry_s
        self.url = "http://127.0.0.1"  # `serving` puts the port
        self.clock: Callable[[], float] = time.time  # seconds since 1970, for tests of 29 days
        self.ranges = False  # whether results honor `Range`, of which no documentation tells
        self._seed = seed
        self.models = set(MODELS)  # requests for any other are errored
        self._answers = Answers(fates, seed, self.models)
        self._faults = Faults()
        self._lock = threading.RLock()
        self._batches: list[Batch] = []
        self._calls: Counter[str] = Counter()
        self._recent: deque[float] = deque(maxlen=_MAX_CALLS_KEPT)
        self._accepted: Counter[str] = Counter()
        self._digests: Counter[bytes] = Counter()
        self._creates = 0

    # What a test or a person asks for.

    def arm(self, name: str, times: int = 1, **options: Option) -> None:
        """Order a fault of `local.simulator.faults.FAULTS`.

        Args:
            name: as in that table.
            times: how often it happens; 0 is until `reset`.
            **options: its own, and the filters that all have (``FILTERS``).

        Raises:
            ControlError: no such fault or option; the message names those that there are.
        """
        self._faults.arm(name, times, options)

    def disarm(self) -> None:
        """Take back every fault."""
        self._faults.clear()

    def accepted(self) -> dict[str, int]:
        """How often each custom_id was accepted by a create; foreign batches do not count."""
        with self._lock:
            return dict(self._accepted)

    def accepted_params(self) -> dict[str, int]:
        """How often the same params were accepted, by the SHA-256 of their bytes, in hex."""
        with self._lock:
            return {digest.hex(): count for digest, count in self._digests.items()}

    def calls(self) -> dict[str, int]:
        """How many calls came in by endpoint, whatever became of them."""
        with self._lock:
            return dict(self._calls)

    def batches(self) -> list[dict[str, object]]:
        """All batches that are not deleted, newest first, as the API shows them."""
        with self._lock:
            candidates = [batch for batch in self._batches if not batch.deleted]
        return [self.to_json(batch) for batch in reversed(candidates)]

    def accounting(self) -> dict[str, object]:
        """All accounts in one: what `accepted` and the others say, and what is still armed."""
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
        """How many answers of each batch that has ended are paid for, also of deleted ones.

        They are its succeeded results, also where it was canceled. Foreign batches do not count.
        """
        with self._lock:
            now_s = self.clock()
            candidates = [
                batch for batch in self._batches if not batch.foreign and batch.ended(now_s)
            ]
            return {batch.id: batch.billed(now_s) for batch in candidates}

    def billed_ids(self, batch_id: str) -> Iterator[str]:
        """The custom_ids of a batch's answers that are paid for, in the order of its results.

        Raises:
            ControlError: there never was such a batch.
        """
        with self._lock:
            batch = next((b for b in self._batches if b.id == batch_id), None)
        if batch is None:
            message = f"there is no batch {batch_id}"
            raise ControlError(message)
        return batch.billed_ids(self.clock())

    def add_foreign(self, count: int, workspace: str = "default", *, ended: bool = True) -> str:
        """Let somebody else create a batch of so many requests; unended ones wait for `end`."""
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
        """Forget all batches, faults and accounts."""
        with self._lock:
            for batch in self._batches:
                batch.rows.file.unlink(missing_ok=True)
            self._batches.clear()
            self._faults.clear()
            for account in (self._calls, self._accepted, self._digests):
                account.clear()
            self._recent.clear()
            self._creates = 0

    # What the endpoints ask for.

    def count(self, endpoint: str) -> None:
        """Note a call."""
        with self._lock:
            self._calls[endpoint] += 1
            self._recent.append(self.clock())

    def recent(self) -> int:
        """How many calls came in within the last minute, up to 10,000."""
        with self._lock:
            since = self.clock() - _MINUTE_S
            return sum(call_s > since for call_s in self._recent)

    def queued(self) -> int:
        """How many requests are in processing, in all workspaces: limits are the organization's."""
        with self._lock:
            now_s = self.clock()
            return sum(len(batch.rows) for batch in self._batches if not batch.ended(now_s))

    def fault(self, moment: Moment, facts: CallFacts) -> ArmedFault | None:
        """The fault that strikes here."""
        return self._faults.first(moment, facts)

    def faults(self, moment: Moment, facts: CallFacts) -> list[ArmedFault]:
        """All faults that strike here."""
        return self._faults.all_striking(moment, facts)

    def accept(self, workspace: str, requests: Requests, version: str) -> Batch:
        """Make a batch of the requests."""
        seen_counts: list[int] = []
        with self._lock:
            self._creates += 1
            for item in requests.items:
                digest = hashlib.sha256(item.params).digest()
                seen_counts.append(self._digests[digest])
                self._digests[digest] += 1
                self._accepted[item.custom_id] += 1
        rows = self._answer(zip(requests.items, seen_counts, strict=True), version)
        return self._open(workspace, rows, self.processing_s)

    def find(self, workspace: str, batch_id: str) -> Batch | None:
        """The batch, if it is there and the workspace's."""
        with self._lock:
            return next(
                (
                    batch
                    for batch in self._batches
                    if batch.id == batch_id and batch.workspace == workspace and not batch.deleted
                ),
                None,
            )

    def listed(self, workspace: str) -> list[Batch]:
        """What one list call may show, newest first; counts as one for those that hide."""
        with self._lock:
            candidates = [b for b in self._batches if b.workspace == workspace and not b.deleted]
            visible = [batch for batch in reversed(candidates) if not batch.listings]
            for batch in candidates:
                batch.listings = max(0, batch.listings - 1)
            return visible

    def number(self, workspace: str, batch_id: str) -> int | None:
        """The place of a batch in the order of creation, also of a deleted one."""
        with self._lock:
            candidates = (
                b for b in self._batches if b.workspace == workspace and b.id == batch_id
            )
            return next((batch.number for batch in candidates), None)

    def forget(self, batch: Batch) -> None:
        """Delete the batch; its place in the order remains, for paging, and so does its bill."""
        with self._lock:
            batch.deleted = True

    def to_json(self, batch: Batch, now_s: float | None = None) -> dict[str, object]:
        """The batch as the API shows it now, or at that time."""
        with self._lock:
            return batch.to_json(self.clock() if now_s is None else now_s, self.url)

    def _answer(self, requests: Iterable[tuple[Request, int]], version: str) -> Rows:
        rows = Rows(self.folder / f"{uuid.uuid4().hex}.jsonl")
        with rows.file.open("wb", buffering=1 << 20) as file:
            for item, seen in requests:
                answer = self._answers.answer(
                    item.custom_id, item.params, seen=seen, version=version
                )
                rows.add(answer.kind, file.write(answer.line))
        return rows

    def _open(
        self, workspace: str, rows: Rows, processing_s: float, *, foreign: bool = False
    ) -> Batch:
        with self._lock:
            batch = Batch(
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
    def _locked_batch(self, batch_id: str) -> Iterator[Batch]:
        with self._lock:
            candidates = (b for b in self._batches if b.id == batch_id and not b.deleted)
            if (batch := next(candidates, None)) is None:
                message = f"there is no batch {batch_id}"
                raise ControlError(message)
            yield batch
