"""Files that people really uploaded, with invisible characters; they are not in the repository."""

import json
from pathlib import Path
from typing import Any

import pytest

from functions.model.rows import LinePosition, ValidRows
from functions.planning.fast_path import validate_all
from functions.readers.jsonl import pieces

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "odd"
pytestmark = pytest.mark.skipif(not SAMPLES.exists(), reason="the samples are not available")


def rows_of(name: str) -> list[tuple[Any, str | None]]:
    """Return each row's custom_id, and the message of its rejection."""
    outcomes: list[tuple[Any, str | None]] = []
    blocks = iter([(SAMPLES / name).read_bytes()])
    for item in validate_all(
        pieces(blocks, LinePosition(), 10**6), row_bytes=10**6, api_version="2026-10-21"
    ):
        if isinstance(item, ValidRows):
            outcomes += [(json.loads(bytes(custom_id)), None) for custom_id in item.custom_ids]
        else:
            _, row = item
            message = row.rejection.message if row.rejection else None
            outcomes.append((json.loads(bytes(row.custom_id)), message))
    return outcomes


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("invisible-characters--dos.jsonl", ["r1", "r2"]),
        ("invisible-characters--joined.jsonl", ["r1", "r2", "r3", "r4"]),
        ("id-under-another-name--rows.jsonl", ["r1", "r2"]),
    ],
)
def test_rows_with_harmless_characters_are_sent(name: str, ids: list[str]) -> None:
    assert rows_of(name) == [(custom_id, None) for custom_id in ids]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("invisible-characters--pasted.jsonl", {"r1": "U+200B (zero width space) at column 1", "r2": "U+00A0 (no-break space)"}),
        ("invisible-characters--nan.jsonl", {"r2": "NaN at column"}),
    ],
)  # fmt: skip
def test_an_invisible_character_is_named_and_the_custom_id_kept(
    name: str, expected: dict[str, str]
) -> None:
    rejected = {custom_id: message for custom_id, message in rows_of(name) if message is not None}

    assert rejected.keys() == expected.keys()
    assert all(words in rejected[custom_id] for custom_id, words in expected.items())
