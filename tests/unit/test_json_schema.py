"""JSON schemas as structured outputs take them: rewritten where possible, refused where not."""

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.translations.json_schema import (
    MAX_DEPTH,
    SchemaBudget,
    SchemaUnsupportedError,
    StrictSchema,
    strict_schema,
)

TEXT: dict[str, Any] = {"type": "string"}
CLOSED = {
    "type": "object",
    "properties": {"a": TEXT},
    "required": ["a"],
    "additionalProperties": False,
}
OPEN = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}

VERBATIM: list[dict[str, Any]] = [
    CLOSED,
    {"type": ["string", "null"]},
    {"type": "array", "items": CLOSED, "minItems": 1},
    {"type": "string", "format": "date-time"},
    {"type": "string", "pattern": "^[A-Z]{2}\\d+$"},
    {"enum": ["a", 1, None]},
    {"const": 3, "default": 3, "title": "Three", "examples": [{"any": ["thing"]}]},
    {"$schema": "https://json-schema.org/draft/2020-12/schema", **CLOSED},
    {"anyOf": [TEXT, {"type": "null"}]},
    {"allOf": [{"type": "string"}, {"enum": ["a"]}]},
    {"$ref": "#/$defs/one", "$defs": {"one": CLOSED}},
    {"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"$ref": "#/definitions/c"}, "c": TEXT}},
    {"type": "object", "properties": {}, "additionalProperties": False},
]

REWRITTEN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("an object is closed", OPEN, CLOSED),
    ("an object without type is closed", {"properties": {"a": TEXT}},
     {"properties": {"a": TEXT}, "additionalProperties": False}),
    ("an inner object is closed", {"type": "array", "items": OPEN}, {"type": "array", "items": CLOSED}),
    ("a definition is closed", {"$ref": "#/$defs/x", "$defs": {"x": OPEN}},
     {"$ref": "#/$defs/x", "$defs": {"x": CLOSED}}),
    ("oneOf becomes anyOf", {"oneOf": [TEXT, OPEN]}, {"anyOf": [TEXT, CLOSED]}),
    ("allOf around one schema goes", {"description": "d", "allOf": [{"allOf": [OPEN]}]},
     {"description": "d", **CLOSED}),
    ("constraints move into the description", {"type": "integer", "minimum": 1, "maximum": 5, "description": "Age"},
     {"type": "integer", "description": "Age (minimum: 1; maximum: 5)"}),
    ("constraints become the description", {"type": "string", "maxLength": 9},
     {"type": "string", "description": "maxLength: 9"}),
    ("an unknown format moves", {"type": "string", "format": "color"},
     {"type": "string", "description": "format: color"}),
    ("a pattern that is not simple moves", {"type": "string", "pattern": "(?=a)"},
     {"type": "string", "description": "pattern: (?=a)"}),
    ("array bounds above one move", {"type": "array", "items": TEXT, "minItems": 2, "uniqueItems": True},
     {"type": "array", "items": TEXT, "description": "minItems: 2; uniqueItems: true"}),
]  # fmt: skip

REFUSED: list[tuple[str, Any]] = [
    ("no object", "string"),
    ("anything", {}),
    ("anything inside", {"type": "array", "items": {}}),
    ("true", {"type": "array", "items": True}),
    ("an object of any properties", {"type": "object"}),
    ("an open object", {**OPEN, "additionalProperties": True}),
    ("a dictionary", {"type": "object", "additionalProperties": TEXT}),
    ("an open definition", {"$ref": "#/$defs/x", "$defs": {"x": {"type": "object"}}}),
    ("the root again", {**OPEN, "properties": {"a": {"$ref": "#"}}}),
    ("a recursive definition", {"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"y": {"$ref": "#/$defs/x"}}}}}),
    ("two definitions in a circle",
     {"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/y"}, "y": {"$ref": "#/$defs/x"}}}),
    ("another file", {"$ref": "other.json#/$defs/x"}),
    ("a definition that is not there", {"$ref": "#/$defs/x"}),
    ("inner definitions", {"properties": {"a": {"$ref": "#/$defs/x", "$defs": {"x": TEXT}}}}),
    ("objects that must hold together", {"allOf": [OPEN, {"properties": {"b": TEXT}}]}),
    ("references that must hold together", {"allOf": [{"$ref": "#/$defs/x"}, TEXT], "$defs": {"x": TEXT}}),
    ("names by pattern", {**OPEN, "patternProperties": {"^x": TEXT}}),
    ("negation", {"not": TEXT, "type": "string"}),
    ("tuples", {"type": "array", "prefixItems": [TEXT]}),
    ("an enum of objects", {"enum": [{}]}),
    ("a constant list", {"const": []}),
    ("two lists of alternatives", {"anyOf": [TEXT], "oneOf": [TEXT]}),
    ("a condition that overlaps", {"description": "d", "allOf": [{"description": "e", "type": "string"}]}),
    ("a wrong condition", {"allOf": ["x"]}),
    ("wrong types", {"type": 5}),
    ("wrong properties", {"properties": []}),
    ("wrong alternatives", {"anyOf": {}}),
    ("a wrong constraint", {"type": "integer", "minimum": {}}),
]  # fmt: skip


