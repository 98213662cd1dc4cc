import json
from pathlib import Path

import pytest
from rich.console import Console

from local.errors import LocalError
from local.estimate import consent, estimate


def row(**params: object) -> str:
    return json.dumps({"params": params})


def test_the_price_is_what_the_longest_answers_would_cost(tmp_path: Path) -> None:
    file = tmp_path / "asked.jsonl"
    line = row(model="claude-opus-5-5", max_tokens=1_000_000)
    file.write_text(f"{line}\n{line}\n")

    told = estimate([file])

    # Two answers at $10 a million tokens; the questions are next to nothing.
    assert told.requests == 2
    assert told.dollars == pytest.approx(20.0, abs=0.01)
    assert "2 requests to the real API, at most about $20.00" in str(told)


def test_rows_that_are_no_requests_cost_nothing(tmp_path: Path) -> None:
    file = tmp_path / "asked.jsonl"
    file.write_bytes(b'{"params": 3}\n\xff\n[]\n\n{"prompt": "x"}\n')

    assert estimate([file]).requests == 0


def test_a_model_without_a_known_price_is_said_to_have_none(tmp_path: Path) -> None:
    file = tmp_path / "asked.jsonl"
    file.write_text(row(model="claude-9", max_tokens=5) + "\n")

    told = estimate([file])

    assert (told.dollars, told.unpriced) == (0.0, 1)
    assert "1 of them to models without a known price" in str(told)


def test_without_a_terminal_nothing_is_sent_to_the_real_api(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "nobody").open("w+") as nobody:
        monkeypatch.setattr("sys.stdin", nobody)

        with pytest.raises(LocalError, match="YES=1"):
            consent(Console(quiet=True), {}, "This would cost.")


def test_yes_is_taken_for_an_answer() -> None:
    consent(Console(quiet=True), {"YES": "1"}, "This would cost.")
