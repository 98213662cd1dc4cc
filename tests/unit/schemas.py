"""The JSON Schemas of docs/events/, and what is wrong with an event under them."""

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
    """Read all of them, by type; the envelope is one."""
    paths = FOLDER.glob(f"*{SUFFIX}")
    return {path.name.removesuffix(SUFFIX): json.loads(path.read_text()) for path in paths}


@cache
def _validator() -> Draft202012Validator:
    registry = Registry[Any]().with_resources(
        (name + SUFFIX, DRAFT202012.create_resource(schema)) for name, schema in schemas().items()
    )
    return Draft202012Validator(schemas()["envelope"], registry=registry)


def problems(event: dict[str, Any]) -> list[str]:
    """Say what is wrong with an event and its data; nothing, where it is as its schema says."""
    return [error.message for error in _validator().iter_errors(event)]
