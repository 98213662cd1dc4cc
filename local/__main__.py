"""`python -m local`: the relay on this machine, without an AWS account and without Docker."""

import os
import sys

from local import interruption

if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    interruption.install()  # importing the rest takes a second
    from local.command_line import main

    sys.exit(main())
