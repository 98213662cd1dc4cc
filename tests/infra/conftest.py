"""The template under test, with readable references."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from infra.node import prefer_installed_node
from infra.synth import synthesize

type Template = dict[str, Any]
type Resources = dict[str, dict[str, Any]]

prefer_installed_node()  # before any test imports aws_cdk


@pytest.fixture(scope="session")
def template() -> Template:
    return synthesize()


@pytest.fixture(scope="session")
def resources_of(template: Template) -> Callable[[str], Resources]:
    """Return a function that finds the properties of all resources of a type, by name."""

    def find_resources(resource_type: str, within_template: Template = template) -> Resources:
        return {
            _without_hash(name): _resolve(resource.get("Properties", {}))
            for name, resource in within_template["Resources"].items()
            if resource["Type"] == resource_type
        }

    return find_resources


def _without_hash(logical_id: str) -> str:
    """Remove the hash that the CDK appends to a name: ``StorageTableB43FDCE7``."""
    return re.sub(r"[0-9A-F]{8}$", "", logical_id)


def _resolve(value: Any) -> Any:
    """Replace references by readable text, such as ``<StorageTable>/index/unfinished``."""
    match value:
        case {"Ref": str(name)}:
            return f"<{_without_hash(name)}>"
        case {"Fn::GetAtt": [str(name), "Arn"]}:
            return f"<{_without_hash(name)}>"
        case {"Fn::Join": ["", parts]}:
            return "".join(_resolve(part) for part in parts)
        case dict():
            return {key: _resolve(inner) for key, inner in value.items()}
        case list():
            return [_resolve(inner) for inner in value]
        case _:
            return value
