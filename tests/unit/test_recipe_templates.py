"""The SAM templates of examples/: their references resolve, and docs/recipes.md passes their parameters."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.templates import EXAMPLES, RECIPES, functions, read_template
from tests.unit.test_event_schemas import examples

PAGE = (EXAMPLES.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
DELIVERED = [
    (example["Message"]["type"], set(example["MessageAttributes"])) for example in examples()
]


def references(value: Any) -> Iterator[str]:
    """Yield each name that a template refers to."""
    match value:
        case {"Ref": name}:
            yield name
        case {"Fn::GetAtt": attribute}:
            yield attribute.partition(".")[0]
        case {"Fn::Sub": text}:
            yield from re.findall(r"\$\{([^}]+)\}", text)
        case dict() | list():
            for inner in value.values() if isinstance(value, dict) else value:
                yield from references(inner)


@pytest.mark.parametrize("recipe", RECIPES)
def test_references_resolve(recipe: str) -> None:
    template = read_template(recipe)

    names = {name for name in references(template) if not name.startswith("AWS::")}

    assert names <= {*template["Parameters"], *template["Resources"]}
    assert set(template["Parameters"]) <= names | {"SourceBucket"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_command_of_the_page_passes_the_parameters(recipe: str) -> None:
    parameters = read_template(recipe)["Parameters"]
    [command] = re.findall(
        rf"^sam deploy --template-file examples/{recipe}/template.yaml (.*?)\n```", PAGE, re.MULTILINE | re.DOTALL
    )  # fmt: skip

    passed = set(re.findall(r"\b(\w+)=", command))

    assert passed == {name for name, parameter in parameters.items() if "Default" not in parameter}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_function_has_its_code_and_the_variables_that_it_reads(recipe: str) -> None:
    for function in functions(read_template(recipe)).values():
        module, _, handler = function["Handler"].partition(".")
        code = (EXAMPLES / recipe / function["CodeUri"] / f"{module}.py").read_text("utf-8")
        assert f"\ndef {handler}(" in code
        variables = function["Environment"]["Variables"]
        assert set(variables) == set(re.findall(r'os\.environ\["(\w+)"\]', code))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_filter_passes_events_that_exist(recipe: str) -> None:
    for function in functions(read_template(recipe)).values():
        [subscription] = function["Events"].values()
        policy = subscription["Properties"].get("FilterPolicy", {})
        for kind in policy.get("type", []):
            assert any(type_ == kind and set(policy) <= names for type_, names in DELIVERED)
