"""`warm_cache` and `equal_rows`, alone and together, in every situation that holds, releases or ends a job.

Whatever happens, the manifest, the ledger and the budgets' counters say what the simulator bills. Of equal requests,
the simulator lets one expire.
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import pytest

from functions.model.items.work_item import MICRO
from functions.model.spending import month_of
from tests.harness import Harness
from tests.integration.test_budgets import KEY, OPTIONS
from tests.integration.test_equal_rows import row
from tests.integration.test_warmups import MODEL, SYSTEM, batch_sizes

TEXTS = ["a", "a", "b", "a", "b", "c"]
HOUR_S = 3600.0
WARM, ONCE, BOTH = "warm_cache = true\n", 'equal_rows = "once"\n', 'warm_cache = true\nequal_rows = "once"\n'  # fmt: skip
ALL, NONE, PILOT_ALONE = "abc", "", "a"
"""The texts whose rows are answered."""
PILOT = "pilot_rows = 2\n"


def upload(relay: Harness, options: str, mark: str = "") -> None:
    relay.simulator.processing_s = 600.0
    relay.upload(OPTIONS, options.encode())
    texts = [f"{mark}{text}" for text in TEXTS]
    body = [row(f"id-{n}", text, model=MODEL, system=SYSTEM) for n, text in enumerate(texts, 1)]
    relay.pass_time(1)
    relay.upload(KEY, b"\n".join(body))


def run(relay: Harness, options: str, *, markers: tuple[str, ...] = (), mark: str = "") -> None:
    """Upload the rows, and each marker once the job waits for it."""
    upload(relay, options, mark)
    for marker in markers:
        for _ in range(5):
            relay.tick(601.0)
        relay.upload(KEY + marker, b"")
    relay.finish()


def pass_deadline(relay: Harness, options: str) -> None:
    """Leave the rest of the pilot waiting for its marker."""
    upload(relay, f"{options}{PILOT}deadline_hours = 5\n")
    for _ in range(6):
        relay.tick(HOUR_S)
    relay.finish()


def held(options: str) -> str:
    return f"{options}budget_usd = 0.0001\n"


SITUATIONS: dict[str, tuple[Callable[[Harness, str], None], str, dict[str, list[int]]]] = {
    # name: what happens, the texts whose rows are answered, and the requests of each batch under each option
    "nothing else": (run, ALL, {WARM: [1, 5], ONCE: [3], BOTH: [1, 2]}),
    "held, then released": (
        lambda relay, options: run(relay, held(options), markers=(".go",)),
        ALL, {WARM: [1, 5], ONCE: [3], BOTH: [1, 2]},
    ),
    "held, then canceled": (
        lambda relay, options: run(relay, held(options), markers=(".cancel",)),
        NONE, {WARM: [], ONCE: [], BOTH: []},
    ),
    "held, then a pilot, then the rest": (
        lambda relay, options: run(relay, held(options + PILOT), markers=(".go", ".go")),
        ALL, {WARM: [2, 4], ONCE: [1, 2], BOTH: [1, 2]},
    ),
    "a pilot, then canceled": (
        lambda relay, options: run(relay, options + PILOT, markers=(".cancel",)),
        PILOT_ALONE, {WARM: [2], ONCE: [1], BOTH: [1]},
    ),
    "a pilot, then the deadline": (
        pass_deadline, PILOT_ALONE, {WARM: [2], ONCE: [1], BOTH: [1]},
    ),
    "answers end at max_tokens": (
        lambda relay, options: run(relay, f"{options}retry_truncated = {{factor = 2}}\n", mark="[needs:100]"),
        ALL, {WARM: [1, 1, 5, 5], ONCE: [3, 3], BOTH: [1, 1, 2, 2]},
    ),
    "answers expire": (partial(run, mark="[fate:expired]"), ALL, {WARM: [1, 1, 5, 3], ONCE: [3, 3], BOTH: [1, 1, 2, 2]}),
}  # fmt: skip


@pytest.mark.parametrize(("situation", "options"), [*product(SITUATIONS, [WARM, ONCE, BOTH])])
def test_each_row_has_its_answer_and_each_request_is_billed_once(
    relay: Harness, situation: str, options: str
) -> None:
    happens, answered, sizes = SITUATIONS[situation]
    happens(relay, options)

    lines = relay.lines(KEY)
    assert [line["custom_id"] for line in lines] == [f"id-{n}" for n in range(1, 7)]
    types = [line["result"]["type"] for line in lines]
    is_answered = [text in answered for text in TEXTS]
    if answered == PILOT_ALONE and options == WARM:
        is_answered[3] = (
            False  # the pilot has two rows, and a later one that equals them was not sent
        )
    assert types == ["succeeded" if answer else "canceled" for answer in is_answered]
    assert sorted(batch_sizes(relay)) == sorted(sizes[options])
    bill, manifest = relay.simulator.bill().usd, relay.manifest(KEY)
    assert manifest["cost_usd"] == pytest.approx(bill, abs=1e-6)
    [entry] = relay.poll.cost_ledger.entries(f"ledger/{month_of(relay.now())}")
    assert entry.cost_usd == f"{manifest['cost_usd']:.6f}"
    counters = relay.poll.spending.counters(month_of(relay.now()))
    spent_usd = sum(counter.micro_usd for counter in counters) / MICRO
    assert spent_usd == pytest.approx(bill, abs=len(sizes[options]) / MICRO)
    assert bill <= manifest["estimate"]["cost_usd"]["worst"]


def test_tokens_are_counted_in_the_first_chunk_that_sends_more_than_warmups(
    relay: Harness,
) -> None:
    """The chunk after the warm-up may have nothing but copies."""
    relay.deploy(requests_per_batch=2)
    relay.upload(OPTIONS, BOTH.encode())
    texts = ["a", "a", "a", "b", "c"]
    body = [row(f"id-{n}", text, model=MODEL, system=SYSTEM) for n, text in enumerate(texts, 1)]
    relay.upload(KEY, b"\n".join(body))
    relay.finish()

    manifest = relay.manifest(KEY)
    assert [batch["requests"] for batch in manifest["batches"]] == [1, 0, 0, 2]
    assert manifest["estimate"]["counted_rows"] == 2
