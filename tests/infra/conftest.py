"""The template that the tests look at, and how to read it: its references said plainly."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from infra.node import prefer_installed_node
from infra.synth import synthesize

type Template = dict[str, Any]
type Found = dict[str, dict[str, Any]]

prefer_installed_node()  # before any test imports aws_cdk


@pytest.fixture(scope="session")
def template() -> Template:
    return synthesize()


@pytest.fixture(scope="session")
def found(template: Template) -> Callable[[str], Found]:
    """Give the properties of every resource of a type, references said plainly, by name."""

    def find(kind: str, within: Template = template) -> Found:
        return {
            _named(name): _plain(one.get("Properties", {}))
            for name, one in within["Resources"].items()
            if one["Type"] == kind
        }

    return find


def _named(logical_id: str) -> str:
    """Leave out the hash that the CDK puts after a name: ``StorageTableB43FDCE7``."""
    return re.sub(r"[0-9A-F]{8}$", "", logical_id)


def _plain(value: Any) -> Any:
    """Say references plainly: ``<StorageTable>/index/unfinished`` for a join of an ARN and a text."""
    match value:
        case {"Ref": str(name)}:
            return f"<{_named(name)}>"
        case {"Fn::GetAtt": [str(name), "Arn"]}:
            return f"<{_named(name)}>"
        case {"Fn::Join": ["", parts]}:
            return "".join(_plain(part) for part in parts)
        case dict():
            return {key: _plain(one) for key, one in value.items()}
        case list():
            return [_plain(one) for one in value]
        case _:
            return value
