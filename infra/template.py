"""Read the template of the stack that is kept in infra/stack.template.json.

The local cloud and the tests in memory need neither the CDK nor Node.js for it. ``make synth`` writes it: what
``cdk synth -c bundle=stub`` gives for the settings of cdk.json.
"""

import json
from pathlib import Path
from typing import Any, cast

from infra.errors import StaleTemplateError
from infra.version import digest_of

TEMPLATE = Path(__file__).with_name("stack.template.json")
_SOURCES = ("cdk.json", "functions/settings.py", "infra/*.py")


def read_template() -> dict[str, Any]:
    """Return the template.

    Raises:
        StaleTemplateError: its sources have changed since it was written.
    """
    template = cast("dict[str, Any]", json.loads(TEMPLATE.read_bytes()))
    if template.pop("Metadata")["Sources"] != sources_digest():
        message = (
            "cdk.json, infra/ or functions/settings.py has changed since infra/stack.template.json "
            "was written: run `make synth`"
        )
        raise StaleTemplateError(message)
    return template


def sources_digest() -> str:
    """Return the hash of what the template is made of."""
    return digest_of(*_SOURCES)[:16]
