from pathlib import Path

import pytest
from rich.console import Console

from local.consent import consent, estimate
from local.errors import LocalError

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
UNPRICED = b'{"params": {"model": "claude-mythos-5-2", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}}\n'


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("questions.jsonl", None, "37 requests, 4 of 41 rows rejected, at most $0.20, if every"),
        ("tickets.csv", None, "6 requests, at most $"),
        ("plain.csv", b"a,b\n1,2\n", "nothing; the rows are not requests"),
        ("letter.jsonl", b"%PDF-1.7", "nothing; the upload is a PDF"),
        ("new.jsonl", UNPRICED, "1 request, at an unknown price"),
    ],
)
def test_the_estimate_is_that_of_planning(
    tmp_path: Path, name: str, content: bytes | None, expected: str
) -> None:
    file = EXAMPLES / name
    if content is not None:
        file = tmp_path / name
        file.write_bytes(content)

    assert f"{name}: {expected}" in estimate([file])


def test_nothing_is_sent_to_the_real_api_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "nobody").open("w+") as empty_stdin:
        monkeypatch.setattr("sys.stdin", empty_stdin)

        with pytest.raises(LocalError, match="YES=1"):
            consent(Console(quiet=True), {}, "This would cost.")


def test_yes_1_in_the_environment_is_consent() -> None:
    consent(Console(quiet=True), {"YES": "1"}, "This would cost.")
