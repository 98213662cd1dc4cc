"""Fuzz one target with coverage as the guide: what a campaign runs in a process for each.

>>> PYTHONPATH=.:.local/fuzz .venv/bin/python -m tests.verification.fuzz.run reader -runs=10000
>>> PYTHONPATH=.:.local/fuzz .venv/bin/python -m tests.verification.fuzz.run reader crash-0123  # see an input again
"""

import logging
import sys

import atheris  # type: ignore[import-untyped]  # it has none, and is not in .venv

with atheris.instrument_imports(include=["functions", "infra"]):
    from tests.verification.fuzz.targets import TARGETS


def main() -> None:
    logging.disable(logging.CRITICAL)
    target, _ = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
