"""What a job is expected to cost: in status.json and `job.planned` before, beside the real cost after."""

import json
from io import BytesIO
from typing import Any

import pytest
import urllib3

from functions.adapters.anthropic_api import COUNT_PATH
from functions.assembling import manifest
from tests.harness import Harness, make_row, make_upload
from tests.unit.factories import job

MODEL = "claude-haiku-4-5"
PER_MILLION_INPUT, PER_MILLION_OUTPUT = 0.5, 2.5


def marked_row(number: int, input_tokens: int, output_tokens: int = 100, **params: Any) -> bytes:
    """Return a row that is billed for these tokens."""
    usage = json.dumps({"input_tokens": input_tokens, "output_tokens": output_tokens})
    return make_row(number, f"[usage:{usage}]", **{"max_tokens": 1_000, **params})


def planned_estimate(relay: Harness) -> dict[str, Any]:
    (planned,) = [event for event in relay.events() if event["type"] == "job.planned"]
    estimate: dict[str, Any] = planned["data"]["estimate"]
    return estimate


def run_job(relay: Harness, key: str, body: bytes) -> dict[str, Any]:
    """Run a job. Return the estimate of its manifest."""
    relay.upload(key, body)
    relay.finish()
    estimate: dict[str, Any] = relay.manifest(key)["estimate"]
    return estimate


def test_input_tokens_are_counted_and_output_tokens_limited(relay: Harness) -> None:
    rows = [marked_row(number, 1_000, max_tokens=512) for number in range(1, 11)]
    relay.upload("march.jsonl", b"\n".join(rows))

    assert planned_estimate(relay) == {
        "counted_rows": 10,
        "input_tokens": 10_000,
        "output_tokens": {"low": None, "expected": None, "worst": 5_120},
        "cost_usd": {
            "low": None,
            "expected": None,
            "worst": (10_000 * PER_MILLION_INPUT + 5_120 * PER_MILLION_OUTPUT) / 1e6,
        },
    }
    assert relay.simulator.calls()["count_tokens"] == 10


def test_status_json_has_the_estimate(relay: Harness) -> None:
    relay.simulator.processing_s = 3600.0
    relay.upload("march.jsonl", make_upload(3))
    relay.tick()

    status = json.loads(relay.read("march.jsonl", "status.json"))
    assert status["estimate"] == planned_estimate(relay)


def test_fifty_rows_spread_over_the_upload_stand_for_all(relay: Harness) -> None:
    """A long row takes ten times the tokens and ten times the bytes of a short one."""
    rows = [
        make_row(number, "word " * (100 if number <= 500 else 1_000)) for number in range(1, 1001)
    ]
    relay.upload("march.jsonl", b"\n".join(rows))
    estimated = planned_estimate(relay)
    relay.finish()

    used = relay.manifest("march.jsonl")["usage"][MODEL]["input_tokens"]
    assert estimated["counted_rows"] == relay.simulator.calls()["count_tokens"] == 50
    assert estimated["input_tokens"] == pytest.approx(used, rel=0.05)


def test_earlier_jobs_of_the_folder_predict_the_tokens_of_answers(relay: Harness) -> None:
    run_job(relay, "team/1.jsonl", b"\n".join(marked_row(n, 1_000, 100) for n in range(1, 5)))
    run_job(relay, "team/2.jsonl", b"\n".join(marked_row(n, 1_000, 200) for n in range(1, 5)))

    estimate = run_job(
        relay, "team/3.jsonl", b"\n".join(marked_row(n, 1_000, 165) for n in range(1, 11))
    )

    assert estimate["output_tokens"]["low"] == 10 * 100
    assert estimate["output_tokens"]["expected"] == 10 * 150
    expected_usd = (10_000 * PER_MILLION_INPUT + 1_500 * PER_MILLION_OUTPUT) / 1e6
    real_usd = (10_000 * PER_MILLION_INPUT + 1_650 * PER_MILLION_OUTPUT) / 1e6
    assert estimate["cost_usd"]["expected"] == expected_usd
    assert estimate["off_by"] == round(real_usd / expected_usd - 1, 3)
    assert abs(estimate["off_by"]) < 0.2


def test_other_folders_and_models_are_estimated_separately(relay: Harness) -> None:
    run_job(relay, "team/1.jsonl", marked_row(1, 1_000, 100))

    for key, model in (("other/1.jsonl", MODEL), ("team/2.jsonl", "claude-opus-5-5")):
        estimate = run_job(relay, key, marked_row(1, 1_000, 100, model=model))
        assert estimate["output_tokens"]["expected"] is None


def test_max_tokens_limits_what_is_expected(relay: Harness) -> None:
    run_job(relay, "1.jsonl", marked_row(1, 1_000, 400, max_tokens=512))

    estimate = run_job(relay, "2.jsonl", marked_row(1, 1_000, 100, max_tokens=256))

    assert estimate["output_tokens"] == {"low": 256, "expected": 256, "worst": 256}


