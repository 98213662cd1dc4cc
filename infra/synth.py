"""The template as a dictionary, for tests that make tables of it or look at its shape.

It holds the stub, never the bundle. `import aws_cdk` costs seconds, so a template is kept in ``.local``
under a hash of all that made it.
"""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any, cast

from infra.bundle import ROOT, stub
from infra.node import prefer_installed_node

_CACHE = ROOT / ".local" / "synth"


def synthesized(**context: object) -> dict[str, Any]:
    """Synthesize with the context of cdk.json, changed by what is given: ``pollMinutes=5``.

    Raises:
        ContextError: the context cannot be used.
    """
    whole = {**json.loads((ROOT / "cdk.json").read_text())["context"], **context, "bundle": "stub"}
    kept = _CACHE / f"{_hash(json.dumps(whole, sort_keys=True))}.json"
    if not kept.exists():
        template = _synthesize(whole)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as folder:
            half = Path(folder, kept.name)
            half.write_text(json.dumps(template))
            half.replace(kept)
    return cast("dict[str, Any]", json.loads(kept.read_text()))


def _synthesize(context: dict[str, Any]) -> dict[str, Any]:
    prefer_installed_node()
    from aws_cdk import App  # noqa: PLC0415  # seconds, and most calls find the template kept

    from infra.settings import StackSettings  # noqa: PLC0415  # as above
    from infra.stack import RelayStack  # noqa: PLC0415  # as above

    with tempfile.TemporaryDirectory() as folder:
        app = App(context=context, outdir=folder, analytics_reporting=False)
        settings = StackSettings.from_context(app.node.get_all_context())
        stack = RelayStack(app, settings=settings, bundle=stub())
        template = app.synth().get_stack_by_name(stack.stack_name).template
    return cast("dict[str, Any]", template)


def _hash(context: str) -> str:
    total = hashlib.sha256(context.encode())
    sources = sorted((ROOT / "infra").glob("*.py"))
    for file in (*sources, ROOT / "functions/settings.py", ROOT / "requirements.txt"):
        total.update(file.read_bytes())
    return total.hexdigest()[:16]
