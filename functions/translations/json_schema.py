"""Rewrite a JSON schema for Anthropic's structured outputs.

Source of the rules: https://platform.claude.com/docs/en/build-with-claude/structured-outputs
The SDK's `transform_schema` does not serve here: it fails on ``{"type": ["string", "null"]}``, loses
`definitions` and `pattern`, and empties open objects.
"""

import re
from collections.abc import Callable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import msgspec

MAX_DEPTH = 100
"""The deepest nesting of a schema. It keeps a hostile one from exhausting the stack."""
FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_CONSTRAINTS = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
    }
)
"""Keywords that the API refuses. They move into the description, where the model can read them."""
_UNSUPPORTED = frozenset(
    {
        "patternProperties",
        "propertyNames",
        "unevaluatedProperties",
        "unevaluatedItems",
        "dependentSchemas",
        "dependentRequired",
        "prefixItems",
        "contains",
        "not",
        "if",
        "then",
        "else",
        "$dynamicRef",
        "$recursiveRef",
    }
)
"""Keywords that change which values are valid, and that a description cannot replace."""
_SAYS_WHAT_IS_VALID = ("type", "properties", "anyOf", "oneOf", "allOf", "$ref", "enum", "const")
_LOCAL_REFERENCE = re.compile(r"#/(?:\$defs|definitions)/([^/]+)")
_BEYOND_SIMPLE = re.compile(r"\(\?|\\[bB1-9]")
"""Look-around, flags, word boundaries and back references: the API's patterns lack them."""
_ROOT = ""


class SchemaUnsupportedError(Exception):
    """The API accepts no equivalent of a schema."""


class StrictSchema(msgspec.Struct, frozen=True):
    """A schema that the API accepts, and what counts toward the limits of a request.

    Attributes:
        schema: the schema.
        optional: the number of properties that are not required.
        unions: the number of values of several types.
    """

    schema: dict[str, Any]
    optional: int
    unions: int


class SchemaBudget:
    """The limits of one request over all its strict schemas."""

    def __init__(self) -> None:
        self._left: tuple[int, ...] = (20, 24, 16)  # strict tools, optional properties, unions

    def fit(self, schema: object, *, tools: int) -> dict[str, Any] | None:
        """Return the strict form of a schema; None if it has none or exceeds the limits. See `take`."""
        try:
            strict = strict_schema(schema)
        except SchemaUnsupportedError:
            return None
        return strict.schema if self.take(strict, tools=tools) else None

    def take(self, strict: StrictSchema, *, tools: int) -> bool:
        """Subtract a schema from what is left. Return False, and subtract nothing, if it does not fit.

        Args:
            strict: the schema.
            tools: 1 for the schema of a tool, 0 for that of the answer.
        """
        needed = (tools, strict.optional, strict.unions)
        left = tuple(have - need for have, need in zip(self._left, needed, strict=True))
        if min(left) >= 0:
            self._left = left
        return min(left) >= 0


def strict_schema(schema: object) -> StrictSchema:
    """Return a schema with closed objects and supported keywords. Everything else stays verbatim.

    Args:
        schema: a JSON schema, such as OpenAI's strict mode takes.

    Raises:
        SchemaUnsupportedError: the schema is recursive or has open objects, or it needs a keyword that the API
            does not support.
    """
    writer = _Writer()
    strict = writer.node(schema, 0)
    writer.check_references()
    return StrictSchema(strict, writer.optional, writer.unions)


