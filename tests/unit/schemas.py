"""The JSON Schemas of docs/events/, and validation of events against them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

FOLDER = Path(__file__).parents[2] / "docs" / "events"
SUFFIX = ".schema.json"


@cache
def schemas() -> dict[str, dict[str, Any]]:
    """Return all schemas by event type, and the envelope's."""
    paths = FOLDER.glob(f"*{SUFFIX}")
    return {path.name.removesuffix(SUFFIX): json.loads(path.read_text()) for path in paths}


@cache
def _validator() -> Draft202012Validator:
    registry = Registry[Any]().with_resources(
        (name + SUFFIX, DRAFT202012.create_resource(schema)) for name, schema in schemas().items()
    )
    return Draft202012Validator(schemas()["envelope"], registry=registry)


def problems(event: dict[str, Any]) -> list[str]:
    """Return the validation errors of an event and its data."""
    return [error.message for error in _validator().iter_errors(event)]
