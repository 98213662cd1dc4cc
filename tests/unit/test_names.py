"""A name means one thing: no two public classes of what ships share one."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("functions", "infra", "cli", "local")


def test_no_two_public_classes_share_a_name() -> None:
    places = defaultdict[str, list[str]](list)
    for package in PACKAGES:
        for path in sorted(ROOT.joinpath(package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(str(path.relative_to(ROOT)))

    assert len(places) > 100
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
