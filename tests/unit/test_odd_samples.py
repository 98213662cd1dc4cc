"""Files that people really uploaded, with what nobody sees in them; they lie beside the project where it is worked on."""

import json
from pathlib import Path
from typing import Any

import pytest

from functions.model.rows import LinePosition, ValidRows
from functions.planning.fast_path import validate_all
from functions.readers.jsonl import pieces

SAMPLES = Path("/work/shared/samples/odd")
pytestmark = pytest.mark.skipif(not SAMPLES.exists(), reason="the samples are not here")


def rows_of(name: str) -> list[tuple[Any, str | None]]:
    """Give each row's custom_id, and the sentence of its rejection."""
    found: list[tuple[Any, str | None]] = []
    blocks = iter([(SAMPLES / name).read_bytes()])
    for one in validate_all(
        pieces(blocks, LinePosition(), 10**6), row_bytes=10**6, api_version="2026-10-21"
    ):
        if isinstance(one, ValidRows):
            found += [(json.loads(bytes(own)), None) for own in one.custom_ids]
        else:
            _, row = one
            said = row.rejection.message if row.rejection else None
            found.append((json.loads(bytes(row.custom_id)), said))
    return found


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("invisible-characters--dos.jsonl", ["r1", "r2"]),
        ("invisible-characters--joined.jsonl", ["r1", "r2", "r3", "r4"]),
        ("id-under-another-name--rows.jsonl", ["r1", "r2"]),
    ],
)
def test_rows_that_look_right_are_sent(name: str, ids: list[str]) -> None:
    assert rows_of(name) == [(own, None) for own in ids]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("invisible-characters--pasted.jsonl", {"r1": "U+200B (zero width space) at column 1", "r2": "U+00A0 (no-break space)"}),
        ("invisible-characters--nan.jsonl", {"r2": "NaN at column"}),
    ],
)  # fmt: skip
def test_what_nobody_sees_is_named_and_the_id_kept(name: str, said: dict[str, str]) -> None:
    rejected = {own: sentence for own, sentence in rows_of(name) if sentence is not None}

    assert rejected.keys() == said.keys()
    assert all(words in rejected[own] for own, words in said.items())
