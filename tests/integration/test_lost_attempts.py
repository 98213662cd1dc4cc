"""Somebody deletes what a further attempt needs: the answers that are there are delivered all the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from functions.adapters import batch_reset
from tests.harness import RESULTS, Harness, make_row, open_harness
from tests.integration.deleted_files import pass_hours, tick_until_sent

KEY = "in/march.jsonl"
ROWS = [make_row(1, "[fate:expired]"), b"{broken", make_row(3), make_row(4, "[fate:canceled]")]
BODY = b"\n".join(ROWS)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    with open_harness(tmp_path, processing_s=100.0) as made:
        made.upload(KEY, BODY)
        yield made


def ends(relay: Harness) -> list[tuple[int, str]]:
    return [(line["row"], line["result"]["type"]) for line in relay.lines(KEY)]


def test_without_the_request_body_rows_are_not_resent_but_retryable(relay: Harness) -> None:
    batch = tick_until_sent(relay, 1)
    relay.s3.delete_object(Bucket=RESULTS, Key=batch.requests_key)

    assert pass_hours(relay) == 5
    assert ends(relay) == [(1, "expired"), (2, "rejected"), (3, "succeeded"), (4, "canceled")]
    assert [line["custom_id"] for line in relay.lines(KEY)] == ["row-1", None, "row-3", "row-4"]
    assert batch.requests_key in relay.manifest(KEY)["batches"][0]["problem"]
    assert relay.manifest(KEY)["retry"]["complete"]
    retried = relay.read(KEY, "retry.jsonl").splitlines()
    assert retried == [ROWS[0], ROWS[1], ROWS[3]]
    assert relay.simulator.calls()["create"] == 1


def test_a_request_body_that_is_restored_in_time_is_resent(relay: Harness) -> None:
    batch = tick_until_sent(relay, 1)
    body = relay.s3.get_object(Bucket=RESULTS, Key=batch.requests_key)["Body"].read()
    relay.s3.delete_object(Bucket=RESULTS, Key=batch.requests_key)
    pass_hours(relay, 3)
    relay.s3.put_object(Bucket=RESULTS, Key=batch.requests_key, Body=body)

    pass_hours(relay)

    assert ends(relay)[0] == (1, "succeeded")


def test_earlier_results_that_anthropic_still_has_are_fetched_again(relay: Harness) -> None:
    previous = tick_until_sent(relay, 2).previous_results
    assert previous is not None
    relay.s3.delete_object(Bucket=RESULTS, Key=previous.key)

    assert pass_hours(relay) == 0
    assert ends(relay) == [(1, "succeeded"), (2, "rejected"), (3, "succeeded"), (4, "canceled")]
    assert set(relay.simulator.accepted_params().values()) == {1, 2}


def test_earlier_results_that_are_gone_everywhere_can_be_retried(relay: Harness) -> None:
    previous = tick_until_sent(relay, 2).previous_results
    assert previous is not None
    relay.s3.delete_object(Bucket=RESULTS, Key=previous.key)
    relay.simulator.delete(str(relay.simulator.batches()[-1]["id"]))

    assert pass_hours(relay) == 0
    assert ends(relay) == [(1, "succeeded"), (2, "rejected"), (3, "errored"), (4, "errored")]
    assert relay.manifest(KEY)["errors"]["results_gone"] == 2
    retry = relay.manifest(KEY)["retry"]
    assert (retry["complete"], retry["rows"]) == (True, 3)


def test_without_earlier_results_the_new_ones_are_delivered(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody deletes them again whenever they have been fetched."""
    monkeypatch.setattr(batch_reset, "MAX_REFETCHES", 0)
    previous = tick_until_sent(relay, 2).previous_results
    assert previous is not None
    relay.s3.delete_object(Bucket=RESULTS, Key=previous.key)

    assert pass_hours(relay) == 5
    assert ends(relay) == [(1, "succeeded"), (2, "rejected"), (3, "errored"), (4, "errored")]
    assert relay.manifest(KEY)["errors"]["result_lost"] == 2
    assert previous.key in relay.manifest(KEY)["batches"][1]["problem"]
    retry = relay.manifest(KEY)["retry"]
    assert (retry["complete"], retry["missing_rows"]) == (False, 3)
    assert [line["row"] for line in relay.lines(KEY, "errors.jsonl")] == [2, 3, 4]
    assert set(relay.simulator.accepted_params().values()) == {1, 2}


@pytest.mark.parametrize("more", ["ledger_key", "requests_key"])
def test_without_earlier_results_and_another_file_the_new_ones_are_delivered(
    relay: Harness, more: str
) -> None:
    batch = tick_until_sent(relay, 2)
    assert batch.previous_results is not None
    for key in (batch.previous_results.key, getattr(batch, more)):
        relay.s3.delete_object(Bucket=RESULTS, Key=key)

    pass_hours(relay, 96)

    kinds = dict(ends(relay))
    assert (sorted(kinds), kinds[1]) == ([1, 2, 3, 4], "succeeded")
    assert relay.simulator.calls()["create"] == 2
