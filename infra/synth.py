"""Synthesize the template as a dictionary: for infra/stack.template.json, and for tests of other settings.

It contains the stub, not the bundle. `import aws_cdk` takes seconds, so ``.local/synth`` caches
templates by the hash of their sources. ``make synth`` runs this file.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from infra.bundle import ROOT, stub
from infra.errors import ContextError, DeploymentError
from infra.node import prefer_installed_node
from infra.template import SOURCES, TEMPLATE, sources_digest
from infra.version import digest_of

_CACHE = ROOT / ".local" / "synth"


def synthesize(**context: object) -> dict[str, Any]:
    """Return the template for the context of cdk.json with changes, for example ``pollMinutes=5``.

    Raises:
        ContextError: the context cannot be used, or cdk.json is not JSON.
    """
    try:
        defaults = json.loads((ROOT / "cdk.json").read_text())["context"]
    except json.JSONDecodeError as error:
        message = f"cdk.json is not JSON: {error}"
        raise ContextError(message) from error
    merged = {**defaults, **context, "bundle": "stub"}
    cached = _CACHE / f"{_hash(json.dumps(merged, sort_keys=True))}.json"
    if not cached.exists():
        template = _synthesize(merged)
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as folder:
            partial = Path(folder, cached.name)
            partial.write_text(json.dumps(template))
            partial.replace(cached)
    return cast("dict[str, Any]", json.loads(cached.read_text()))


def _synthesize(context: dict[str, Any]) -> dict[str, Any]:
    prefer_installed_node()
    from aws_cdk import App  # noqa: PLC0415  # slow, and most templates are cached

    from infra.settings import StackSettings  # noqa: PLC0415  # as above
    from infra.stack import RelayStack  # noqa: PLC0415  # as above

    with tempfile.TemporaryDirectory() as folder:
        app = App(context=context, outdir=folder, analytics_reporting=False)
        settings = StackSettings.from_context(app.node.get_all_context())
        stack = RelayStack(app, settings=settings, bundle=stub(), duckdb=stub())
        template = app.synth().get_stack_by_name(stack.stack_name).template
    return cast("dict[str, Any]", template)


def _hash(context: str) -> str:
    sources = digest_of(*SOURCES, "requirements.txt")
    return hashlib.sha256(f"{context}\n{sources}".encode()).hexdigest()[:16]


def main() -> None:
    """Write infra/stack.template.json. Exit with a one-line message if a setting cannot be used."""
    try:
        content = {"Metadata": {"Sources": sources_digest()}, **synthesize()}
    except DeploymentError as error:
        sys.exit(f"claude-batch-relay: {error}")
    TEMPLATE.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
