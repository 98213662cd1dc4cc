"""Fuzz one target with coverage guidance; a campaign runs this once for each target.

>>> PYTHONPATH=.:.local/fuzz .venv/bin/python -m tests.verification.fuzz.run reader -runs=10000
>>> PYTHONPATH=.:.local/fuzz .venv/bin/python -m tests.verification.fuzz.run reader crash-0123
"""

import logging
import sys

import atheris  # type: ignore[import-untyped] # it has no types, and is not in .venv

with atheris.instrument_imports(include=["functions", "infra"]):
    from tests.verification.fuzz.targets import TARGETS


def main() -> None:
    logging.disable(logging.CRITICAL)
    target, _ = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