@pytest.mark.parametrize(
    "schema", VERBATIM, ids=lambda schema: str(msgspec.json.encode(schema))[:60]
)
def test_what_the_api_accepts_stays_verbatim(schema: dict[str, Any]) -> None:
    assert strict_schema(schema).schema == schema


@pytest.mark.parametrize(
    ("schema", "expected"), [case[1:] for case in REWRITTEN], ids=[case[0] for case in REWRITTEN]
)
def test_a_schema_is_rewritten_to_a_strict_one(
    schema: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = copy.deepcopy(schema)

    assert strict_schema(schema).schema == expected
    assert schema == before


@pytest.mark.parametrize(
    "schema", [case[1] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_schema_without_a_strict_form_is_refused(schema: object) -> None:
    with pytest.raises(SchemaUnsupportedError):
        strict_schema(schema)


def test_a_rewritten_schema_is_not_rewritten_again() -> None:
    for _, schema, _ in REWRITTEN:
        once = strict_schema(schema).schema
        assert strict_schema(once).schema == once


def test_deep_nesting_is_refused() -> None:
    schema: dict[str, Any] = TEXT
    for _ in range(MAX_DEPTH):
        schema = {"type": "array", "items": schema}
    strict_schema(schema)

    for _ in range(10_000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(SchemaUnsupportedError):
        strict_schema(schema)


def test_optional_properties_and_unions_are_counted() -> None:
    nullable = {"type": ["string", "null"]}
    inner = {"properties": {"a": nullable, "b": {"anyOf": [TEXT, nullable]}}, "required": ["a"]}
    found = strict_schema({"type": "object", "properties": {"x": inner, "y": TEXT}})

    assert (found.optional, found.unions) == (3, 3)


LIMITS = [
    ("20 strict tools", StrictSchema({}, 0, 0), 1, 20),
    ("24 optional properties", StrictSchema({}, 1, 0), 0, 24),
    ("16 unions", StrictSchema({}, 0, 2), 0, 8),
]


@pytest.mark.parametrize(
    ("schema", "tools", "fit"), [case[1:] for case in LIMITS], ids=[case[0] for case in LIMITS]
)
def test_a_request_has_limits_over_all_its_schemas(
    schema: StrictSchema, tools: int, fit: int
) -> None:
    budget = SchemaBudget()

    assert [budget.take(schema, tools=tools) for _ in range(fit + 2)] == [True] * fit + [False] * 2


def test_a_schema_that_does_not_fit_takes_nothing() -> None:
    budget = SchemaBudget()

    assert not budget.take(StrictSchema({}, 25, 0), tools=0)
    assert budget.take(StrictSchema({}, 24, 0), tools=0)


_names = st.sampled_from(
    ["type", "properties", "items", "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions", "enum", "const",
     "required", "additionalProperties", "minimum", "minItems", "format", "pattern", "description", "not", "x"]
)  # fmt: skip
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
)
_words = st.sampled_from(
    ["object", "string", "array", "null", "#/$defs/x", "#", "x", "date", "(?=", ""]
)
_anything = st.recursive(
    _scalars | _words,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_names | _words, inner, max_size=5)
    ),
    max_leaves=20,
)


@given(_anything)
def test_any_schema_is_rewritten_or_refused(schema: object) -> None:
    try:
        found = strict_schema(schema)
    except SchemaUnsupportedError:
        return
    assert strict_schema(found.schema) == found
