"""Read infra/stack.template.json, the stack as ``cdk synth -c bundle=stub`` writes it for the settings of cdk.json.

``make synth`` updates the file. With it, the local cloud and the tests in memory need neither the CDK nor Node.js.
"""

import json
from pathlib import Path
from typing import Any, cast

from infra.errors import StaleTemplateError
from infra.version import digest_of

TEMPLATE = Path(__file__).with_name("stack.template.json")
SOURCES = (
    "cdk.json",
    "infra/*.py",
    *("functions/settings.py", "functions/adapters/metrics.py", "functions/adapters/secret.py"),
    "functions/model/items/work_item.py",
)
"""What the template depends on: the settings, infra/, and the modules that infra/ imports from functions/."""


def read_template() -> dict[str, Any]:
    """Return the template.

    Raises:
        StaleTemplateError: its sources have changed since ``make synth`` wrote it.
    """
    template = cast("dict[str, Any]", json.loads(TEMPLATE.read_bytes()))
    if template.pop("Metadata")["Sources"] != sources_digest():
        message = (
            "cdk.json, infra/ or a module that infra/ imports has changed since "
            "infra/stack.template.json was written: run `make synth`"
        )
        raise StaleTemplateError(message)
    return template


def sources_digest() -> str:
    """Return a hash of the template's sources."""
    return digest_of(*SOURCES)[:16]
