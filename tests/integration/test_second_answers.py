"""Rows whose answers end at max_tokens are sent once more with a larger max_tokens. No paid answer is lost or left out of the cost.

The simulator's answer to ``[needs:300]`` has 300 tokens, or ends at `max_tokens` if that is less.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from functions.model import spending
from tests.harness import RESULTS, Harness, make_row
from tests.integration.deleted_files import pass_hours, tick_until_sent
from tests.verification.crash.jobs import HALF_PRICES

KEY, OPTIONS = "in/march.jsonl", "in/_relay.toml"
TWICE = b"retry_truncated = {factor = 2, most = 1000}"
HAIKU = "claude-haiku-4-5"
INPUT_PRICE, OUTPUT_PRICE = HALF_PRICES[HAIKU]
INPUT_TOKENS = 10
HOUR_S = 3600.0


def row(number: int, marker: str, max_tokens: int = 200) -> bytes:
    """Return a row that is billed for ten input tokens."""
    return make_row(
        number, f'{marker}[usage:{{"input_tokens":{INPUT_TOKENS}}}]', max_tokens=max_tokens
    )


def usd(*output_tokens: int) -> float:
    """Return what requests cost whose answers have this many tokens."""
    tokens = INPUT_TOKENS * len(output_tokens) * INPUT_PRICE + sum(output_tokens) * OUTPUT_PRICE
    return round(tokens / 1e6, 6)


def start(relay: Harness, *rows: bytes, options: bytes = TWICE) -> None:
    relay.upload(OPTIONS, options)
    relay.upload(KEY, b"\n".join(rows))


def answers(relay: Harness) -> list[tuple[str, int | None]]:
    """Return the stop reason, or the type, of each row's result, and its output tokens."""
    found: list[tuple[str, int | None]] = []
    for line in relay.lines(KEY):
        message = line["result"].get("message")
        if message is None:
            found.append((line["result"]["type"], None))
        else:
            found.append((message["stop_reason"], message["usage"]["output_tokens"]))
    return found


END, FULL = "end_turn", "max_tokens"
CASES: list[tuple[str, list[bytes], bytes, list[tuple[str, int | None]], list[int], int]] = [
    # name, rows, options, results, billed output tokens, rows with a raised max_tokens
    ("fits the second time", [row(1, "[needs:300]"), row(2, "[needs:150]")], TWICE, [(END, 300), (END, 150)], [200, 300, 150], 1),
    ("thinking takes all", [row(1, "[thinks:250][needs:50]")], TWICE, [(END, 300)], [200, 300], 1),
    ("only once", [row(1, "[needs:900]")], TWICE, [(FULL, 400)], [200, 400], 1),
    ("at most `most`", [row(1, "[needs:900]", 600), row(2, "[needs:2000]", 1000)], TWICE, [(END, 900), (FULL, 1000)], [600, 900, 1000], 1),
    ("none may have more", [row(1, "[needs:2000]", 1000)], TWICE, [(FULL, 1000)], [1000], 0),
    ("the second request fails", [row(1, "[fate:api_error][needs:300]")], TWICE, [(FULL, 200)], [200], 1),
    ("together with retryable rows", [row(1, "[needs:300]"), row(2, "[fate:expired][needs:150]")], TWICE, [(END, 300), (END, 150)], [200, 300, 150], 1),
    ("off by default", [row(1, "[needs:300]")], b"", [(FULL, 200)], [200], 0),
    ("turned off by the factor", [row(1, "[needs:300]")], b"retry_truncated = {factor = 1}", [(FULL, 200)], [200], 0),
    ("other reasons", [row(1, "[fate:refusal][needs:20]"), row(2, "[fate:model_context_window_exceeded][needs:90]")], TWICE, [("refusal", 20), ("model_context_window_exceeded", 90)], [20, 90], 0),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "options", "results", "billed", "raised"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])  # fmt: skip
def test_a_truncated_row_is_sent_once_more_and_every_answer_is_billed(
    relay: Harness,
    rows: list[bytes],
    options: bytes,
    results: list[tuple[str, int | None]],
    billed: list[int],
    raised: int,
) -> None:
    start(relay, *rows, options=options)
    relay.finish()

    manifest = relay.manifest(KEY)
    assert answers(relay) == results
    assert [line["row"] for line in relay.lines(KEY)] == [*range(1, len(rows) + 1)]
    assert manifest["sent_with_raised_max_tokens"] == raised
    assert manifest["truncated"] == sum(
        reason in {FULL, "model_context_window_exceeded"} for reason, _ in results
    )
    assert sum(manifest["counts"].values()) == len(rows)
    assert manifest["usage"][HAIKU]["output_tokens"] == sum(billed)
    assert manifest["cost_usd"] == usd(*billed) == pytest.approx(relay.simulator.bill().usd)


