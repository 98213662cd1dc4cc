"""The ledger of a paid batch is deleted: its answers are delivered anyway."""

from pathlib import Path
from typing import Any

import pytest

from functions.model.items.batch import Batch
from tests.harness import (
    RESULTS,
    Harness,
    every_row_accepted_once,
    make_row,
    make_upload,
    open_harness,
)
from tests.integration.deleted_files import pass_hours, tick_until_sent

KEY = "in/march.jsonl"


def _delete_ledger(relay: Harness, body: bytes, attempt: int = 1) -> Batch:
    """Upload a file, and delete the batch's ledger once this attempt is sent."""
    relay.upload(KEY, body)
    batch = tick_until_sent(relay, attempt)
    relay.s3.delete_object(Bucket=RESULTS, Key=batch.ledger_key)
    return batch


def _results(relay: Harness) -> list[tuple[int, Any, str]]:
    return [(line["row"], line["custom_id"], line["result"]["type"]) for line in relay.lines(KEY)]


def test_paid_answers_are_delivered_by_row_number(tmp_path: Path) -> None:
    with open_harness(tmp_path, processing_s=100.0) as relay:
        batch = _delete_ledger(relay, make_upload(3))

        assert pass_hours(relay) == 5
        assert _results(relay) == [(row, None, "succeeded") for row in (1, 2, 3)]
        (sent,) = relay.manifest(KEY)["batches"]
        assert batch.ledger_key in sent["problem"]
        assert "custom_id is null" in sent["problem"]
        assert [event["type"] for event in relay.events()].count("batch.stuck") == 1
        assert every_row_accepted_once(relay)


def test_rejected_rows_report_a_lost_reason_and_nothing_is_resent(
    tmp_path: Path,
) -> None:
    with open_harness(tmp_path, processing_s=100.0) as relay:
        rows = [make_row(1), b"{broken", make_row(3, "[fate:expired]"), make_row(4)]
        _delete_ledger(relay, b"\n".join(rows))

        pass_hours(relay)

        types = ["succeeded", "rejected", "expired", "succeeded"]
        assert [result_type for _, _, result_type in _results(relay)] == types
        assert relay.lines(KEY)[1]["result"]["error"]["code"] == "reason_lost"
        retry = relay.manifest(KEY)["retry"]
        assert (retry["complete"], retry["rows"], retry["missing_rows"]) == (False, 0, 2)
        assert "was deleted" in retry["reason"]
        assert [line["row"] for line in relay.lines(KEY, "errors.jsonl")] == [2, 3]
        assert relay.simulator.calls()["create"] == 1


def test_a_later_attempt_keeps_custom_ids_and_earlier_results(tmp_path: Path) -> None:
    with open_harness(tmp_path, processing_s=100.0) as relay:
        rows = [make_row(1, "[fate:expired]"), b"{broken", make_row(3)]
        _delete_ledger(relay, b"\n".join(rows), attempt=2)

        pass_hours(relay)

        assert [(row, result_type) for row, _, result_type in _results(relay)] == [
            (1, "succeeded"), (2, "rejected"), (3, "succeeded"),
        ]  # fmt: skip
        assert [name for _, name, _ in _results(relay)] == ["row-1", None, "row-3"]
        assert relay.lines(KEY)[1]["result"]["error"]["code"] != "reason_lost"
        assert relay.simulator.calls()["create"] == 2


@pytest.mark.parametrize(("rejected", "hours"), [([], 4), ([b"{broken"], 14)])
def test_results_with_a_missing_row_are_downloaded_again(
    tmp_path: Path, rejected: list[bytes], hours: float
) -> None:
    with open_harness(tmp_path, processing_s=100.0) as relay:
        _delete_ledger(relay, b"\n".join([*rejected, make_upload(3)]))
        relay.simulator.arm("row_missing", times=0)

        pass_hours(relay, hours)
        (batch,) = relay.items.unfinished().batches
        assert "rows lack a result" in (batch.last_error or "")
        relay.simulator.disarm()
        pass_hours(relay)

        assert relay.manifest(KEY)["counts"]["succeeded"] == 3


def test_a_ledger_that_is_restored_in_time_loses_nothing(tmp_path: Path) -> None:
    with open_harness(tmp_path, processing_s=100.0) as relay:
        relay.upload(KEY, make_upload(2))
        relay.tick()
        (batch,) = relay.items.unfinished().batches
        ledger = relay.s3.get_object(Bucket=RESULTS, Key=batch.ledger_key)["Body"].read()
        relay.s3.delete_object(Bucket=RESULTS, Key=batch.ledger_key)
        pass_hours(relay, 3)
        relay.s3.put_object(Bucket=RESULTS, Key=batch.ledger_key, Body=ledger)

        pass_hours(relay)

        assert [name for _, name, _ in _results(relay)] == ["row-1", "row-2"]
