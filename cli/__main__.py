"""`python -m cli` is `relay`."""

import logging
import os
import sys

TRACEBACK = "RELAY_TRACEBACK"
"""The environment variable with which an unexpected error prints its traceback."""
_FAILURES, _INTERRUPTED = 1, 130


def main() -> None:
    """Run the command line. An error that no command expects is one sentence, too."""
    logging.disable(logging.CRITICAL)  # what it shares with the functions logs for CloudWatch
    try:
        from cli.app import app  # noqa: PLC0415 - takes half a second, in which Ctrl-C may come

        app(prog_name="relay")
    except KeyboardInterrupt:
        _exit("interrupted", _INTERRUPTED)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        name = type(error).__name__
        _exit(f"unexpected {name}: please report it with what {TRACEBACK}=1 prints", _FAILURES)


def _exit(sentence: str, code: int) -> None:
    print(f"relay: {sentence}", file=sys.stderr)  # noqa: T201 - rich may not be imported yet
    sys.exit(code)


if __name__ == "__main__":
    main()
