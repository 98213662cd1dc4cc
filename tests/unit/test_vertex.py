"""How rows of Claude on Vertex AI become requests, and how rows of Gemini are refused."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.translations import vertex
from functions.translations.contract import NotTranslatableError, Policy, Translated, Translation

HAIKU = Policy(models={"*": "claude-haiku-5-5"})
SECRET = "Zq7"
MESSAGES = [{"role": "user", "content": SECRET}]
REQUEST = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 50, "messages": MESSAGES}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": SECRET}]}]}


def refusal(row: dict[str, Any], policy: Policy = HAIKU) -> tuple[str, str]:
    with pytest.raises(NotTranslatableError) as refused:
        vertex.translate(row, policy)
    return refused.value.code, str(refused.value)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"custom_id": "1", "request": REQUEST}, True),
        ({"request": {"messages": []}}, True),
        ({"request": GEMINI}, True),
        ({"key": "1", "request": GEMINI}, True),
        (GEMINI, True),
        ({"custom_id": "1", "params": {}, "request": REQUEST}, False),
        ({"ticket": 7, "request": "Please call me back"}, False),
        ({"request": {"method": "GET"}}, False),
        ({"contents": "of a column"}, False),
        ({}, False),
    ],
)
def test_rows_are_recognized(row: dict[str, Any], *, expected: bool) -> None:
    contract: Translation = vertex
    assert contract.matches(row) is expected


def test_a_body_is_sent_verbatim_without_its_version() -> None:
    row = {"custom_id": "request-1", "request": {**REQUEST, "thinking": {"type": "disabled"}}}

    assert vertex.translate(row, HAIKU) == Translated(
        custom_id="request-1",
        params={
            "model": "claude-haiku-5-5",
            "max_tokens": 50,
            "messages": MESSAGES,
            "thinking": {"type": "disabled"},
        },
    )


def test_betas_are_lifted_and_sampling_is_dropped() -> None:
    request = {**REQUEST, "anthropic_beta": ["b-2", "a-1"], "temperature": 0.2}

    row = vertex.translate({"request": request}, HAIKU)

    assert (row.custom_id, row.betas, row.changes) == (None, ("a-1", "b-2"), ("temperature",))
    assert row.params.keys() == {"model", "max_tokens", "messages"}


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("claude-sonnet-5-5", "claude-sonnet-5-5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5-20250929"),
        ("claude-opus-4-6@default", "claude-opus-4-6"),
        ("publishers/anthropic/models/claude-sonnet-4-5@20250929", "claude-sonnet-4-5-20250929"),
        ("gemini-2.5-pro", None),
    ],
)
def test_a_claude_model_is_derived_from_a_name_of_vertex(name: str, model: str | None) -> None:
    assert vertex.claude_id(name) == model


def test_the_model_comes_from_the_options_or_from_the_row() -> None:
    named = {"request": {**REQUEST, "model": "claude-sonnet-4-5@20250929"}}
    mapped = Policy(models={"claude-sonnet-4-5@20250929": "claude-sonnet-5-5@default"})

    assert vertex.translate(named, Policy()).params["model"] == "claude-sonnet-4-5-20250929"
    assert vertex.translate(named, mapped).params["model"] == "claude-sonnet-5-5"
    assert refusal({"request": REQUEST}, Policy())[0] == "model_unmapped"


@pytest.mark.parametrize("row", [GEMINI, {"key": "1", "request": GEMINI}])
def test_rows_of_gemini_are_refused_by_name(row: dict[str, Any]) -> None:
    code, sentence = refusal(row)

    assert code == "gemini_row"
    assert "Gemini" in sentence
    assert '"params"' in sentence
    assert SECRET not in sentence


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3) | st.just("claude-x@1"),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["request", "contents", "model", "anthropic_beta", "custom_id"]),
                inner,
            )
        ),
    )
)
def test_hostile_rows_raise_no_other_error(value: Any) -> None:
    for row in (value if isinstance(value, dict) else {}, {"request": value, "custom_id": value}):
        with suppress(NotTranslatableError):
            assert vertex.translate(row, HAIKU).params["model"] == "claude-haiku-5-5"
