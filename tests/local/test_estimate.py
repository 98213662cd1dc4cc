import json
from pathlib import Path

import pytest
from rich.console import Console

from local.errors import LocalError
from local.estimate import consent, estimate


def make_line(**params: object) -> str:
    return json.dumps({"params": params})


def test_the_estimate_assumes_the_longest_possible_answers(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    line = make_line(model="claude-opus-5-5", max_tokens=1_000_000)
    file.write_text(f"{line}\n{line}\n")

    cost = estimate([file])

    # Two answers at $10 a million tokens; the questions are next to nothing.
    assert cost.requests == 2
    assert cost.dollars == pytest.approx(20.0, abs=0.01)
    assert "2 requests to the real API, at most about $20.00" in str(cost)


def test_invalid_rows_cost_nothing(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_bytes(b'{"params": 3}\n\xff\n[]\n\n{"prompt": "x"}\n')

    cost = estimate([file])

    assert cost.requests == 0
    assert "the rows of requests.jsonl, whose cost is not known before" in str(cost)


def test_requests_to_a_model_without_a_price_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text(make_line(model="claude-9", max_tokens=5) + "\n")

    cost = estimate([file])

    assert (cost.dollars, cost.unpriced) == (0.0, 1)
    assert "1 of them to models without a known price" in str(cost)


def test_nothing_is_sent_to_the_real_api_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "nobody").open("w+") as empty_stdin:
        monkeypatch.setattr("sys.stdin", empty_stdin)

        with pytest.raises(LocalError, match="YES=1"):
            consent(Console(quiet=True), {}, "This would cost.")


def test_yes_1_in_the_environment_is_consent() -> None:
    consent(Console(quiet=True), {"YES": "1"}, "This would cost.")