class _Writer:
    """Writes the strict form of a schema and collects its references."""

    def __init__(self) -> None:
        self.optional = self.unions = 0
        self._references: dict[str, set[str]] = {_ROOT: set()}
        self._definition = _ROOT

    def node(self, schema: object, depth: int) -> dict[str, Any]:
        """Return the strict form of a schema or subschema."""
        if depth > MAX_DEPTH or not isinstance(schema, Mapping):
            raise SchemaUnsupportedError
        merged = _merged(schema)
        if not _UNSUPPORTED.isdisjoint(merged) or merged.keys().isdisjoint(_SAYS_WHAT_IS_VALID):
            raise SchemaUnsupportedError
        described = _describe_constraints(merged)
        strict = {
            name: _RULES[name](self, value, depth + 1) if name in _RULES else value
            for name, value in described.items()
        }
        types = _types(strict)
        if "object" in types or "properties" in strict:
            self._close(strict)
        self.unions += "anyOf" in strict or len(types) > 1
        return strict

    def branches(self, schemas: object, depth: int) -> list[dict[str, Any]]:
        """Return the strict forms of alternatives."""
        if not isinstance(schemas, list):
            raise SchemaUnsupportedError
        return [self.node(schema, depth) for schema in schemas]

    def parts(self, schemas: object, depth: int) -> list[dict[str, Any]]:
        """Return the strict forms of schemas that must all match. Closed objects would exclude each other."""
        strict = self.branches(schemas, depth)
        if any("$ref" in part or "additionalProperties" in part for part in strict):
            raise SchemaUnsupportedError
        return strict

    def properties(self, schemas: object, depth: int) -> dict[str, Any]:
        """Return the strict forms of named schemas."""
        if not isinstance(schemas, Mapping):
            raise SchemaUnsupportedError
        return {name: self.node(schema, depth) for name, schema in schemas.items()}

    def definitions(self, schemas: object, depth: int) -> dict[str, Any]:
        """Return the strict forms of the definitions, which only the root may have."""
        if depth != 1 or not isinstance(schemas, Mapping):
            raise SchemaUnsupportedError
        strict = {}
        for name, schema in schemas.items():
            self._definition = name
            self._references.setdefault(name, set())
            strict[name] = self.node(schema, depth)
        self._definition = _ROOT
        return strict

    def reference(self, target: object, _depth: int) -> object:
        """Return a local reference, and record where it is."""
        local = _LOCAL_REFERENCE.fullmatch(target) if isinstance(target, str) else None
        if local is None:
            raise SchemaUnsupportedError
        name = local[1].replace("~1", "/").replace("~0", "~")
        self._references[self._definition].add(name)
        return target

    def check_references(self) -> None:
        """Raise if a reference leads nowhere or in a circle."""
        targets = set().union(*self._references.values())
        if not targets <= self._references.keys():
            raise SchemaUnsupportedError
        try:
            TopologicalSorter(self._references).prepare()
        except CycleError as error:
            raise SchemaUnsupportedError from error

    def _close(self, strict: dict[str, Any]) -> None:
        """Forbid other properties, unless the schema is made for them."""
        closed = strict.setdefault("additionalProperties", not strict.get("properties"))
        required = strict.get("required", [])
        if closed is not False or not isinstance(required, list):
            raise SchemaUnsupportedError
        self.optional += sum(name not in required for name in strict.get("properties", ()))


def _merged(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with `oneOf` as `anyOf`, and without `allOf` around a single schema."""
    merged = dict(schema)
    while isinstance(parts := merged.get("allOf"), list) and len(parts) == 1:
        del merged["allOf"]
        if not isinstance(parts[0], Mapping) or not merged.keys().isdisjoint(parts[0]):
            raise SchemaUnsupportedError
        merged |= parts[0]
    if "oneOf" in merged:
        if "anyOf" in merged:
            raise SchemaUnsupportedError
        merged["anyOf"] = merged.pop("oneOf")
    return merged


def _describe_constraints(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose unsupported constraints are in its description: ``(minimum: 1)``."""
    moved = [name for name, value in schema.items() if _is_refused(name, value)]
    if not moved:
        return schema
    kept = {name: value for name, value in schema.items() if name not in moved}
    constraints = "; ".join(f"{name}: {_as_text(schema[name])}" for name in moved)
    description = kept.get("description")
    kept["description"] = f"{description} ({constraints})" if description else constraints
    return kept


def _is_refused(name: str, value: object) -> bool:
    if name == "minItems":
        return value not in (0, 1)
    if name == "format":
        return not isinstance(value, str) or value not in FORMATS
    if name == "pattern":
        return not isinstance(value, str) or _BEYOND_SIMPLE.search(value) is not None
    return name in _CONSTRAINTS


def _as_text(value: object) -> str:
    if not isinstance(value, str | int | float):
        raise SchemaUnsupportedError
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _types(schema: Mapping[str, Any]) -> list[str]:
    """Return the types that a schema names."""
    types = schema.get("type", [])
    listed = types if isinstance(types, list) else [types]
    if not all(isinstance(name, str) for name in listed):
        raise SchemaUnsupportedError
    return listed


def _primitives(_writer: _Writer, values: object, _depth: int) -> object:
    if not isinstance(values, list) or any(isinstance(one, list | dict) for one in values):
        raise SchemaUnsupportedError
    return values


def _primitive(_writer: _Writer, value: object, _depth: int) -> object:
    if isinstance(value, list | dict):
        raise SchemaUnsupportedError
    return value


_RULES: dict[str, Callable[[_Writer, Any, int], object]] = {
    "$defs": _Writer.definitions,
    "definitions": _Writer.definitions,
    "$ref": _Writer.reference,
    "properties": _Writer.properties,
    "items": _Writer.node,
    "anyOf": _Writer.branches,
    "allOf": _Writer.parts,
    "enum": _primitives,
    "const": _primitive,
}
"""Keywords with subschemas or limits of their own, and how each is written."""
