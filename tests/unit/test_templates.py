"""A template is filled by plain replacement, inside parsed strings only."""

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.model.options import RequestTemplate
from functions.planning.templates import FilledTooLongError, columns_of, fill, unknown_columns


def filled(text: str, row: dict[str, Any]) -> str:
    _, params = fill(RequestTemplate(params={"system": text}), row)
    return str(params["system"])


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("<t>{{body}}</t>", {"body": "hi"}, "<t>hi</t>"),
        ("{{ body }}", {"body": "hi"}, "hi"),
        ("{{a}}{{b}}", {"a": "{{b}}", "b": "x"}, "{{b}}x"),
        ("{{a}}", {"a": '"}, {"x": "'}, '"}, {"x": "'),
        ("{{a}}", {"a": ""}, ""),
        ("{{a}}", {"a": None}, ""),
        ("{{missing}}", {}, ""),
        ("{{n}} {{yes}}", {"n": 1.5, "yes": True}, "1.5 true"),
        ("{{user.name}}", {"user": {"name": "Ada"}}, "Ada"),
        ("{{user.name}}", {"user.name": "exact", "user": {"name": "Ada"}}, "exact"),
        ("{{user}}", {"user": {"name": "Ä"}}, '{"name":"Ä"}'),
        ("{{user.name.first}}", {"user": {"name": "Ada"}}, ""),
        ('{{"{{"}}body{{"}}"}}', {"body": "hi"}, "{{body}}"),
        ("{ body } {body}", {"body": "hi"}, "{ body } {body}"),
        ("{{größe}}", {"größe": "L"}, "L"),
    ],
)
def test_a_placeholder_becomes_the_text_of_its_column(
    text: str, row: dict[str, Any], expected: str
) -> None:
    assert filled(text, row) == expected


def test_all_strings_of_the_request_are_filled_and_nothing_else() -> None:
    template = RequestTemplate(
        custom_id="t-{{id}}",
        params={
            "max_tokens": 5,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "{{body}}"}]}],
            "{{id}}": None,
        },
    )

    custom_id, params = fill(template, {"id": 7, "body": "hi"})

    assert custom_id == "t-7"
    assert params == {
        "max_tokens": 5,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "{{id}}": None,
    }


def test_the_columns_of_a_template_are_known_before_anything_is_sent() -> None:
    template = RequestTemplate(
        custom_id="{{id}}", params={"a": ["{{body}}", {"b": '{{user.name}} {{"{{"}}'}]}
    )

    assert columns_of(template) == {"id", "body", "user.name"}
    assert unknown_columns(template, ["id", "user"]) == ["body"]


@given(st.dictionaries(st.sampled_from("abc"), st.text()), st.text())
def test_a_value_is_never_read_as_a_placeholder(row: dict[str, str], rest: str) -> None:
    text = "{{a}}|{{b}}|" + rest.replace("{{", "")

    assert filled(text, row) == f"{row.get('a', '')}|{row.get('b', '')}|" + rest.replace("{{", "")


def test_a_cell_that_is_repeated_too_often_is_not_built() -> None:
    """Ten thousand times 1 MB would be 10 GB."""
    repeated = {"system": ["{{a}}" * 100] * 100}
    template = RequestTemplate(custom_id="{{a}}", params=repeated)
    tracemalloc.start()
    try:
        with pytest.raises(FilledTooLongError):
            fill(template, {"a": "x" * 1_000_000}, 5_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 12_000_000


def test_text_up_to_the_limit_is_filled_in() -> None:
    template = RequestTemplate(params={"system": "{{a}}{{a}} of the template"})

    assert fill(template, {"a": "xy"}, 4)[1] == {"system": "xyxy of the template"}
    with pytest.raises(FilledTooLongError):
        fill(template, {"a": "xy"}, 3)
