"""`python -m local`: the relay on this machine, without an AWS account and without Docker."""

import os
import sys

from local import interruption

if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    interruption.install()  # importing the rest takes a second, or several on a busy machine
    try:
        from local.command_line import main

        code = main()
    except KeyboardInterrupt:  # before `main` handles it
        interruption.finish()
        print("claude-batch-relay: interrupted", file=sys.stderr)
        code = interruption.EXIT_CODE
    sys.exit(code)
