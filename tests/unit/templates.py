"""The SAM templates of examples/."""

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it comes with moto, its types do not

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPES = sorted(path.parent.name for path in EXAMPLES.glob("*/template.yaml"))


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads the tags of CloudFormation as their long forms: ``!Ref a`` as ``{"Ref": "a"}``."""


def _tag(loader: _Loader, suffix: str, node: Any) -> dict[str, Any]:
    value = loader.construct_scalar(node)
    return {"Ref" if suffix == "Ref" else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _tag)


def read_template(recipe: str) -> dict[str, Any]:
    """Return the template of a recipe."""
    text = (EXAMPLES / recipe / "template.yaml").read_text(encoding="utf-8")
    template: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    return template


def functions(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the properties of each function."""
    return {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