def test_without_another_attempt_no_row_is_sent_once_more(relay: Harness) -> None:
    relay.deploy(attempts=1)
    start(relay, row(1, "[needs:300]"))
    relay.finish()

    assert answers(relay) == [(FULL, 200)]
    assert relay.manifest(KEY)["settings"]["retry_truncated"] is None


def cancel(relay: Harness) -> None:
    relay.upload(f"{KEY}.cancel", b"")


def fail(relay: Harness, fault: str, **options: Any) -> None:
    """Let every further download fail, until waiting cannot help any more."""
    relay.simulator.arm(fault, times=0, **options)
    for _ in range(127):
        relay.tick(6 * HOUR_S)


def lose_ledger(relay: Harness) -> None:
    batch = relay.items.batch(relay.items.unfinished().jobs[0].job, "00001-2")
    assert batch is not None
    relay.s3.delete_object(Bucket=RESULTS, Key=batch.ledger_key)
    pass_hours(relay)


FIRST, BOTH = [(FULL, 200), (END, 150)], [(END, 300), (END, 150)]
TROUBLE = [
    ("canceled", cancel, FIRST, usd(200, 150), None),
    ("deleted", partial(fail, fault="deleted_before_collection"), FIRST, None, "1 rows were sent and their results are lost"),
    ("incomplete", partial(fail, fault="row_missing"), FIRST, None, "1 rows were sent and their results are lost"),
    ("never received", partial(fail, fault="server_error", endpoint="results"), FIRST, None, "1 rows were sent and their results are lost"),
    ("without its ledger", lose_ledger, BOTH, usd(200, 300, 150), None),
]  # fmt: skip


@pytest.mark.parametrize(("trouble", "results", "cost_usd", "problem"), [case[1:] for case in TROUBLE], ids=[case[0] for case in TROUBLE])  # fmt: skip
def test_trouble_with_the_second_answer_never_costs_the_first(
    relay: Harness,
    trouble: Callable[[Harness], None],
    results: list[tuple[str, int | None]],
    cost_usd: float | None,
    problem: str | None,
) -> None:
    relay.simulator.processing_s = 600.0
    start(relay, row(1, "[needs:300]"), row(2, "[needs:150]"))
    tick_until_sent(relay, attempt=2)

    trouble(relay)
    relay.finish()

    manifest = relay.manifest(KEY)
    assert answers(relay) == results
    assert manifest["counts"] == {"succeeded": 2}
    assert manifest["cost_usd"] == cost_usd
    assert manifest["cost_usd_known"] == (cost_usd or usd(200, 150))
    assert problem is None or problem in manifest["prices"]["problem"]


def test_the_params_of_the_second_request_differ_in_max_tokens_alone(relay: Harness) -> None:
    params = b'{ "max_tokens":200,"model":"%b",\t"messages":[{"role":"user","content":"[needs:300] caf\\u00e9"}]}'
    start(relay, b'{"custom_id":"a","params":%b}' % (params % HAIKU.encode()))
    relay.finish()

    first = params % HAIKU.encode()
    sent = [first, first.replace(b"200", b"400")]
    assert relay.simulator.accepted_params() == {
        hashlib.sha256(one).hexdigest(): 1 for one in sent
    }


def test_the_option_is_frozen_when_planning_begins(relay: Harness) -> None:
    relay.simulator.processing_s = HOUR_S
    start(relay, row(1, "[needs:300]"))
    relay.tick()
    relay.upload(OPTIONS, b"retry_truncated = {factor = 5}")
    relay.finish()

    assert relay.manifest(KEY)["settings"]["retry_truncated"] == {
        "factor": 2,
        "most": 1000,
    }
    assert answers(relay) == [(END, 300)]
    assert relay.manifest(KEY)["usage"][HAIKU]["output_tokens"] == 200 + 300


def test_the_worst_case_has_room_for_the_second_request(relay: Harness) -> None:
    rows = [row(1, "[needs:300]"), row(2, "[needs:150]", 1000), row(3, "", 600)]
    start(relay, *rows)
    relay.finish()

    estimate = relay.manifest(KEY)["estimate"]
    assert estimate["input_tokens"] == 3 * INPUT_TOKENS
    assert estimate["output_tokens"]["worst"] == 200 + 400 + 1000 + 600 + 1000
    assert estimate["cost_usd"]["worst"] == usd(200, 400, 1000, 600, 1000)


def test_the_ledger_the_counters_and_the_manifest_agree(relay: Harness) -> None:
    start(relay, row(1, "[needs:300]"), row(2, "[needs:150]"), options=TWICE + b"\nbudget_usd = 1")
    relay.finish()

    counters = relay.poll.spending.counters(spending.month_of(relay.now()))
    (completed,) = [event for event in relay.events() if event["type"] == "job.completed"]
    assert completed["data"]["cost_usd"] == usd(200, 300, 150)
    assert relay.manifest(KEY)["cost_usd_by_attempt"] == {"1": usd(200, 150), "2": usd(300)}
    assert sum(counter.micro_usd for counter in counters) == round(usd(200, 300, 150) * 1e6)