def test_a_key_that_may_not_count_leaves_the_length(relay: Harness) -> None:
    relay.simulator.arm("server_error", times=0, endpoint="count_tokens")
    row = make_row(1, "hello" * 100)
    relay.upload("march.jsonl", row)

    estimate = planned_estimate(relay)
    params_bytes = len(row) - len('{"custom_id":"1","params":}') - len(" ") * 0
    assert estimate["counted_rows"] == 0
    assert estimate["input_tokens"] == pytest.approx(params_bytes / 3, rel=0.1)


@pytest.mark.parametrize("key", ["not-set-yet", "sk-unknown"])
def test_a_key_that_was_replaced_after_counting_is_used_for_the_first_create(
    relay: Harness, key: str
) -> None:
    """Like Powertools, the secret is read again only on request."""
    secret = {"stored": key}
    cached = dict[str, str]()

    def read_key(fresh: bool) -> str:  # noqa: FBT001 - as the relay calls it
        if fresh or not cached:
            cached.update(secret)
        return cached["stored"]

    relay.submit.claude._read_key = read_key  # noqa: SLF001 - what reads the secret in Lambda
    relay.upload("march.jsonl", make_upload(3))
    secret["stored"] = "sk-local"
    relay.finish()

    types = [event["type"] for event in relay.events()]
    assert "sending.paused" not in types
    assert relay.manifest("march.jsonl")["counts"] == {"succeeded": 3}


def test_zero_rows_count_nothing(relay: Harness) -> None:
    relay.deploy(estimate_rows=0)
    relay.upload("march.jsonl", make_upload(3))

    assert planned_estimate(relay)["counted_rows"] == 0
    assert "count_tokens" not in relay.simulator.calls()


def test_a_row_that_cannot_be_counted_is_left_out(relay: Harness) -> None:
    relay.simulator.arm("bad_request", times=1, endpoint="count_tokens")
    relay.upload("march.jsonl", make_upload(3))

    assert planned_estimate(relay)["counted_rows"] == 2


def test_a_model_without_a_price_has_no_estimated_cost(relay: Harness) -> None:
    options = b'skip_checks = ["unknown_model"]'
    relay.put("_relay.toml", options)
    relay.upload("march.jsonl", make_row(1, model="claude-unpriced-9"))

    estimate = planned_estimate(relay)
    assert estimate["cost_usd"] == {"low": None, "expected": None, "worst": None}
    assert estimate["output_tokens"]["worst"] > 0


@pytest.mark.parametrize(
    "params", [{"model": "m" * 500_000}, {"model": ""}, {"max_tokens": 10**40}, {"max_tokens": -5}]
)
def test_no_name_or_limit_of_a_row_stops_the_others(
    relay: Harness, params: dict[str, str | int]
) -> None:
    """The table would not store such a name or number."""
    relay.put("_relay.toml", b'skip_checks = ["unknown_model"]')
    odd: dict[str, Any] = {"model": "claude-unpriced-9", **params}
    relay.upload("march.jsonl", make_row(1) + b"\n" + make_row(2, **odd))
    relay.finish()

    assert relay.lines("march.jsonl")[0]["result"]["type"] == "succeeded"
    assert planned_estimate(relay)["output_tokens"]["worst"] > 0


@pytest.mark.parametrize(
    "answer", ["", "[]", "{}", "\xff", *map('{{"input_tokens":{}}}'.format, (-5, "null", 10**60))]
)
def test_no_answer_about_tokens_stops_a_job(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    real = urllib3.PoolManager.request

    def request(pool: urllib3.PoolManager, method: str, url: str, **options: Any) -> Any:
        if url.endswith(COUNT_PATH):
            return urllib3.HTTPResponse(BytesIO(answer.encode("latin-1")), status=200)
        return real(pool, method, url, **options)

    monkeypatch.setattr(urllib3.PoolManager, "request", request)
    relay.upload("march.jsonl", make_row(1))
    relay.finish()

    estimate = relay.manifest("march.jsonl")["estimate"]
    assert estimate["counted_rows"] == 0
    assert estimate["input_tokens"] > 0


def test_counting_logs_nothing_of_its_connections(
    relay: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    relay.upload("march.jsonl", make_upload(50))

    assert planned_estimate(relay)["counted_rows"] == 50
    assert not [record for record in caplog.records if record.name.startswith("urllib3")]


@pytest.mark.parametrize(("cost_usd", "off_by"), [(3.0, 0.5), (None, None)])
def test_an_unknown_cost_is_not_compared_with_the_estimate(
    monkeypatch: pytest.MonkeyPatch, cost_usd: float | None, off_by: float | None
) -> None:
    """The results would otherwise not be delivered."""
    monkeypatch.setattr(manifest, "estimate_figures", lambda _: {"cost_usd": {"expected": 2.0}})

    compared = manifest._estimate(job(), cost_usd)  # noqa: SLF001 - a job of unknown cost needs an unknown price

    assert compared == {"cost_usd": {"expected": 2.0}, "off_by": off_by}
