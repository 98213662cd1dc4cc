"""`python -m cli` is `relay`."""

import logging
import os
import sys

from cli.app import app
from cli.errors import ExitCode
from cli.output import Output

TRACEBACK = "RELAY_TRACEBACK"
"""The environment variable with which an unexpected error prints its traceback."""


def main() -> None:
    """Run the command line. An error that no command expects is one sentence, too."""
    logging.disable(logging.CRITICAL)  # what it shares with the functions logs for CloudWatch
    try:
        app(prog_name="relay")
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        name = type(error).__name__
        Output().note(f"relay: unexpected {name}: please report it with what {TRACEBACK}=1 prints")
        sys.exit(ExitCode.FAILURES)


if __name__ == "__main__":
    main()
